"""The tables, as SQLAlchemy Core sees them; ``migrations`` makes them.

An entry of the configuration is never overwritten: each state of it is a row that holds from the revision
``since`` up to, not including, ``until``. So every revision can be read, compared and brought back, at a cost
that follows the changes and not the size of the configuration. Times are milliseconds since the epoch.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_number: Final = BigInteger().with_variant(Integer, "sqlite")  # a STRICT table knows INTEGER alone
_flag: Final = Boolean().with_variant(Integer, "sqlite")

revisions: Final = Table(
    "revisions",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=False),
    Column("at_ms", _number, nullable=False),
    Column("kind", Text, nullable=False),  # edit, apply, rollback, key, reload
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("changes", Integer, nullable=False),
    Column("digest", Text, nullable=False),  # SHA-256 of the canonical diff
    Column("rolled_back_to", _number, nullable=True),
    Column("change_request", Text, nullable=True),
    Column("audit_seq", _number, nullable=True),
    Column("act", Text, nullable=False, unique=True),  # what the audit leaf names before the commit
    sqlite_strict=True,
)

entries: Final = Table(
    "entries",
    metadata,
    Column("id", _number, primary_key=True, autoincrement=True),
    Column("section", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("since", _number, ForeignKey("revisions.number"), nullable=False),
    Column("until", _number, nullable=True),
    Column("content", Text, nullable=False),  # canonical JSON, or what an envelope seals of it
    Column("sealed", _flag, nullable=False, default=False),
    Column("digest", Text, nullable=False),  # keyed BLAKE2b of the canonical JSON: the ETag
    Column("team", Text, nullable=False, default=""),
    Column("origin", Text, nullable=False, default="api"),  # api, or apply
    UniqueConstraint("section", "name", "since"),
    Index(None, "section", "until", "name"),
    Index(None, "since"),
    Index(None, "until"),
    sqlite_strict=True,
)

gateways: Final = Table(
    "gateways",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("revision", _number, nullable=False),
    Column("acknowledged_ms", _number, nullable=False),
    Column("seen_ms", _number, nullable=False),
    Column("workers", Integer, nullable=False, default=0),
    Column("failure", Text, nullable=False, default=""),
    sqlite_strict=True,
)

repeats: Final = Table(  # answers to writes that carried an Idempotency-Key
    "repeats",
    metadata,
    Column("actor", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),  # sealed: it may hold a key that is shown once
    Column("at_ms", _number, nullable=False),
    Index(None, "at_ms"),
    sqlite_strict=True,
)

users: Final = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("display", Text, nullable=False, default=""),
    Column("email", Text, nullable=False, default=""),
    Column("password", Text, nullable=False, default=""),  # Argon2id in PHC form, empty: none
    Column("totp", LargeBinary, nullable=True),  # sealed
    Column("totp_step", _number, nullable=False, default=0),  # the last one used: none works twice
    Column("external", Text, nullable=True, unique=True),  # issuer and subject of a sign-in by OIDC
    Column("state", Text, nullable=False, default="active"),  # active, disabled
    Column("service", Integer, nullable=False, default=0),  # 1: no person, has tokens alone
    Column("totp_next", LargeBinary, nullable=True),  # sealed: made and not yet confirmed
    Column("invite", Text, nullable=False, default=""),  # HMAC of the code that sets a password once
    Column("invite_ms", _number, nullable=False, default=0),  # when that code ends
    Column("created_ms", _number, nullable=False),
    Column("version", Integer, nullable=False, default=1),
    sqlite_strict=True,
)

grants: Final = Table(
    "grants",
    metadata,
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    Column("role", Text, primary_key=True),  # viewer, operator, approver, owner, auditor
    Column("scope", Text, primary_key=True),  # *, team:NAME or api:NAME
    sqlite_strict=True,
)

tokens: Final = Table(
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False),  # token, or session
    Column("digest", Text, nullable=False, unique=True),  # HMAC-SHA256 with the pepper
    Column("note", Text, nullable=False, default=""),
    Column("roles", Text, nullable=False, default="[]"),  # JSON: narrower than the user's, empty: the same
    Column("created_ms", _number, nullable=False),
    Column("used_ms", _number, nullable=False),
    Column("expires_ms", _number, nullable=False),
    Column("second_factor_ms", _number, nullable=False, default=0),
    Column("from_address", Text, nullable=False, default=""),
    Index(None, "user"),
    sqlite_strict=True,
)

changes: Final = Table(  # change requests: what waits for a second person, or for its time
    "changes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("risk", Text, nullable=False),  # plain, guarded (one approver), grave (two)
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("base", _number, nullable=False),
    Column("content", Text, nullable=False),  # the changes, canonical JSON, sealed
    Column("diff", Text, nullable=False),  # canonical JSON, secrets as keyed hashes
    Column("hash", Text, nullable=False),  # SHA-256 of base, content and diff: what is approved
    Column("created_ms", _number, nullable=False),
    Column("expires_ms", _number, nullable=False),
    Column("activate_ms", _number, nullable=False, default=0),
    Column("window_ms", _number, nullable=False, default=0),  # how long after that it may still be applied
    Column("subject", Text, nullable=False, default="config"),  # config, or people
    Column("places", Text, nullable=False, default="[]"),  # JSON: the scopes that each part lies in
    Column("approvals", Integer, nullable=False, default=0),  # how many it needs at least
    Column("failure", Text, nullable=False, default=""),  # why it could not be applied
    Column("failure_code", Text, nullable=False, default=""),  # the same for programs
    Column("replaced_by", Text, nullable=True),  # the request that took its place when its base was stale
    Column("revision", _number, nullable=True),
    Column("version", Integer, nullable=False, default=1),
    Index(None, "state"),
    sqlite_strict=True,
)

decisions: Final = Table(
    "decisions",
    metadata,
    Column("change", Text, ForeignKey("changes.id", ondelete="CASCADE"), primary_key=True),
    Column("person", Text, primary_key=True),
    Column("verdict", Text, nullable=False),  # approved, rejected
    Column("hash", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("at_ms", _number, nullable=False),
    sqlite_strict=True,
)

glass: Final = Table(  # break-glass: who became owner for an hour, and who looked at it afterwards
    "glass",
    metadata,
    Column("id", Text, primary_key=True),
    Column("person", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("opened_ms", _number, nullable=False),
    Column("until_ms", _number, nullable=False),
    Column("address", Text, nullable=False, default=""),
    Column("reviewer", Text, nullable=False, default=""),  # empty: the review is open
    Column("reviewed_ms", _number, nullable=False, default=0),
    Column("finding", Text, nullable=False, default=""),
    Index(None, "person", "until_ms"),
    Index(None, "reviewer"),
    sqlite_strict=True,
)

usage: Final = Table(
    "usage",
    metadata,
    Column("hour", _number, primary_key=True),  # hours since the epoch
    Column("consumer", Text, primary_key=True),
    Column("credential", Text, primary_key=True),
    Column("api", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("calls", _number, nullable=False),
    Column("errors", _number, nullable=False),
    Column("last_ms", _number, nullable=False),
    Index(None, "api", "version", "hour"),
    Index(None, "credential", "hour"),
    sqlite_strict=True,
)

envelopes: Final = Table(  # data keys, each sealed by a master key
    "envelopes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("master", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_ms", _number, nullable=False),
    Column("retired_ms", _number, nullable=True),
    sqlite_strict=True,
)

facts: Final = Table(  # few and small: which cluster this is, peppers (sealed), schema facts
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_strict=True,
)
