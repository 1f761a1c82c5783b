"""What the manager and its compiler say to each other: one JSON object a line, one request at a time.

The compiler (``compile.service``) holds the declared configuration that runs: the file's entries as they
were last put to work, and the database's. The manager asks by ``Request.op``:

``load``: read everything (again); answers when it is ready. ``check``: would these changes do? ``apply``:
make them, all or none. ``undo``: take back the last ``apply`` that was not, up to ``UNDO_MAX`` of them.
``write``: the snapshot of what was applied to a file. ``show``: one entry. ``list``: a page of a section.
An answer with ``ok`` false changed nothing; its ``diagnostics`` or ``message`` say why.
"""

from hashlib import blake2b
from typing import Final

import msgspec

LINE_BYTES_MAX: Final = 64 << 20
"""A request or an answer; 100,000 consumers written as JSON take about 30 MiB."""
CHANGES_MAX: Final = 200_000
DIAGNOSTICS_MAX: Final = 500
"""So many are told; of the others the number."""
UNDO_MAX: Final = 8
LIST_MAX: Final = 1000

FILE: Final = "file"
MANAGED: Final = "managed"
"""Who owns an entry: the configuration file, or the manager's database."""


class Change(msgspec.Struct, frozen=True):
    """One entry as it shall be; ``content`` None: gone. ``section`` is one of ``replica.SECTIONS``."""

    section: str
    name: str
    content: object = None


class Told(msgspec.Struct, frozen=True):
    """One diagnostic. ``level``: error or warning. ``path``: as ``consumers.acme.plan``; what stands in a
    credential of the database is under ``credentials.<id>``. ``file``: where it stands, ``managed`` for the
    database, with its ``line`` (0 there).
    """

    code: str
    level: str
    path: str
    message: str
    expected: str = ""
    nearest: str = ""
    file: str = MANAGED
    line: int = 0


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry with its secrets masked (``***``). ``owner``: file or managed. ``file``: where the file's
    stands, relative to nothing.
    """

    name: str
    owner: str
    content: object = None
    file: str = ""


class Request(msgspec.Struct, omit_defaults=True):
    """``changes``: of check and apply. ``path``, ``revision``: of write. ``section``, ``name``: of show.
    ``section``, ``owner`` (empty: both), ``after`` (a name), ``limit``: of list.
    """

    op: str
    changes: list[Change] = []
    path: str = ""
    revision: int = 0
    section: str = ""
    name: str = ""
    owner: str = ""
    after: str = ""
    limit: int = 100


class Answer(msgspec.Struct, omit_defaults=True):
    """``more``: diagnostics that are not told. ``revision``: of load, the replica's; of write, the
    snapshot's. ``entries``: of load, how many there are. ``items``: of show, one or none; of list, by name;
    ``next``: the ``after`` of the following page, empty at the end. ``base``: of write, the digest of the
    file's entries that it compiled with. ``seconds``: what it took.
    """

    ok: bool
    message: str = ""
    diagnostics: list[Told] = []
    more: int = 0
    revision: int = 0
    entries: int = 0
    items: list[Shown] = []
    next: str = ""
    base: str = ""
    seconds: float = 0.0


def digest_of(base: bytes) -> str:
    """What tells one ``base.json`` from another."""
    return blake2b(base, digest_size=16).hexdigest()
