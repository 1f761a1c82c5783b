"""The folder a demo lives in: configuration, key set, digests, and where children write.

What it writes is what a user would have: ``faregate check`` and ``faregate run`` take the same file. The
file is the template as shipped with at most its four addresses changed. A folder given by the user is used
only when it is empty or a demo's own, and by one demo at a time. Private halves (keys, tokens) stay in
memory.
"""

import fcntl
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, Self

from faregate.demo.credentials import DevelopmentIssuer, new_api_key

SUBJECTS: Final = ("acme-shop", "northwind", "hasty-bot", "you")
"""Consumers of the template that call with a token."""

KEY_HOLDERS: Final = ("corner-kiosk", "ledger-report", "you")
"""Consumers of the template that call with an API key."""

_MARK: Final = ".faregate-demo"
_ADDRESS: Final = re.compile(r"127\.0\.0\.1:([0-9]+)")


class FolderError(Exception):
    """The folder cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where everything listens, all on 127.0.0.1."""

    gateway: int = 8080
    manager: int = 9090
    target_1: int = 9001
    target_2: int = 9002


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What callers present: tokens by subject, API keys by consumer, and tokens that must be refused."""

    tokens: dict[str, str]
    api_keys: dict[str, str]
    expired: str
    forged: str


class Folder:
    """A demo's folder, locked while open; a temporary one is removed at the end."""

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path = path
        self.config = path / "faregate.yaml"
        self.database = path / "payments.db"
        self.access_log = path / "faregate-data" / "access.jsonl"
        self._temporary = temporary
        self._lock = os.open(path / _MARK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise FolderError(f"another demo is running in {path}") from None

    @classmethod
    def open(cls, path: Path | None) -> Self:
        """The folder at ``path``, or a new temporary one. Raises FolderError."""
        if path is None:
            return cls(Path(tempfile.mkdtemp(prefix="faregate-demo-")), temporary=True)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            foreign = any(path.iterdir()) and not (path / _MARK).exists()
        except OSError as error:
            raise FolderError(f"cannot use {path}: {error.strerror}") from None
        if foreign:
            raise FolderError(f"{path} holds other files; give an empty or a new folder")
        return cls(path.resolve(), temporary=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)

    def write(self, ports: Ports, now: int, lifetime_s: int) -> Credentials:
        """Writes configuration, key set and digests anew; the credentials are good for ``lifetime_s``."""
        issuer, stranger = DevelopmentIssuer(), DevelopmentIssuer()
        keys = self.path / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        (keys / "demo-id.jwks.json").write_text(issuer.jwks())
        api_keys = {}
        for consumer in KEY_HOLDERS:
            api_keys[consumer], digest = new_api_key()
            (keys / f"{consumer}.sha256").write_text(digest)
        self.config.write_text(configuration(ports))
        return Credentials(
            tokens={subject: issuer.token(subject, now, lifetime_s) for subject in SUBJECTS},
            api_keys=api_keys,
            expired=issuer.token("acme-shop", now - 7200, 3600),
            forged=stranger.token("acme-shop", now, lifetime_s),
        )


def configuration(ports: Ports) -> str:
    """The shipped ``faregate.yaml`` with these ports."""
    usual = Ports()
    chosen = {
        str(usual.gateway): ports.gateway,
        str(usual.manager): ports.manager,
        str(usual.target_1): ports.target_1,
        str(usual.target_2): ports.target_2,
    }
    text = files("faregate.demo").joinpath("faregate.yaml").read_text("utf-8")
    return _ADDRESS.sub(lambda address: f"127.0.0.1:{chosen[address[1]]}", text)
