"""The quota policy: what is declared (settings) and what runs (step)."""
