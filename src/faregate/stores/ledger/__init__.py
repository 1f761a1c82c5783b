"""The idempotency ledger: what is known of each key, in one of three stores behind one protocol."""
