"""Forgets the private halves of replaced signing keys, and stops believing those whose last token has expired."""

from __future__ import annotations

from tenure.base.room import Flow
from tenure.identity import signing, store

TEND_KEYS = Flow(name="identity.keys", find=store.replaced_keys, step=signing.tend_key, every=30.0)
