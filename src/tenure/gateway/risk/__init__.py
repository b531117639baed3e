"""How risky a call looks, and how sure that is: points out of one table, and a model's opinion where one is configured.

Only for calls in whose scope a policy asks for it. ``docs/risk.md`` has the table for people.
"""
