"""Attempts to break what http-rules.md promises, on the real gateway; each test is one promise and the attack on it."""
