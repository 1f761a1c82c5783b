"""The ledger that this machine keeps itself: a process with a log on disk, asked by all workers."""
