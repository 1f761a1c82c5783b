"""A PostgreSQL cluster of a test's own, on 127.0.0.1, in a folder; run as another user when we are root."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers.programs import Server, find

INSTALL = "postgresql (Debian package)"
FOLDERS = "usr/lib/postgresql/*/bin"


def postgres_program(name: str = "postgres") -> str:
    """Raises Lacking."""
    return find((name,), FOLDERS, INSTALL)


def account() -> int | None:
    """Whom the server runs as: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    return 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that the account may reach: the tests' own is closed to others."""
    user = account()
    with tempfile.TemporaryDirectory(
        prefix="faregate-postgres-", dir=None if user is None else "/tmp"
    ) as folder:
        if user is not None:
            Path(folder).chmod(0o711)
        yield Path(folder)


class PostgresServer(Server):
    """``options``: settings, such as ``fsync=off``."""

    def __init__(self, folder: Path, port: int, options: tuple[str, ...] = ()) -> None:
        super().__init__(folder, port)
        self.options = options

    @property
    def url(self) -> str:
        return f"postgresql://faregate@127.0.0.1:{self.port}/postgres"

    def account(self) -> int | None:
        return account()

    def make(self) -> None:
        """The cluster's files, once. ``folder`` and those above it must be open to the account."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        user = self.account()
        if user is not None:
            os.chown(self.folder, user, -1)
        subprocess.run(
            [postgres_program("initdb"), "-D", str(self.folder), "-U", "faregate", "-A", "trust", "-N", "--locale=C",
             "-E", "UTF8"],
            user=user, cwd=self.folder, check=True, capture_output=True,
        )  # fmt: skip

    def command(self) -> list[str]:
        settings = (
            f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=", "shared_buffers=16MB",
            *self.options,
        )  # fmt: skip
        return [
            postgres_program(), "-D", str(self.folder), *(word for each in settings for word in ("-c", each)),
        ]  # fmt: skip

    def start(self) -> None:
        """Until it takes connections: it listens before."""
        super().start()
        ready = [postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        until = time.monotonic() + 15
        while subprocess.run(ready, check=False).returncode != 0:
            assert time.monotonic() < until, "the server takes no connections"
            time.sleep(0.02)

    def kill(self) -> None:
        """At once; its processes with it, so that the folder is free."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        self._end(signal.SIGINT)
