"""The running configuration as declared, ready to be changed entry by entry.

Changes are compiled as a small configuration of their own (``parts``), by ``compile_config`` like any other,
so a check is written once. What comes of it replaces the records of the changed entries, and the bytes are
those that compiling the whole would give. Where the whole does not compile, each change is tried on the
whole.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar, cast

import msgspec

from faregate.compile.compiler import compile_config
from faregate.compile.neighbours import Index, Key
from faregate.compile.parts import Part, consumer_of
from faregate.compile.runs import Runs
from faregate.kernel.changes import FILE, MANAGED, UNDO_MAX, Change
from faregate.kernel.replica import SECTIONS, Entries
from faregate.model.diagnostics import Diagnostic, Findings, Value
from faregate.model.load import Loaded, shaped
from faregate.model.managed import ManagedSource, merge, report_owned
from faregate.model.source import place_findings
from faregate.model.tree import SECTIONS as TREE_SECTIONS
from faregate.model.tree import Tree
from faregate.snapshot.data import Consumer, Route, Snapshot, Version
from faregate.snapshot.encoded import cut_routes, encode_parts

T = TypeVar("T")
_Back: TypeAlias = list[Callable[[], object]]
"""What takes a change back, to be called last to first."""
_Prepared: TypeAlias = tuple[list[Diagnostic], Callable[[], _Back] | None]
"""What is wrong with changes; where no error is, what makes them."""


class ApiRecords(NamedTuple):
    """What comes of an API. ``first``: the number of its first version, from which all others count."""

    versions: tuple[Version, ...]
    routes: tuple[Route, ...]
    first: int

    def at(self, first: int) -> "ApiRecords":
        """The same where its first version has the number ``first``."""
        shift = first - self.first
        if not shift:
            return self
        replace = msgspec.structs.replace
        return ApiRecords(
            tuple(
                [
                    replace(
                        version,
                        splits=tuple([replace(one, version=one.version + shift) for one in version.splits]),
                    )
                    for version in self.versions
                ]
            ),
            tuple([replace(route, version=route.version + shift) for route in self.routes]),
            first,
        )


class State:
    """All entries and what they were compiled to. ``diagnostics``: of the whole, as it was loaded; ``sound``:
    whether it compiles. ``index``: what entries have to do with each other.
    """

    def __init__(self, base: Tree, entries: Entries, wall: Callable[[], float] = time.time) -> None:
        """``base``: the file's entries, kept; ``entries``: the database's; ``wall``: seconds since the
        epoch.
        """
        self._base = base
        self._wall = wall
        self._managed: Entries = {section: dict(entries.get(section, {})) for section in SECTIONS}
        self._undo: deque[_Back] = deque(maxlen=UNDO_MAX)
        self._numbers: dict[Key, int] = {}
        self._next = 0
        self._names: dict[tuple[str, str], list[str]] = {}
        for section in TREE_SECTIONS:
            for name in base.names(section):
                self._give_number((section, name))
        for section, named in self._managed.items():
            for name in named:
                self._give_number((section, name))
        self._credentials: dict[str, set[str]] = {}
        for name, content in self._managed["credentials"].items():
            self._credentials.setdefault(consumer_of(content), set()).add(name)
        self.index = Index()
        whole = self.loaded([key for key in self._numbers if key[0] in TREE_SECTIONS[1:]], self._managed)
        snapshot, self.diagnostics = compile_config(whole, 0, wall=wall())
        self.sound = snapshot is not None
        if snapshot is None:
            return
        for section in TREE_SECTIONS[1:]:
            for name, content in whole.tree.names(section).items():
                self.index.put((section, name), content)
        self._consumers = Runs(snapshot.consumers)
        self._records: dict[str, dict[str, object]] = _by_name(snapshot)
        self._head = _headless(snapshot)

    def __len__(self) -> int:
        return len(self._numbers)

    def encode(self, revision: int) -> bytes:
        """The snapshot of what was applied. Raises ``ValueError`` when the whole does not compile."""
        if not self.sound:
            raise ValueError("file and database do not fit each other")
        versions: list[Version] = []
        routes: list[Route] = []
        for api in cast("list[ApiRecords]", self._ordered("apis")):
            placed = api.at(len(versions))
            routes += placed.routes
            versions += placed.versions
        members: dict[str, object] = {
            section: tuple(self._ordered(section)) for section in ("issuers", "upstreams", "plans")
        }
        head = msgspec.structs.replace(
            self._head,
            revision=revision,
            versions=tuple(versions),
            needs_ledger=any(route.idempotency is not None for route in routes),
            needs_audit=any(route.audit != "off" for route in routes),
            checks_bodies=any(route.reads_bodies for route in routes),
            **members,
        )
        return encode_parts(head, self._consumers.sections(), cut_routes(routes))

    # entries

    def entry(self, section: str, name: str) -> tuple[Value, str, str] | None:
        """An entry as declared, its owner, and the file it stands in."""
        key = (section, name)
        content = self.content(key)
        if content is None:
            return None
        return (
            (content, FILE, str(self._base.owner(key).path)) if self.is_file(key) else (content, MANAGED, "")
        )

    def names(self, section: str, owner: str = "") -> list[str]:
        """Sorted. ``owner``: file or managed, empty for both. Kept until the next change."""
        found = self._names.get((section, owner))
        if found is None:
            own = self._base.names(section) if owner != MANAGED else ()
            managed = self._managed.get(section, {}) if owner != FILE else ()
            found = self._names[section, owner] = sorted({*own, *managed})
        return found

    def is_file(self, key: Key) -> bool:
        return key[1] in self._base.names(key[0])

    def content(self, key: Key) -> Value:
        """An entry as declared, without the credentials that the database puts to it; None: there is none."""
        section, name = key
        own = self._base.names(section)
        return own[name] if name in own else cast("Value", self._managed.get(section, {}).get(name))

    def credentials(self, consumer: str) -> Iterable[str]:
        """The database's credentials of a consumer, in any order."""
        return self._credentials.get(consumer, ())

    def number(self, key: Key) -> int:
        """Entries come in the order of their numbers; what is new comes last."""
        return self._numbers.get(key, self._next)

    def loaded(self, keys: Iterable[Key], managed: Entries) -> Loaded:
        """A configuration of the gateway, those of ``keys`` that are the file's, and ``managed``."""
        base = self._base
        tree = Tree(base.root.path, base.root.shown)
        tree.root = base.root
        tree.sources = list(base.sources)
        for section, name in (*(("gateway", name) for name in base.names("gateway")), *keys):
            owned = base.names(section)
            if name in owned:
                tree.add((section, name), owned[name], base.owner((section, name)))
        findings = Findings()
        merge(tree, managed, findings)
        return shaped(tree, findings)

    # changes

    def check(self, changes: Sequence[Change]) -> tuple[bool, list[Diagnostic]]:
        """What ``apply`` would say."""
        diagnostics, make = self._prepare(changes)
        return make is not None, diagnostics

    def apply(self, changes: Sequence[Change]) -> tuple[bool, list[Diagnostic]]:
        """Makes the changes, all or none; whether they were made."""
        diagnostics, make = self._prepare(changes)
        if make is None:
            return False, diagnostics
        self._undo.append(make())
        self._names.clear()
        return True, diagnostics

    def undo(self) -> bool:
        """Takes back the last ``apply`` that was not; False when there is none that can be."""
        if not self._undo:
            return False
        for step in reversed(self._undo.pop()):
            step()
        self._names.clear()
        return True

    def _prepare(self, changes: Sequence[Change]) -> _Prepared:
        refused = self._refused(changes)
        if refused:
            return refused, None
        if not self.sound:
            return self._prepare_whole(changes)
        part = Part(
            self, {(change.section, change.name): cast("Value", change.content) for change in changes}
        )
        snapshot, diagnostics = part.compile(self._wall())
        return diagnostics, None if snapshot is None else partial(self._make, part, snapshot)

    def _refused(self, changes: Sequence[Change]) -> list[Diagnostic]:
        """What cannot be a change at all."""
        findings = Findings()
        seen: set[Key] = set()
        for change in changes:
            key = (change.section, change.name)
            if change.section not in SECTIONS:
                message = f"`{change.section}` is no section of the database"
                findings.add("unknown_key", (change.section,), message, expected=", ".join(SECTIONS))
            elif key in seen:
                findings.add("duplicate_name", key, "the same entry twice in one change")
            elif self.is_file(key) and not (change.content is None and key[1] in self._managed[key[0]]):
                report_owned(self._base, key, findings)
            seen.add(key)
        source = ManagedSource(self._base.root.path.parent)
        return place_findings(findings, lambda _path: source)

    def _prepare_whole(self, changes: Sequence[Change]) -> _Prepared:
        entries: Entries = {section: dict(named) for section, named in self._managed.items()}
        for change in changes:
            if change.content is None:
                entries[change.section].pop(change.name, None)
            else:
                entries[change.section][change.name] = change.content
        whole = State(self._base, entries, self._wall)
        whole._undo = self._undo
        if not whole.sound:
            return whole.diagnostics, None

        def make() -> _Back:
            before = dict(self.__dict__)
            self.__dict__.update(whole.__dict__)
            return [partial(self.__dict__.update, before)]

        return whole.diagnostics, make

    def _make(self, part: Part, snapshot: Snapshot) -> _Back:
        back: _Back = []
        for key, content in part.made.items():
            self._set_entry(key, content, back)
        for key, content in part.touched.items():
            back.append(self.index.put(key, content))
        records = _by_name(snapshot)
        compiled = {record.name: record for record in snapshot.consumers}
        consumers: dict[str, Consumer | None] = {}
        for section, name in sorted(part.judged, key=self.number):
            if section == "consumers":
                consumers[name] = compiled.get(name)
            elif section in self._records:
                _set(self._records[section], name, records[section].get(name), back)
        if consumers:
            change = self._consumers.changed(consumers)
            self._consumers.take(change)
            back.append(partial(self._consumers.take, change))
        back.append(partial(setattr, self, "_head", self._head))
        self._head = _headless(snapshot)
        return back

    def _set_entry(self, key: Key, content: Value, back: _Back) -> None:
        section, name = key
        before = self.content(key)
        if section == "credentials" and before is not None:
            of = self._credentials[consumer_of(before)]
            of.discard(name)
            back.append(partial(of.add, name))
        if section == "credentials" and content is not None:
            of = self._credentials.setdefault(consumer_of(content), set())
            of.add(name)
            back.append(partial(of.discard, name))
        _set(self._managed[section], name, content, back)
        if content is None and key in self._numbers:
            back.append(partial(self._numbers.__setitem__, key, self._numbers.pop(key)))
        elif content is not None and key not in self._numbers:
            self._give_number(key)
            back.append(partial(self._numbers.pop, key))

    def _give_number(self, key: Key) -> None:
        self._numbers[key] = self._next
        self._next += 1

    def _ordered(self, section: str) -> list[object]:
        records = self._records[section]
        return [records[name] for name in sorted(records, key=lambda name: self._numbers[section, name])]


