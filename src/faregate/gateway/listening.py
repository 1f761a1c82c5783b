"""The sockets on which callers arrive, held by the supervisor so that they outlive workers, revisions and
programs.

Kept under the words of the configuration (``host:port``): a listener that both revisions have keeps its
socket, whatever else of it changes.
"""

import socket
from collections.abc import Iterable, Mapping

from faregate.gateway.children import StartError, listen_or_say
from faregate.snapshot import data as snapshots


def key_of(listener: snapshots.Listener) -> str:
    return f"{listener.host}:{listener.port}"


class Listening:
    """``sockets`` by key, in the order of the configuration. ``inherited``: those of a former program."""

    def __init__(self, inherited: Mapping[str, socket.socket] | None = None) -> None:
        self.sockets: dict[str, socket.socket] = dict(inherited or {})

    def open_missing(self, wanted: Iterable[snapshots.Listener]) -> dict[str, socket.socket]:
        """New sockets for those of ``wanted`` that have none yet. Raises StartError; then none was opened."""
        made: dict[str, socket.socket] = {}
        try:
            for listener in wanted:
                key = key_of(listener)
                if key not in self.sockets and key not in made:
                    made[key] = listen_or_say(listener)
        except StartError:
            for sock in made.values():
                sock.close()
            raise
        return made

    def settle(self, wanted: Iterable[snapshots.Listener], made: Mapping[str, socket.socket]) -> None:
        """Takes ``made`` up and closes what is not in ``wanted``."""
        both = {**self.sockets, **made}
        self.sockets = {key_of(listener): both.pop(key_of(listener)) for listener in wanted}
        for sock in both.values():
            sock.close()

    def of(self, wanted: Iterable[snapshots.Listener]) -> list[socket.socket]:
        return [self.sockets[key_of(listener)] for listener in wanted]

    @property
    def names(self) -> list[str]:
        """The addresses as they are, with the ports that were taken."""
        return ["{}:{}".format(*sock.getsockname()[:2]) for sock in self.sockets.values()]

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()
        self.sockets = {}
