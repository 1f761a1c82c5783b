"""The fault table of http-rules.md section 10, row by row, against the running gateway."""
