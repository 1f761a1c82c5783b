"""The end-to-end bench: real sockets, real processes, every byte recorded.

Nothing here imports ``faregate``: the bench sees the gateway only as its users do (a command, a file, sockets, a log).
The HTTP reading is our own and strict, so that an answer which is merely acceptable to a lenient library still fails.
"""
