"""The embedded ledger: its log, its book, its process and the line to it."""
