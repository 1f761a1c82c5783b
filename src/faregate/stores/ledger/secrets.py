"""The ledger's secrets: the key that hides callers' keys from the store, and those that seal answers.

On one machine they are made once and kept in ``<data>/ledger/secrets`` (mode 0600); machines that share a
store are given the same by their configuration. Without the lookup key no record is found any more, and every
call would run again: a file that is broken, or gone where there are records, is an error, never replaced.
"""

import contextlib
import fcntl
import os
import secrets as randomness
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from faregate.snapshot.idempotency import Ledger
from faregate.stores.ledger.protocol import KEY_BYTES, Scope

FOLDER: Final = "ledger"
FILE: Final = "secrets"
MARK: Final = "secrets.mark"
"""Beside it: a digest of the lookup key. While it is there, the secrets must be, and be those."""
SECRET_BYTES: Final = 32
ID_BYTES: Final = 4
KEYS_MAX: Final = 64
FILE_BYTES_MAX: Final = 64 << 10
_FORMAT: Final = 1
_LOOKUP: Final = b"faregate key 1"  # at most 16 bytes


class SecretsError(Exception):
    """The secrets cannot be read or kept. The message is for operators and holds nothing of them."""


class Secrets:
    """``keys``: id and 32 bytes each; the last one seals, all open. Raises ``ValueError`` where an id stands
    twice or there is none.
    """

    __slots__ = ("_keys", "_lookup_key", "current", "current_id")

    def __init__(self, lookup_key: bytes, keys: Sequence[tuple[bytes, bytes]]) -> None:
        self._keys = dict(keys)
        if not keys or len(self._keys) != len(keys):
            raise ValueError("no sealing key, or two with one id")
        self._lookup_key = lookup_key
        self.current_id, self.current = keys[-1]

    def __repr__(self) -> str:
        return f"Secrets({len(self._keys)} sealing keys, ***)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("secrets are not pickled")

    @property
    def lookup_key(self) -> bytes:
        return self._lookup_key

    @property
    def keys(self) -> list[tuple[bytes, bytes]]:
        """Oldest first."""
        return list(self._keys.items())

    def key(self, identifier: bytes) -> bytes | None:
        """The sealing key with this id."""
        return self._keys.get(identifier)

    def locate(self, scope: Scope) -> bytes:
        """The record's key: 16 bytes that tell nothing of the scope to who does not hold the secret. Scopes
        that differ in any part give different ones.
        """
        begun = self.begin(scope.consumer, scope.api, scope.route)
        begun.update(scope.key)
        return begun.digest()

    def begin(self, consumer: str, api: str, route: str) -> blake2b:
        """What ``locate`` comes to for all keys of one consumer and route: a ``copy``, updated with the key,
        has the record's key as its digest. Cheaper for who keeps it.
        """
        owner, name, label = consumer.encode(), api.encode(), route.encode()
        parts = b"%d,%d,%d:%b%b%b" % (len(owner), len(name), len(label), owner, name, label)
        return blake2b(parts, digest_size=KEY_BYTES, key=self._lookup_key, person=_LOOKUP)


def configured(ledger: Ledger) -> Secrets | None:
    """Those that the configuration gives; None where this machine makes its own."""
    if not ledger.lookup_key:
        return None
    return Secrets(ledger.lookup_key, [(key_id(name), secret) for name, secret in ledger.seal_keys])


def key_id(name: str) -> bytes:
    """The id under which a configured key's answers say by whom they were sealed."""
    return blake2b(name.encode(), digest_size=ID_BYTES).digest()


def load_or_make(data: Path, *, may_make: bool = True) -> Secrets:
    """The secrets of this machine, made by whoever comes first; durable when this returns.

    ``data``: the data folder. ``may_make`` False: there are records, so that there must be secrets. Raises
    ``SecretsError``.
    """
    folder = data / FOLDER
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(data)
        path = folder / FILE
        if not path.exists():
            # looked for after the file: who makes both makes the file first
            if not may_make or (folder / MARK).exists():
                if not path.exists():
                    raise SecretsError(f"{path} is gone, and without it no record can be found: restore it")
            else:
                _make(path)
        _sync(folder)  # who linked it may not have come so far
        found = _read(path)
        _mark(folder, found)
    except OSError as error:
        raise SecretsError(f"{folder}: {error.strerror}") from None
    return found


