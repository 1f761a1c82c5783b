"""A snapshot as bytes: cut into sections, so that a worker can read a large one between two calls.

Consumers and routes, of which there may be 100,000 and 10,000, stand in sections of some dozens, each with
its digest; the rest is one piece. Where a section ends depends on the records in it alone: a record that is
added or changed changes the section around it and no other, and a worker keeps what it made of all the rest.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from faregate.snapshot.data import (
    FORMAT,
    Consumer,
    Counted,
    Gateway,
    LimitsOf,
    Outline,
    Plan,
    PlanOf,
    Route,
    Snapshot,
)
from faregate.snapshot.frozen import Frozen

RecordT = TypeVar("RecordT")

SECTION_RECORDS: Final = 32
"""Records of a section on average; reading one keeps a loop for a tenth of a millisecond."""
_SECTION_RECORDS_MAX: Final = 128


class Section(Frozen, frozen=True, array_like=True):
    """``count`` records; ``content`` is their encoded array, a view of the whole file."""

    digest: bytes
    count: int
    content: memoryview


class Sections(NamedTuple):
    """An encoded snapshot, opened: ``head`` is all but consumers and routes."""

    head: Snapshot
    consumers: tuple[Section, ...]
    routes: tuple[Section, ...]


class _Head(Frozen, frozen=True):
    format: int
    revision: int
    gateway: Gateway
    routes: tuple[Section, ...]
    needs_ledger: bool = False
    needs_audit: bool = False
    checks_bodies: bool = False


class _Counted(Frozen, frozen=True):
    plans: tuple[Plan, ...]
    consumers: tuple[Section, ...]
    routes: tuple[Section, ...]


_consumers: Final = msgspec.msgpack.Decoder(tuple[Consumer, ...])
_routes: Final = msgspec.msgpack.Decoder(tuple[Route, ...])
_sections: Final = msgspec.msgpack.Decoder(tuple[Section, ...])
_plans_of: Final = msgspec.msgpack.Decoder(tuple[PlanOf, ...])
_limits_of: Final = msgspec.msgpack.Decoder(tuple[LimitsOf, ...])


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as MessagePack."""
    return encode_parts(snapshot, cut_consumers(snapshot.consumers), cut_routes(snapshot.routes))


def encode_parts(head: Snapshot, consumers: list[Section], routes: list[Section]) -> bytes:
    """The snapshot with these sections in place of ``head``'s own consumers and routes."""
    members: dict[str, object] = {name: getattr(head, name) for name in Snapshot.__struct_fields__}
    members["consumers"] = consumers
    members["routes"] = routes
    return msgspec.msgpack.encode(members)


def cut_consumers(consumers: Sequence[Consumer]) -> list[Section]:
    """Sections of consumers; one that ``ends_section`` is the last of its own."""
    return _cut(consumers, lambda consumer: consumer.name)


def cut_routes(routes: Sequence[Route]) -> list[Section]:
    return _cut(routes, lambda route: route.template)


def ends_section(name: str) -> bool:
    """Whether a section ends behind the record of this name, whatever stands around it."""
    return crc32(name.encode()) % SECTION_RECORDS == 0


def _cut(records: Sequence[RecordT], name: Callable[[RecordT], str]) -> list[Section]:
    sections = []
    begin = 0
    for end, record in enumerate(records, 1):
        if ends_section(name(record)) or end - begin == _SECTION_RECORDS_MAX or end == len(records):
            content = msgspec.msgpack.encode(records[begin:end])
            digest = blake2b(content, digest_size=16).digest()
            sections.append(Section(digest, end - begin, memoryview(content)))
            begin = end
    return sections


def open_sections(data: "bytes | memoryview") -> Sections:
    """What ``encode`` wrote, with nothing of its sections read; they keep ``data`` alive.

    Raises ``msgspec.DecodeError`` on other bytes, ``ValueError`` on another format.
    """
    members = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    check_format(msgspec.msgpack.decode(members.get("format", msgspec.Raw(b"\x00")), type=int))
    consumers = _sections.decode(members.pop("consumers"))
    routes = _sections.decode(members.pop("routes"))
    empty: dict[str, object] = {"consumers": (), "routes": ()}
    head = msgspec.msgpack.decode(msgspec.msgpack.encode({**members, **empty}), type=Snapshot)
    return Sections(head, consumers, routes)


def read_consumers(section: Section) -> tuple[Consumer, ...]:
    """Raises ``msgspec.DecodeError``."""
    return _consumers.decode(section.content)


def read_routes(section: Section) -> tuple[Route, ...]:
    """Raises ``msgspec.DecodeError``."""
    return _routes.decode(section.content)


def decode(data: bytes) -> Snapshot:
    """Reads what ``encode`` wrote. Raises ``msgspec.DecodeError`` on other bytes, ``ValueError`` on another
    format.
    """
    head, consumers, routes = open_sections(data)
    return msgspec.structs.replace(
        head,
        consumers=tuple(record for section in consumers for record in read_consumers(section)),
        routes=tuple(record for section in routes for record in read_routes(section)),
    )


def decode_outline(data: bytes) -> Outline:
    """The outline of what ``encode`` wrote. Raises as ``decode`` does."""
    check_format(msgspec.msgpack.decode(data, type=_Format).format)
    head = msgspec.msgpack.decode(data, type=_Head)
    routes = sum(section.count for section in head.routes)
    return Outline(
        head.format,
        head.revision,
        head.gateway,
        routes,
        head.needs_ledger,
        head.needs_audit,
        head.checks_bodies,
    )


class _Format(Frozen, frozen=True):
    format: int


def decode_counted(data: bytes) -> Counted:
    """What the number of counters follows from. Raises ``msgspec.DecodeError``."""
    found = msgspec.msgpack.decode(data, type=_Counted)
    return Counted(
        found.plans,
        tuple(one for section in found.consumers for one in _plans_of.decode(section.content)),
        tuple(one for section in found.routes for one in _limits_of.decode(section.content)),
    )


def renumber(data: bytes, revision: int) -> bytes:
    """The encoded snapshot under another revision; nothing else of it is read. Raises
    ``msgspec.DecodeError``.
    """
    members = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    members["revision"] = msgspec.Raw(msgspec.msgpack.encode(revision))
    return msgspec.msgpack.encode(members)


def check_format(number: int) -> None:
    """Raises ``ValueError`` for another than ours."""
    if number != FORMAT:
        raise ValueError(f"snapshot format {number}, this program reads {FORMAT}")
