"""TLS towards callers: which certificate answers, who the caller is by its own, and the bytes in between."""
