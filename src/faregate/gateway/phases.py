"""Where a call stands between its head and its end, in order; compared as numbers."""

from typing import Final

DECIDING: Final = 0
COLLECTING: Final = 1
"""Its body is awaited, which its claim covers; nothing was asked of the ledger."""
CLAIMING: Final = 2
"""The ledger was asked for the record; nothing was sent."""
CONNECTING: Final = 3
"""A connection to the target is being opened; nothing was sent."""
MARKING: Final = 4
"""There is a connection; the ledger is being told that the call will be sent."""
SENDING: Final = 5
"""The head is out, the body is not."""
WAITING: Final = 6
"""The whole request is out; no byte of the answer came, or none was relayed yet."""
RELAYING: Final = 7
SETTLING: Final = 8
"""What became of the call is known; the ledger is being told, and then the caller."""
DONE: Final = 9
