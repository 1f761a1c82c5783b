"""Idempotency keys: which calls are the same, and what settles one."""
