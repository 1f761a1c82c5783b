"""What an entry of the configuration has to do with others: whom it names, what it must not share with them,
what of it others look at.

``increment`` compiles a changed entry with its neighbours alone. A neighbour too many costs time; one too few
would be an error not found, so whoever adds a check of several entries adds here what it looks at.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from faregate.compile.conflicts import identities, placed_routes
from faregate.compile.grants import places_named
from faregate.compile.references import REFERENCES
from faregate.compile.walk import Pattern, mapping, matches, sequence
from faregate.model.diagnostics import Value
from faregate.model.paths import shape

Key: TypeAlias = tuple[str, str]
"""Section and name of an entry."""

_BY_SECTION: Final[dict[str, list[tuple[Pattern, str]]]] = {}
for _pattern, _section, _ in REFERENCES:
    _BY_SECTION.setdefault(_pattern[0], []).append((_pattern[2:], _section))


def named_by(key: Key, content: Value) -> set[Key]:
    """The entries that this one names, whether or not they are there."""
    section, name = key
    found = {
        (target, value)
        for pattern, target in _BY_SECTION.get(section, ())
        for _, value in matches(content, pattern)
        if isinstance(value, str)
    }
    if section in {"consumers", "groups"}:
        data: dict[str, Value] = {section: {name: content}}
        found.update(("apis", place.partition("/")[0]) for _, place in places_named(data))
        found.update(("apis", api) for api in mapping(mapping(content).get("pins")))
    return found


def claims(key: Key, content: Value) -> Iterator[object]:
    """What no two entries may both have."""
    section, name = key
    if section == "consumers":
        for credential in sequence(mapping(content).get("credentials")):
            for claim, _, _ in identities(mapping(credential)):
                yield claim
            subject = mapping(mapping(credential).get("mtls")).get("subject")
            if isinstance(subject, str):
                yield "subject", _subject(subject)
    elif section == "apis":
        for route in placed_routes({"apis": {name: content}}):
            yield route.match.method, shape(route.template)
    elif section == "issuers":
        yield "issuers"  # there are few: each is looked at beside all others


def _subject(text: str) -> object:
    """The name that is meant, however it is written."""
    from faregate.stores.certificates import read_subject  # noqa: PLC0415 - brings cryptography, which takes its time

    try:
        return read_subject(text)
    except ValueError:
        return text


_LOOKED_AT: Final[Mapping[str, Callable[[dict[str, Value]], object]]] = {
    "upstreams": lambda content: content.get("protocol"),
    "groups": lambda content: content,
    "apis": lambda content: _versions_shown(mapping(content.get("versions"))),
}


def _versions_shown(versions: dict[str, Value]) -> object:
    """What those see who name a version of an API, or are pinned to one."""
    return sorted(versions), versions.get("by"), versions.get("default")


def shows(key: Key, content: Value) -> object:
    """What those who name an entry see of it besides its name; they are looked at again when that changes."""
    look = _LOOKED_AT.get(key[0])
    return look(content) if look is not None and isinstance(content, dict) else None


class Index:
    """Who names whom, and who claims what, for all entries. ``put`` returns what takes it back."""

    def __init__(self) -> None:
        self.named: dict[Key, frozenset[Key]] = {}
        self._naming: dict[Key, set[Key]] = {}
        self._claims: dict[Key, tuple[object, ...]] = {}
        self._claiming: dict[object, set[Key] | Key] = {}

    def put(self, key: Key, content: Value) -> Callable[[], None]:
        """The entry as it is now; None: gone."""
        named = frozenset[Key]() if content is None else frozenset(named_by(key, content))
        claimed = () if content is None else tuple(dict.fromkeys(claims(key, content)))
        before = self.named.get(key, frozenset()), self._claims.get(key, ())
        self._set(key, named, claimed)
        return lambda: self._set(key, *before)

    def _set(self, key: Key, named: frozenset[Key], claimed: tuple[object, ...]) -> None:
        for other in self.named.pop(key, frozenset()) - named:
            self._naming[other].discard(key)
        if named:
            self.named[key] = named
        for other in named:
            self._naming.setdefault(other, set()).add(key)
        for claim in self._claims.pop(key, ()):
            self._release(claim, key)
        if claimed:
            self._claims[key] = claimed
        for claim in claimed:
            self._claim(claim, key)

    def _claim(self, claim: object, key: Key) -> None:
        """Nearly every claim has one owner, which then needs no set."""
        owner = self._claiming.setdefault(claim, key)
        if isinstance(owner, set):
            owner.add(key)
        elif owner != key:
            self._claiming[claim] = {owner, key}

    def _release(self, claim: object, key: Key) -> None:
        owner = self._claiming[claim]
        if not isinstance(owner, set):
            del self._claiming[claim]
            return
        owner.discard(key)
        if not owner:
            del self._claiming[claim]

    def naming(self, key: Key) -> Iterable[Key]:
        """Who names ``key``."""
        return self._naming.get(key, ())

    def sharing(self, key: Key, content: Value) -> Iterator[Key]:
        """Others that claim something that this entry would."""
        for claim in claims(key, content):
            owner = self._claiming.get(claim, ())
            yield from owner if isinstance(owner, set) else (owner,) if owner else ()
