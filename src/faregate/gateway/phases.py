"""Where a call stands between its head and its end, in order; compared as numbers."""

from typing import Final

DECIDING: Final = 0
CONNECTING: Final = 1
"""A connection to the target is being opened; nothing was sent."""
SENDING: Final = 2
"""The head is out, the body is not."""
WAITING: Final = 3
"""The whole request is out; no byte of the answer came."""
RELAYING: Final = 4
DONE: Final = 5
