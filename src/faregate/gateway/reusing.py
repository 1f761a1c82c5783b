"""What of a running revision the next one takes over as it stands.

Routes may be taken over where all that their steps are made of is the same (``Frame``); what steps look up,
credentials and the limits of plans, may be another, and so may upstreams: they are swapped. Routes of a
section that has not changed, of versions that have not, are then the same objects in both revisions.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from faregate.policies.authenticate.index import CredentialIndex, Part, PartMaker
from faregate.snapshot.call import ReadyRoute
from faregate.snapshot.data import Gateway, Issuer, Route, Snapshot, Version
from faregate.snapshot.encoded import Sections, read_consumers

if TYPE_CHECKING:
    from faregate.gateway.assembly import Runtime
    from faregate.gateway.route_steps import StepBuilder

_KNOWN_AT_ONCE: Final = 256
PATCHED_MAX: Final = 64
"""Sections of consumers, some thousand consumers, whose change is made in one piece: half a millisecond."""


class Frame(NamedTuple):
    """``limited``: whether a plan limits anything; ``bounded``, ``fenced``: whether a consumer may call some
    APIs only, or from some networks only: whether routes have steps that ask. ``priorities``: those in use.
    """

    gateway: Gateway
    issuers: tuple[Issuer, ...]
    limited: bool
    bounded: bool
    fenced: bool
    priorities: frozenset[int]
    keeper: object


def credentials(
    sections: Sections, previous: "Runtime | None", beside: "Runtime | None" = None
) -> Generator[None, None, tuple[dict[bytes, Part], CredentialIndex]]:
    """All consumers by the digests of their sections, and what finds their credentials. Where few sections
    are new, that is ``previous``' own index, changed when it is put to work. Consumers of ``beside`` are
    shared where the plans are the same: what they keep ready is by those.
    """
    known = previous
    if beside is not None and beside.plans == sections.head.plans:
        known = beside
    parts, fresh = yield from _read_parts(sections, known)
    if previous is None or len(fresh) > PATCHED_MAX:
        return parts, (yield from index_of(parts))
    gone = [part for digest, part in previous.parts.items() if digest not in parts]
    index = previous.index.changed(gone, fresh, parts.values())
    yield
    return parts, index


def _read_parts(
    sections: Sections, previous: "Runtime | None"
) -> Generator[None, None, tuple[dict[bytes, Part], list[Part]]]:
    """All consumers by the digests of their sections; and those that ``previous`` has not."""
    known = {} if previous is None else previous.parts
    maker = PartMaker(sections.head.plans)
    parts: dict[bytes, Part] = {}
    fresh: list[Part] = []
    for number, section in enumerate(sections.consumers):
        part = known.get(section.digest)
        if part is None:
            part = maker.make(read_consumers(section))
            fresh.append(part)
            yield
        elif not number % _KNOWN_AT_ONCE:
            yield
        parts[section.digest] = part
    return parts, fresh


def index_of(parts: dict[bytes, Part]) -> Generator[None, None, CredentialIndex]:
    """An index of its own of all ``parts``."""
    index = CredentialIndex()
    for part in parts.values():
        index.add(part)
        yield
    return index


def frame_of(snapshot: Snapshot, index: CredentialIndex, keeper: object) -> Frame:
    """``keeper``: the ledger that routes keep their records in."""
    return Frame(
        snapshot.gateway,
        snapshot.issuers,
        any(plan.limits or plan.quota or plan.concurrency for plan in snapshot.plans),
        index.bounded,
        bool(index.fenced),
        frozenset([route.priority for route in snapshot.routes]),
        keeper,
    )


def reuses_all(same: "Runtime", sections: Sections, snapshot: Snapshot) -> bool:
    """Whether every route is as it was."""
    digests = [section.digest for section in sections.routes]
    return same.versions == snapshot.versions and list(same.records) == digests


def reusable(
    same: "Runtime", sections: Sections, versions: Sequence[Version]
) -> dict[bytes, list[ReadyRoute]]:
    """The routes of ``same`` by section, of those sections that are as they were with all their versions."""
    as_it_was = [before == now for before, now in zip(same.versions, versions, strict=False)]
    found: dict[bytes, list[ReadyRoute]] = {}
    wanted = {section.digest for section in sections.routes}
    begin = 0
    for digest, records in same.records.items():
        end = begin + len(records)
        numbers = {route.version for route in records}
        if digest in wanted and all(number < len(as_it_was) and as_it_was[number] for number in numbers):
            found[digest] = same.routes[begin:end]
        begin = end
    return found


def with_former(
    sections: Sections,
    records: Mapping[bytes, Sequence[Route]],
    reused: Mapping[bytes, Sequence[ReadyRoute]],
) -> Iterator[tuple[Route, ReadyRoute | None]]:
    """Every route in order, with what it was made to before where that may be taken over."""
    for section in sections.routes:
        routes = records[section.digest]
        former: Sequence[ReadyRoute | None] = reused.get(section.digest, ())
        yield from zip(routes, former or [None] * len(routes), strict=True)


def follow(  # noqa: PLR0913, PLR0917 - what ``assembling`` has made by then
    runtime: "Runtime",
    snapshot: Snapshot,
    index: CredentialIndex,
    frame: Frame | None,
    steps: "StepBuilder",
    same: "Runtime | None",
) -> None:
    """What every runtime keeps; ``same``: the one whose steps it takes over."""
    runtime.index, runtime.frame, runtime.steps, runtime.ends = index, frame, steps, index.ends
    if same is not None:
        gone = [part for digest, part in same.parts.items() if digest not in runtime.parts]
        swap = steps.swap(snapshot, index, gone)
        before = same.upstreams
        kept = all(before.get(name) is one for name, one in runtime.upstreams.items())
        runtime.swap = swap if kept else partial(_swap_all, swap, runtime)


def _swap_all(swap: Callable[[], None], runtime: "Runtime") -> None:
    """Upstreams too; for 10,000 routes it takes a millisecond."""
    swap()
    upstreams = runtime.upstreams
    for ready in chain(runtime.routes, runtime.made):
        ready.upstream = upstreams[ready.data.upstream]
