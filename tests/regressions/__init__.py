"""Mistakes that others made, each a test of its own name (http-rules.md section 9). ``test_names`` holds the whole list."""