def rotate(data: Path) -> Secrets:
    """A new sealing key, from now on the one that seals for whoever reads the file; the others still open.
    Raises ``SecretsError``.
    """
    folder = data / FOLDER
    try:
        with _alone(folder):
            former = _read(folder / FILE)
            if len(former.keys) >= KEYS_MAX:
                raise SecretsError(f"{folder / FILE} holds {KEYS_MAX} keys, which is the most")
            made = Secrets(former.lookup_key, [*former.keys, _new_key(former)])
            with _written(folder, _encoded(made)) as fresh:
                fresh.replace(folder / FILE)
            _sync(folder)
    except OSError as error:
        raise SecretsError(f"{folder}: {error.strerror}") from None
    return made


def _new_key(former: Secrets | None = None) -> tuple[bytes, bytes]:
    identifier = randomness.token_bytes(ID_BYTES)
    while former is not None and former.key(identifier) is not None:
        identifier = randomness.token_bytes(ID_BYTES)
    return identifier, randomness.token_bytes(SECRET_BYTES)


def _make(path: Path) -> None:
    made = Secrets(randomness.token_bytes(SECRET_BYTES), [_new_key()])
    with _written(path.parent, _encoded(made)) as fresh, contextlib.suppress(FileExistsError):
        os.link(fresh, path)  # unlike a rename, never over another's


def _mark(folder: Path, found: Secrets) -> None:
    """Says whose secrets belong here, once; others are refused from then on."""
    path = folder / MARK
    digest = blake2b(b"mark", digest_size=16, key=found.lookup_key, person=_LOOKUP).hexdigest().encode()
    if not path.exists():
        with _written(folder, digest) as fresh, contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        _sync(folder)
    if path.read_bytes() != digest:
        raise SecretsError(f"{folder / FILE} is not the one that {path} was made with: restore it")


# -- the file --


class _Key(msgspec.Struct, forbid_unknown_fields=True):
    id: bytes
    secret: bytes


class _Content(msgspec.Struct, forbid_unknown_fields=True):
    """``check``: a digest of all the rest; a lookup key with one bit changed would find no record."""

    format: int
    lookup_key: bytes
    keys: list[_Key]
    check: bytes


def _check(lookup_key: bytes, keys: Sequence[tuple[bytes, bytes]]) -> bytes:
    return blake2b(
        lookup_key + b"".join(identifier + secret for identifier, secret in keys), digest_size=16
    ).digest()


def _encoded(made: Secrets) -> bytes:
    keys = made.keys
    check = _check(made.lookup_key, keys)
    return msgspec.json.encode(_Content(_FORMAT, made.lookup_key, [_Key(*key) for key in keys], check))


@contextlib.contextmanager
def _written(folder: Path, content: bytes) -> Iterator[Path]:
    """A file beside the real one, durable, for as long as the block runs."""
    fresh = folder / f"{FILE}.{os.getpid()}.{randomness.token_hex(4)}"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


def _read(path: Path) -> Secrets:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise SecretsError(f"{path} can be read by others: chmod 600")
        text = file.read(FILE_BYTES_MAX + 1)
    broken = SecretsError(f"{path} is broken: restore it; nothing else opens what the ledger holds")
    try:
        content = msgspec.json.decode(text, type=_Content)
    except (msgspec.MsgspecError, ValueError):
        raise broken from None
    keys = [(key.id, key.secret) for key in content.keys]
    sizes = {len(identifier) for identifier, _ in keys} | {len(secret) for _, secret in keys}
    if (
        msgspec.json.encode(content)
        != text  # base64 has spare bits, which a check of the content does not see
        or content.format != _FORMAT
        or content.check != _check(content.lookup_key, keys)
        or len(content.lookup_key) != SECRET_BYTES
        or sizes != {ID_BYTES, SECRET_BYTES}
        or len({identifier for identifier, _ in keys}) != len(keys)
    ):
        raise broken
    return Secrets(content.lookup_key, keys)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
