"""The proof of idempotency: clients that repeat, processes that die, and a judge of both histories (http-rules.md section 11)."""
