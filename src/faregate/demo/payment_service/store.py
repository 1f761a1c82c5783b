"""Payments in SQLite, and the sums that must hold: captured <= authorised, refunded <= captured.

Every change runs in one ``BEGIN IMMEDIATE`` transaction, so several copies of the service may share the
file: the second of two refunds at once sees the first. Rows are scoped by owner; another owner's payment
does not exist. The key that a payment or refund came with is kept to find it by, and guards nothing: that is
the gateway's work. HTTP, and what a caller may write in a body, are left to ``app``.
"""

import fcntl
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

PAGE_MAX: Final = 100
"""The most payments one list answers with."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL,
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    currency TEXT NOT NULL,
    reference TEXT NOT NULL,
    card_last4 TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('authorized', 'declined', 'captured')),
    captured_minor INTEGER NOT NULL DEFAULT 0 CHECK (captured_minor BETWEEN 0 AND amount_minor),
    refunded_minor INTEGER NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS payments_by_owner ON payments (owner, created_at);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY,
    payment_id TEXT NOT NULL REFERENCES payments (id),
    amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    payment_id TEXT NOT NULL REFERENCES payments (id),
    refund_id TEXT REFERENCES refunds (id)
) STRICT;
CREATE INDEX IF NOT EXISTS keys_by_owner ON keys (owner, key);
"""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as callers see it; amounts in minor units of ``currency``."""

    id: str
    amount_minor: int
    currency: str
    reference: str
    card_last4: str
    status: str
    captured_minor: int
    refunded_minor: int
    created_at: str


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back from a captured payment."""

    id: str
    payment_id: str
    amount_minor: int
    created_at: str


class ConflictError(Exception):
    """The payment is not in a state, or has not enough left, for what was asked. ``code`` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NotFoundError(Exception):
    """No such payment of this owner."""


_COLUMNS: Final = (
    "id, amount_minor, currency, reference, card_last4, status, captured_minor, refunded_minor, created_at"
)


class Payments:
    """The payments kept in one SQLite file, safe for several threads and processes: a connection per use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # SQLite does not wait its turn to switch to WAL: copies that start together need a lock.
        with path.with_name(path.name + ".lock").open("w") as lock, closing(self._connect()) as connection:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_SCHEMA)

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None: transactions are begun here, in words, not by the driver's guess.
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(self._connect()) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def create(  # noqa: PLR0913, PLR0917 - the fields of a payment
        self,
        owner: str,
        amount_minor: int,
        currency: str,
        reference: str,
        card: tuple[str, bool],
        key: str = "",
    ) -> Payment:
        """Authorises or declines a payment; ``card``: its last four digits, and whether the issuer agrees.
        ``key``: what it can be found by.
        """
        last4, agreed = card
        status = "authorized" if agreed else "declined"
        payment = Payment(_new_id("pay"), amount_minor, currency, reference, last4, status, 0, 0, _now())
        with self._transaction() as connection:
            connection.execute(
                f"INSERT INTO payments (owner, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?)",  # noqa: S608
                (owner, payment.id, amount_minor, currency, reference, last4, status, payment.created_at),
            )
            _keep_key(connection, owner, key, payment.id, None)
        return payment

    def get(self, owner: str, payment_id: str) -> Payment:
        """One payment. Raises NotFoundError."""
        with closing(self._connect()) as connection:
            return _read(connection, owner, payment_id)

    def made_with(self, owner: str, key: str) -> Payment:
        """The payment that was made with ``key``, the first if there are several. Raises NotFoundError."""
        with closing(self._connect()) as connection:
            row = connection.execute(
                "SELECT payment_id FROM keys WHERE owner = ? AND key = ? AND refund_id IS NULL"
                " ORDER BY rowid LIMIT 1",
                (owner, key),
            ).fetchone()
            if row is None:
                raise NotFoundError(key)
            return _read(connection, owner, row[0])

    def refund_made_with(self, owner: str, payment_id: str, key: str) -> Refund:
        """The refund of a payment that was made with ``key``. Raises NotFoundError."""
        with closing(self._connect()) as connection:
            row = connection.execute(
                "SELECT refunds.id, refunds.payment_id, refunds.amount_minor, refunds.created_at"
                " FROM keys JOIN refunds ON refunds.id = keys.refund_id"
                " WHERE keys.owner = ? AND keys.key = ? AND keys.payment_id = ? ORDER BY keys.rowid LIMIT 1",
                (owner, key, payment_id),
            ).fetchone()
        if row is None:
            raise NotFoundError(key)
        return Refund(*row)

    def recent(self, owner: str, count: int) -> list[Payment]:
        """The newest payments of an owner, at most ``count`` (1-100)."""
        with closing(self._connect()) as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM payments WHERE owner = ? ORDER BY created_at DESC LIMIT ?",  # noqa: S608
                (owner, min(count, PAGE_MAX)),
            )
            return [Payment(*row) for row in rows]

    def capture(self, owner: str, payment_id: str, amount_minor: int | None) -> Payment:
        """Captures an authorised payment once, in full or in part. Raises NotFoundError, ConflictError."""
        with self._transaction() as connection:
            payment = _read(connection, owner, payment_id)
            if payment.status != "authorized":
                raise ConflictError("not_capturable", f"The payment is {payment.status}.")
            amount = payment.amount_minor if amount_minor is None else amount_minor
            if amount > payment.amount_minor:
                raise ConflictError("amount_too_large", f"At most {payment.amount_minor} can be captured.")
            connection.execute(
                "UPDATE payments SET status = 'captured', captured_minor = ? WHERE id = ?",
                (amount, payment_id),
            )
            return _read(connection, owner, payment_id)

    def refund(self, owner: str, payment_id: str, amount_minor: int, key: str = "") -> Refund:
        """Gives back part of what was captured. Raises NotFoundError, ConflictError."""
        with self._transaction() as connection:
            payment = _read(connection, owner, payment_id)
            left = payment.captured_minor - payment.refunded_minor
            if amount_minor > left:
                raise ConflictError("amount_too_large", f"At most {left} can be refunded.")
            refund = Refund(_new_id("ref"), payment_id, amount_minor, _now())
            connection.execute(
                "INSERT INTO refunds (id, payment_id, amount_minor, created_at) VALUES (?, ?, ?, ?)",
                (refund.id, payment_id, amount_minor, refund.created_at),
            )
            connection.execute(
                "UPDATE payments SET refunded_minor = refunded_minor + ? WHERE id = ?",
                (amount_minor, payment_id),
            )
            _keep_key(connection, owner, key, payment_id, refund.id)
            return refund


def _read(connection: sqlite3.Connection, owner: str, payment_id: str) -> Payment:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM payments WHERE id = ? AND owner = ?",  # noqa: S608 - constant column list
        (payment_id, owner),
    ).fetchone()
    if row is None:
        raise NotFoundError(payment_id)
    return Payment(*row)


def _keep_key(
    connection: sqlite3.Connection, owner: str, key: str, payment_id: str, refund_id: str | None
) -> None:
    if key:
        connection.execute(
            "INSERT INTO keys (owner, key, payment_id, refund_id) VALUES (?, ?, ?, ?)",
            (owner, key, payment_id, refund_id),
        )


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
