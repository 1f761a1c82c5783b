"""Changes on their way from the database to the workers: checked, compiled, kept for a start, published."""