def _set(named: dict[str, T], name: str, value: T | None, back: _Back) -> None:
    """Gives ``name`` its value, None taking it away."""
    before = named.get(name)
    if value is None:
        named.pop(name, None)
    else:
        named[name] = value
    back.append(
        partial(named.pop, name, None) if before is None else partial(named.__setitem__, name, before)
    )


def _headless(snapshot: Snapshot) -> Snapshot:
    """What does not come of single entries."""
    return msgspec.structs.replace(
        snapshot, issuers=(), upstreams=(), plans=(), consumers=(), versions=(), routes=()
    )


def _by_name(snapshot: Snapshot) -> dict[str, dict[str, object]]:
    """The records of all entries but consumers, by section and name."""
    routes: dict[str, list[Route]] = {}
    for route in snapshot.routes:
        routes.setdefault(route.api, []).append(route)
    apis: dict[str, object] = {}
    for name, own in routes.items():
        first, last = (of(route.version for route in own) for of in (min, max))
        apis[name] = ApiRecords(snapshot.versions[first : last + 1], tuple(own), first)
    return {
        "issuers": {record.name: record for record in snapshot.issuers},
        "upstreams": {record.name: record for record in snapshot.upstreams},
        "plans": {record.name: record for record in snapshot.plans},
        "apis": apis,
    }
