"""The addresses that a consumer may call from."""
