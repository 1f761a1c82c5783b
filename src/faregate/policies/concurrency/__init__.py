"""The concurrency policy: what is declared (settings) and what runs (step)."""
