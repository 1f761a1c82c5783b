"""Client certificates of consumers."""
