"""Writes down what nobody foresaw in a shared ledger's tasks, which go on: the kind and the place of it.

The words of an exception are left out: they may repeat a URL with its password, or what the store was told.
"""

import logging
import traceback
from typing import Final

_log = logging.getLogger("faregate.ledger")
_FRAMES_MOST: Final = 4


def unforeseen(what: str, error: Exception) -> None:
    """Says that ``what`` failed with ``error``, without its words."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES_MOST:]
    where = ", called in ".join(f"{one.filename}:{one.lineno} ({one.name})" for one in reversed(frames))
    _log.error("%s failed in a way that was not foreseen: %s in %s", what, type(error).__name__, where)
