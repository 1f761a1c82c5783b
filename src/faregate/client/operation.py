"""What the client knows of an operation of the admin API."""

from typing import NamedTuple


class Operation(NamedTuple):
    """``reads``: it changes nothing, and may be sent again. ``in_path``, ``query``, ``headers``: its
    parameters; ``body``: the form of what it takes, empty for nothing; ``summary``: what it does.
    """

    method: str
    path: str
    summary: str
    reads: bool
    in_path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: str = ""
