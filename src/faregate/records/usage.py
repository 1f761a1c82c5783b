"""Who called what: calls by credential and version of an API, counted where lines are rendered.

Kept under the credential's own bytes, so that no identity of an old snapshot is kept alive. Handed on whole
every ``FLUSH_EVERY_S``: what the manager shows of a worker is no older. Bounded: beyond ``USES_MAX``
credentials and versions between two flushes, all others are counted as one.
"""

from typing import Final

from faregate.records.frames import UsageGrowth
from faregate.snapshot.call import Identity

FLUSH_EVERY_S: Final = 5.0
USES_MAX: Final = 50_000
PLACES_MAX: Final = 10_000
"""Versions that routes share a place of; beyond it they are found anew."""
OTHER: Final = "(other)"
"""In place of all four names; nothing of a configuration can be named so."""


class Use:
    """Calls of one credential to one version since the last flush. ``seen``: when the last one began, in
    seconds since the epoch; ``status``: how it was answered, 0 for not at all.
    """

    __slots__ = ("calls", "consumer", "credential", "errors", "seen", "status")

    def __init__(self, consumer: str, credential: str) -> None:
        self.consumer = consumer
        self.credential = credential
        self.calls = 0
        self.errors = 0
        self.seen = 0.0
        self.status = 0


class Place:
    """One version of an API, and who called it since the last flush."""

    __slots__ = ("api", "uses", "version")

    def __init__(self, api: str, version: str) -> None:
        self.api = api
        self.version = version
        self.uses: dict[bytes, Use] = {}


class Uses:
    """What one worker counts. Belongs to one thread."""

    __slots__ = ("_begun", "_known", "_most", "_other", "_places")

    def __init__(self, most: int = USES_MAX) -> None:
        self._most = most
        self._known = 0
        self._places: dict[tuple[str, str], Place] = {}
        self._begun: list[Place] = []
        self._other = Place(OTHER, OTHER)

    def place(self, api: str, version: str) -> Place:
        """Where the calls of a version are counted; its routes share one."""
        place = self._places.get((api, version))
        if place is None:
            if len(self._places) >= PLACES_MAX:
                self._places = {}
            place = self._places[api, version] = Place(api, version)
        return place

    def begin(self, place: Place, identity: Identity) -> Use:
        """Where the calls of a credential are counted that was not seen at ``place`` since the last flush."""
        key = identity.headers
        if self._known >= self._most:
            place, key = self._other, b""
            known = place.uses.get(key)
            if known is not None:
                return known
        if not place.uses:
            self._begun.append(place)
        if place is self._other:
            use = Use(OTHER, OTHER)
        else:
            self._known += 1
            use = Use(identity.consumer.name, identity.credential)
        place.uses[key] = use
        return use

    def take(self) -> list[Place]:
        """All that was counted since the last time, in places that change no more."""
        taken: list[Place] = []
        for place in self._begun:
            counted = Place(place.api, place.version)
            counted.uses, place.uses = place.uses, {}
            taken.append(counted)
        self._begun = []
        self._known = 0
        return taken

    @staticmethod
    def rows(places: list[Place], most: int) -> list[UsageGrowth]:
        """At most ``most`` rows out of ``places``, which is shortened by them; about a microsecond each."""
        rows: list[UsageGrowth] = []
        while places and len(rows) < most:
            place = places[-1]
            if not place.uses:
                places.pop()
                continue
            _, use = place.uses.popitem()
            rows.append(
                UsageGrowth(
                    use.consumer,
                    use.credential,
                    place.api,
                    place.version,
                    use.calls,
                    use.errors,
                    use.seen,
                    use.status // 100,
                )
            )
        if places and not places[-1].uses:
            places.pop()
        return rows
