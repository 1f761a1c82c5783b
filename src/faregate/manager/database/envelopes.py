"""Secrets at rest: data keys that seal values, each sealed in turn by a master key that the database has not.

A value is sealed by AES-256-GCM under the present data key, with a random nonce of 96 bits and its purpose as
associated data, so that it opens nowhere else. A data key seals at most 2^30 values (NIST SP 800-38D section
8.3 allows 2^32). Another master key seals the data keys anew and touches no value; another data key leaves
the old ones to open what they sealed.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.database.tables import envelopes

MASTER_FILE: Final = "master.key"
_NEXT_FILE: Final = "master.key.next"
_FORMAT: Final = b"\x01"
_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12


class MasterKeyError(Exception):
    """There is no master key, or not the one that sealed the data keys; the text is for the operator."""


def master_id(master: Secret) -> str:
    """Names a master key without giving it away."""
    return hashlib.sha256(b"faregate master key\n" + master.reveal()).hexdigest()[:16]


def load_or_make_master(data: Path) -> Secret:
    """The master key in ``<data>/master.key`` (mode 0600), made at the first start. Raises MasterKeyError."""
    path = data / MASTER_FILE
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    try:
        return parse_master(path.read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise MasterKeyError(f"cannot read the master key {path}: {error}") from None


def master_of(material: bytes) -> Secret:
    """The master key of 32 to 64 random bytes."""
    if len(material) == 32:
        return Secret(material)
    return Secret(hashlib.blake2b(material, digest_size=32, person=b"faregate master").digest())


def stage_master(data: Path, fresh: Secret) -> None:
    """Lays the next master key beside the present one. Raises OSError."""
    path = data / _NEXT_FILE
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(fresh.reveal().hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def finish_master(data: Path) -> None:
    """Puts the next master key in the place of the present one. Raises OSError."""
    (data / _NEXT_FILE).replace(data / MASTER_FILE)
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def settled_master(connection: AsyncConnection, data: Path, master: Secret) -> Secret:
    """The master key after a rotation that an end came upon: the next one where it seals the data keys
    already, else ``master``. Raises MasterKeyError, OSError.
    """
    path = data / _NEXT_FILE
    try:
        fresh = parse_master(path.read_text("ascii"))
    except FileNotFoundError:
        return master
    except (UnicodeDecodeError, MasterKeyError):  # half written: nothing is sealed by it
        path.unlink()
        return master
    sealed_by = (await connection.execute(select(envelopes.c.master).limit(1))).scalar()
    if sealed_by != master_id(fresh):
        path.unlink()
        return master
    finish_master(data)
    return fresh


def parse_master(text: str) -> Secret:
    """64 hexadecimal digits. Raises MasterKeyError."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise MasterKeyError("a master key is 64 hexadecimal digits: openssl rand -hex 32")
    return Secret(key)


class Envelopes:
    """The data keys of one database, open in memory, the oldest first: a ``ports.Envelope``."""

    def __init__(self, keys: Mapping[bytes, Secret], present: bytes) -> None:
        self._keys = dict(keys)
        self._present = present

    def __repr__(self) -> str:
        return f"Envelopes({len(self._keys)} data keys)"

    @property
    def present(self) -> str:
        """Names the data key that seals."""
        return self._present.hex()

    def take(self, other: "Envelopes") -> None:
        """Has the keys of ``other`` from now on, as whoever holds this does."""
        self._keys, self._present = dict(other._keys), other._present  # noqa: SLF001 - of its own kind

    def is_present(self, sealed: bytes) -> bool:
        """Whether the data key that seals now sealed it."""
        return sealed[1 : 1 + _ID_BYTES] == self._present

    def seal(self, value: bytes, purpose: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(self._keys[self._present].reveal())
        return _FORMAT + self._present + nonce + cipher.encrypt(nonce, value, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        key = self._keys.get(sealed[1 : 1 + _ID_BYTES])
        if sealed[:1] != _FORMAT or key is None:
            raise ValueError("sealed by no data key of this database")
        nonce = sealed[1 + _ID_BYTES : 1 + _ID_BYTES + _NONCE_BYTES]
        try:
            return AESGCM(key.reveal()).decrypt(
                nonce, sealed[1 + _ID_BYTES + _NONCE_BYTES :], purpose.encode()
            )
        except InvalidTag:
            raise ValueError("altered, or sealed for another purpose") from None

    def keyed_hash(self, value: bytes, purpose: str) -> str:
        first = next(iter(self._keys))  # the same whatever data key is present
        key = hmac.digest(self._keys[first].reveal(), b"keyed hash " + purpose.encode(), "sha256")
        return hmac.digest(key, value, "sha256").hex()[:32]


async def open_envelopes(connection: AsyncConnection, master: Secret, now_ms: int) -> Envelopes:
    """The data keys of the database, opened by ``master``; the first is made here. Raises MasterKeyError."""
    oldest = select(envelopes).order_by(envelopes.c.created_ms, envelopes.c.id)
    rows = (await connection.execute(oldest)).all()
    if not rows:
        await _add(connection, master, now_ms)
        rows = (await connection.execute(oldest)).all()
    keys = {bytes.fromhex(row.id): _unwrap(row.id, row.sealed, row.master, master) for row in rows}
    present = max((row for row in rows if row.retired_ms is None), key=lambda row: (row.created_ms, row.id))
    return Envelopes(keys, bytes.fromhex(present.id))


async def rotate_data_key(connection: AsyncConnection, master: Secret, now_ms: int) -> None:
    """From the next ``open_envelopes`` on a new data key seals; the former ones still open."""
    await connection.execute(
        update(envelopes).where(envelopes.c.retired_ms.is_(None)).values(retired_ms=now_ms)
    )
    await _add(connection, master, now_ms)


async def rotate_master(connection: AsyncConnection, former: Secret, fresh: Secret) -> int:
    """Seals every data key under ``fresh``; how many. Raises MasterKeyError."""
    rows = (await connection.execute(select(envelopes))).all()
    for row in rows:
        key = _unwrap(row.id, row.sealed, row.master, former)
        await connection.execute(
            update(envelopes)
            .where(envelopes.c.id == row.id)
            .values(master=master_id(fresh), sealed=_wrap(row.id, key, fresh))
        )
    return len(rows)


async def _add(connection: AsyncConnection, master: Secret, now_ms: int) -> None:
    name = secrets.token_hex(_ID_BYTES)
    await connection.execute(
        insert(envelopes).values(
            id=name,
            master=master_id(master),
            sealed=_wrap(name, Secret(secrets.token_bytes(32)), master),
            created_ms=now_ms,
        )
    )


def _wrap(name: str, key: Secret, master: Secret) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(master.reveal()).encrypt(nonce, key.reveal(), f"data key {name}".encode())


def _unwrap(name: str, sealed: bytes, sealed_by: str, master: Secret) -> Secret:
    if sealed_by != master_id(master):
        raise MasterKeyError(
            f"the database was sealed by master key {sealed_by}, not by {master_id(master)}: "
            "machines that share a database share `gateway.manager.master_key`"
        )
    try:
        return Secret(
            AESGCM(master.reveal()).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], f"data key {name}".encode()
            )
        )
    except InvalidTag:
        raise MasterKeyError(f"the data key {name} was altered") from None
