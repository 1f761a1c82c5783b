"""The key sets of all issuers: kept, refreshed, and refetched when a token names an unknown key
(http-rules.md K1-K3).

A set from a file or a shared secret never changes within a snapshot. One from a URL is fetched off the calls'
path ahead of its end of life; a call waits only when there is no set yet or its kid is unknown, and all such
calls wait for one fetch. A bad answer changes nothing: the former set serves on, up to ``STALE_S`` after it
was last confirmed, then none does. The last good text also lies on disk, so a restarted worker can serve
while the provider is down. Fetching itself is injected (gateway/side_call.py); time is passed in; one timer
per worker calls ``tick``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from faregate.kernel.clock import Clock
from faregate.snapshot.data import Issuer
from faregate.stores.jwk import KeySet, KeySetError, parse_key_set, secret_key_set
from faregate.stores.keyset_files import KeySetFile

COOL_DOWN_S: Final = 10.0
"""Least time between two fetches of one issuer."""
RETRY_MAX_S: Final = 120.0
"""Longest pause between background tries while a provider is down; it doubles from ``COOL_DOWN_S``."""
LIFETIME_S: Final = 300.0
"""How long a fetched set counts as fresh: a key that its provider removed is refused after this."""
REFRESH_AT: Final = 0.8
"""The share of ``LIFETIME_S`` after which the background refresh begins."""
STALE_S: Final = 24 * 3600.0
"""How long a set may be used after its provider last confirmed it."""
UNKNOWN_KID_S: Final = 30.0
UNKNOWN_KIDS_MAX: Final = 1_000
WAITERS_MAX: Final = 1_000
"""Calls that may wait for one fetch; more are refused as ``overloaded``."""
TICK_S: Final = 1.0

_log: Final = logging.getLogger("faregate.keysets")

Fetch = Callable[[str], Awaitable[bytes]]
"""``fetch(url)``: the body of a 200 answer, within its own deadline and bounds. Raises ``FetchError``."""


class FetchError(Exception):
    """A fetch that gave no usable answer; the text is one reason word."""


class KeySource:
    """Where one issuer's keys come from. ``current`` is None while there is no set that may be used."""

    __slots__ = ("current",)

    def __init__(self, current: KeySet | None) -> None:
        self.current = current

    def join_fetch(self, kid: str | None, now: float) -> "asyncio.Task[None] | None":  # noqa: ARG002 - a fixed set
        """A running fetch that may bring ``kid`` (None: any set at all), or None: waiting is of no use."""
        return None

    def note_absent(self, kid: str, now: float) -> None:
        """Says that a fetch has ended: if it was good and did not bring ``kid``, that kid causes no other
        soon.
        """

    def take_place(self) -> bool:
        """Claims one of the places to wait; False when all are taken. ``free_place`` gives it back."""
        return False

    def free_place(self) -> None:
        """Gives a place back."""


