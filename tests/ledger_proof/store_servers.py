"""Redis and PostgreSQL of one's own, in a temporary folder, that may be killed, stopped and started again on the same port.

Both are set so that what they told as stored survives ``kill -9``: ``appendfsync always``, ``fsync`` on. ``why_not`` says what is missing
on this machine.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.support.gateway import until
from tests.support.ports import free_ports

SIGNALS: Final = {"pause": signal.SIGSTOP, "go_on": signal.SIGCONT}
START_S: Final = 20.0


def _postgres() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: int(one.parts[4]))
    return found[-1].parent if found else None


def why_not(store: str) -> str:
    """What has to be installed for this store's server; empty when it is there."""
    if store == "redis" and shutil.which("redis-server") is None:
        return "redis-server is not installed (apt-get install redis-server)"
    if store == "postgresql" and _postgres() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    return ""


class StoreServer:
    """A server process in a group of its own. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int) -> str:
        """How the gateway reaches it by ``port``, its own or a proxy's."""
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        raise NotImplementedError

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def options(self) -> dict[str, str]:
        """Who it runs as, where it must not be root."""
        return {}

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                cwd=self.folder, **self.options(),  # type: ignore[arg-type]
            )  # fmt: skip
        until(self.ready, f"the server in {self.folder}", START_S)

    def signal(self, name: str) -> None:
        """``pause`` or ``go_on``, for every process of it."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, SIGNALS[name])

    def kill(self) -> None:
        """kill -9 of all its processes; nothing when it is down."""
        if self._process is not None:
            for pid in self._processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def _processes(self) -> list[int]:
        """The server first, then its children: those of PostgreSQL have process groups of their own."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]


class RedisServer(StoreServer):
    def url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def command(self) -> list[str]:
        return [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
        ]  # fmt: skip

    def ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(100).startswith(b"+PONG")
        return False


class PostgresServer(StoreServer):
    def url(self, port: int) -> str:
        return f"postgresql://faregate@127.0.0.1:{port}/postgres"

    def options(self) -> dict[str, str]:
        if os.geteuid():
            return {}
        with suppress(KeyError):
            return {"user": pwd.getpwnam("postgres").pw_name}
        return {"user": "nobody"}

    def prepare(self) -> None:
        super().prepare()
        user = self.options().get("user")
        if user:
            shutil.chown(self.folder, user)
            for parent in self.folder.parents:  # pytest's own folders are closed to other users
                with suppress(PermissionError):
                    if (
                        parent.stat().st_uid == os.geteuid()
                        and parent != Path("/")
                        and not parent.stat().st_mode & 0o001
                    ):
                        parent.chmod(parent.stat().st_mode | 0o011)
        tools = _postgres()
        assert tools is not None
        subprocess.run(
            [str(tools / "initdb"), "-D", str(self.folder / "base"), "-U", "faregate", "-A", "trust", "--no-sync"],
            check=True, capture_output=True, cwd="/", **self.options(),  # type: ignore[call-overload]
        )  # fmt: skip

    def command(self) -> list[str]:
        tools = _postgres()
        assert tools is not None
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": 60,
                    "shared_buffers": "16MB", "fsync": "on", "synchronous_commit": "on"}  # fmt: skip
        base = self.folder / "base"
        (base / "postmaster.pid").unlink(missing_ok=True)
        return [
            str(tools / "postgres"),
            "-D",
            str(base),
            *(f"-c{name}={value}" for name, value in settings.items()),
        ]

    def ready(self) -> bool:
        """Whether it takes connections; while it recovers it refuses them in words."""
        try:
            import psycopg

            with psycopg.connect(self.url(self.port), connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            time.sleep(0.1)
            return False


SERVERS: Final[dict[str, type[StoreServer]]] = {"redis": RedisServer, "postgresql": PostgresServer}
