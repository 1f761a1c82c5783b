"""The audit tree: an append-only, hashed and signed record of administration and of payment calls."""
