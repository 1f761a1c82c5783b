"""The rate_limit policy: what is declared (settings) and what runs (step)."""
