"""The ledger of the gateway, asked from beside it: by the admin API and the command line."""