class RemoteKeySource(KeySource):
    """The keys behind one https:// URL. Used from one event loop only."""

    __slots__ = (
        "_clock",
        "_confirmed",
        "_due",
        "_failures",
        "_fetch",
        "_file",
        "_last_try",
        "_task",
        "_text",
        "_unknown",
        "_waiting",
        "algorithms",
        "fetches",
        "last_error",
        "name",
        "url",
    )

    def __init__(self, issuer: Issuer, fetch: Fetch, clock: Clock, file: KeySetFile) -> None:
        assert issuer.jwks_url is not None
        super().__init__(None)
        self.name, self.url, self.algorithms = issuer.name, issuer.jwks_url, issuer.algorithms
        self.last_error = ""
        self.fetches = 0
        self._fetch, self._clock, self._file = fetch, clock, file
        self._task: asyncio.Task[None] | None = None
        self._confirmed = self._due = self._last_try = float("-inf")
        self._failures = self._waiting = 0
        self._text = b""
        self._unknown: dict[str, float] = {}
        self._restore()

    def join_fetch(self, kid: str | None, now: float) -> "asyncio.Task[None] | None":
        if self._task is not None:
            return self._task
        if kid is not None and self._unknown.get(kid, float("-inf")) > now:
            return None
        if now - self._last_try < COOL_DOWN_S:
            return None
        return self._start(now)

    def note_absent(self, kid: str, now: float) -> None:
        if self.last_error or self.current is None or kid in self.current.kids:
            return
        if len(self._unknown) >= UNKNOWN_KIDS_MAX:
            self._unknown = {known: until for known, until in self._unknown.items() if until > now}
            while len(self._unknown) >= UNKNOWN_KIDS_MAX:
                del self._unknown[next(iter(self._unknown))]
        self._unknown[kid] = now + UNKNOWN_KID_S

    def take_place(self) -> bool:
        if self._waiting >= WAITERS_MAX:
            return False
        self._waiting += 1
        return True

    def free_place(self) -> None:
        self._waiting -= 1

    def tick(self, now: float) -> None:
        """Starts the refresh that is due, and drops a set that nobody has confirmed for ``STALE_S``."""
        if self.current is not None and now - self._confirmed > STALE_S:
            self._replace(None)
            self.last_error = "key_set_stale"
            _log.error("issuer %s: key set unconfirmed for %d h, no longer used", self.name, STALE_S // 3600)
        if self._task is None and now >= self._due:
            self._start(now)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self, now: float) -> "asyncio.Task[None]":
        self._last_try = now
        self._task = asyncio.get_running_loop().create_task(self._refresh(), name=f"key set of {self.name}")
        return self._task

    async def _refresh(self) -> None:
        self.fetches += 1
        try:
            text = await self._fetch(self.url)
            found = parse_key_set(text, self.algorithms)
        except (FetchError, KeySetError) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks here, the former set serves on
            self._failed(type(error).__name__)
        else:
            self._accept(text, found)
            await self._save(text)
        finally:
            self._task = None

    def _failed(self, reason: str) -> None:
        self._failures += 1
        self.last_error = reason
        pause = min(COOL_DOWN_S * 2 ** min(self._failures - 1, 8), RETRY_MAX_S)
        self._due = self._clock.monotonic() + pause
        _log.warning("issuer %s: key set not refreshed (%s), next try in %d s", self.name, reason, pause)

    def _accept(self, text: bytes, found: KeySet) -> None:
        self._failures, self.last_error = 0, ""
        self._confirmed = now = self._clock.monotonic()
        self._due = now + LIFETIME_S * REFRESH_AT
        if self.current is None or self._text != text:  # an unchanged set keeps the tokens cached under it
            self._replace(found)
        self._text = text
        for kid, why in found.skipped:
            _log.info("issuer %s: key %r left out: %s", self.name, kid, why)

    def _replace(self, found: KeySet | None) -> None:
        if self.current is not None:
            self.current.live = False
        self.current = found

    async def _save(self, text: bytes) -> None:
        try:
            await asyncio.to_thread(self._file.save, text, self._clock.wall())
        except OSError as error:
            _log.warning("issuer %s: key set not kept on disk: %s", self.name, error.strerror)

    def _restore(self) -> None:
        """Takes up the set on disk when it is still good; it is due for a refresh at once."""
        kept = self._file.load()
        if kept is None:
            return
        text, confirmed_wall = kept
        age = max(0.0, self._clock.wall() - confirmed_wall)
        if age > STALE_S:
            return
        try:
            self.current = parse_key_set(text, self.algorithms)
        except KeySetError as error:
            _log.warning("issuer %s: key set on disk not used: %s", self.name, error)
        else:
            self._text, self._confirmed = text, self._clock.monotonic() - age


class KeySets:
    """All key sources of one worker; lives as long as the worker, over reloads.

    ``fetcher_for(ca)`` gives the ``Fetch`` that trusts ``Issuer.jwks_ca`` (None: the system's store).
    ``folder``: where fetched sets are kept, made when first needed.
    """

    __slots__ = ("_clock", "_fetcher_for", "_folder", "_remote", "_timer")

    def __init__(self, fetcher_for: Callable[[str | None], Fetch], clock: Clock, folder: Path) -> None:
        self._fetcher_for, self._clock, self._folder = fetcher_for, clock, folder
        self._remote: dict[tuple[str, ...], RemoteKeySource] = {}
        self._timer: asyncio.TimerHandle | None = None

    def source_for(self, issuer: Issuer) -> KeySource:
        """The source of ``issuer``'s keys; the one at work where name, URL, CA and algorithms are unchanged.

        Raises ``KeySetError`` when a file's set or a secret cannot be used.
        """
        if issuer.secret is not None:
            return KeySource(secret_key_set(issuer.secret, issuer.algorithms))
        if issuer.jwks is not None:
            return KeySource(parse_key_set(issuer.jwks, issuer.algorithms))
        key = self._key(issuer)
        source = self._remote.get(key)
        if source is None:
            assert issuer.jwks_url is not None
            file = KeySetFile(self._folder, issuer.name, issuer.jwks_url)
            source = RemoteKeySource(issuer, self._fetcher_for(issuer.jwks_ca), self._clock, file)
            self._remote[key] = source
        return source

    async def retain(self, issuers: Iterable[Issuer]) -> None:
        """Ends the sources that none of ``issuers`` uses; called after a reload has been put to work."""
        kept = {self._key(issuer) for issuer in issuers}
        gone = [self._remote.pop(key) for key in list(self._remote) if key not in kept]
        for source in gone:
            await source.close()

    def remote(self) -> tuple[RemoteKeySource, ...]:
        """The sources with a URL, for status pages."""
        return tuple(self._remote.values())

    def tick(self, now: float) -> None:
        """Starts every refresh that is due at ``now`` (monotonic seconds)."""
        for source in self._remote.values():
            source.tick(now)

    def start(self) -> None:
        """Calls ``tick`` at once and every ``TICK_S`` on the running loop until ``close``."""
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self.start)
        self.tick(self._clock.monotonic())

    async def close(self) -> None:
        """Ends the timer and every fetch."""
        if self._timer is not None:
            self._timer.cancel()
        await self.retain(())

    @staticmethod
    def _key(issuer: Issuer) -> tuple[str, ...]:
        return (issuer.name, issuer.jwks_url or "", issuer.jwks_ca or "", *issuer.algorithms)
