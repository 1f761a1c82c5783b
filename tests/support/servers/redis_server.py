"""A Redis or Valkey of a test's own, on 127.0.0.1, that syncs every write."""

import socket
from pathlib import Path

from tests.support.servers.programs import Server, find

INSTALL = "redis-server (Debian package) or valkey"


def redis_program() -> str:
    """Raises Lacking."""
    return find(("redis-server", "valkey-server"), "", INSTALL)


class RedisServer(Server):
    """``options``: lines of its configuration file, instead of those that make it durable."""

    def __init__(self, folder: Path, port: int, options: tuple[str, ...] = ("appendonly yes",)) -> None:
        super().__init__(folder, port)
        self.options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        text = (
            "bind 127.0.0.1",
            f"port {self.port}",
            f"dir {self.folder}",
            "appendfsync always",
            *self.options,
        )
        path = self.folder / "redis.conf"
        path.write_text("\n".join(text) + "\n")
        return [redis_program(), str(path)]

    def say(self, *words: str | bytes) -> bytes:
        """One command; the first bytes of its answer."""
        packed = [word.encode() if isinstance(word, str) else word for word in words]
        with socket.create_connection(("127.0.0.1", self.port), 5) as talk:
            talk.sendall(
                b"*%d\r\n" % len(packed) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in packed)
            )
            return talk.recv(65536)
