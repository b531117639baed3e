"""Gemini's generateContent and its kin, and Google's errors. Nothing of another provider may live here."""
