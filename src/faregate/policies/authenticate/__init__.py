"""Which credential a call carries, and who it proves."""
