"""What stands at each listening address: the plain protocol, or TLS with the certificates of the moment.

Files that change are read again within seconds, in a thread; what does not fit leaves the former ones in use,
and that is said. A listener whose files do not fit at the worker's start is held closed until they do: nobody
who connects is heard, nor served without TLS. Connections stay, but for those that would not be admitted any
more (``leaving``).
"""

import asyncio
import logging
import math
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from faregate.gateway.listening import key_of
from faregate.gateway.outbound import is_trusted, plain_address
from faregate.gateway.tls import speakers
from faregate.gateway.tls.connection import NOTHING_SHOWN, Speaker, TlsConnection
from faregate.gateway.tls.leaving import Leaving, still_trusted
from faregate.gateway.tls.peers import Peers
from faregate.gateway.tls.presented import unwatch
from faregate.gateway.tls.profile import Profile, build, folded, is_address, not_yet_better
from faregate.gateway.tls.words import NOT_YET_ASKED, TAKEN_AWAY
from faregate.records.frames import Reading
from faregate.snapshot.data import Listener, ListenerTls
from faregate.stores.certificates import CertificateFault, Stamp, stamp

if TYPE_CHECKING:
    from faregate.gateway.listener import ClientConnection
    from faregate.gateway.plane import Plane

_log = logging.getLogger("faregate.tls")

LOOK_EVERY_S: Final = 2.0
"""How often the files are looked at."""
TICKET_KEYS_S: Final = 12 * 3600.0
"""How long a context is in use, and with it the keys of its tickets: who gets one opens no older session."""
LINES_MAX: Final = 10
"""Failed handshakes told of by line between two looks; the metric has all."""
WHAT_TO_DO: Final = "put files in place that fit each other; they are read again by themselves"
CAUSES: Final = ("certificate", "closed", "protocol", "timeout")


class Front:
    """One listening address; calling it makes the protocol of a new connection."""

    def __init__(self, plane: "Plane", place: str) -> None:
        self.plane = plane
        self.place = place
        self.asked = ""
        self.shown = NOTHING_SHOWN
        self._adopted = False
        self.settings: ListenerTls | None = None
        self.profile: Profile | None = None
        self.failures: Counter[str] = Counter()
        self.built_at = plane.monotonic()
        self.seen: Stamp = ()
        """The files as they were when last read."""
        self.refused = False
        """The files do not fit, and what is served are former ones; or nothing."""
        self.again_at = math.inf
        """When files that were refused for their times are judged anew (Unix time)."""
        self.turn = 0
        """How often the profile has changed."""
        self._lines = 0
        self._peers = Peers()
        self._waiting: dict[TlsConnection, str] = {}  # in their handshake, by address
        self._leaving = Leaving(plane, place)

    def __call__(self) -> "Speaker | TlsConnection":
        if not self._adopted:
            raise RuntimeError("a listener without settings")  # which must never mean: without TLS
        if self.settings is None:
            speaker = speakers.speaker_for("", self.plane)
            speaker.place = self.place
            return speaker
        return TlsConnection(self)  # aborted at once while the listener is held closed

    def name_asked(self, secured: ssl.SSLObject, name: str | None) -> None:
        """OpenSSL has read the ClientHello of the handshake in progress."""
        profile = self.profile
        if name is None or profile is None or is_address(name):
            return
        self.asked = folded(name)
        context = profile.context_for(self.asked)
        if context is not profile.first:
            secured.context = context

    def certificate_shown(self, version: int, message: bytes) -> None:
        """OpenSSL is about to judge the caller's certificate in the handshake in progress."""
        self.shown = (version, message)

    def adopt(self, settings: ListenerTls | None, profile: Profile | None, now: float) -> None:
        """New connections get the new certificates; old ones are judged by what the listener now asks."""
        changed = profile is not self.profile
        self._adopted = True
        self.settings, self.profile = settings, profile
        if not changed:
            return
        self.refused = settings is not None and profile is None
        self.again_at = math.inf
        if profile is not None:
            self.seen = profile.read
        self.turn += 1
        self.built_at = now
        self._peers = Peers()
        self._leaving.judge(self._admits, now)

    def _admits(self, client: "ClientConnection") -> bool:
        """Whether a connection like this one of a caller would come about now."""
        settings, peer = self.settings, client.certificate
        if peer is not None:
            return still_trusted(self.profile, peer)
        return settings is None or (bool(client.tls) and settings.client_mode != "required")

    def look(self, now: float) -> None:
        """The regular work."""
        self._lines = 0
        self._leaving.look(now)

    def close(self) -> None:
        """Ends the handshakes in progress."""
        for connection in list(self._waiting):
            connection.abort()

    @property
    def is_held(self) -> bool:
        """Closed, because its files have never fitted since the worker's start."""
        return self.settings is not None and self.profile is None

    @property
    def handshakes(self) -> int:
        return len(self._waiting)

    # what a connection asks

    def secure(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        profile = self.profile
        if profile is None:
            raise ConnectionAbortedError  # the listener has turned plain between accept and here
        return profile.first.wrap_bio(incoming, outgoing, server_side=True)

    def admit(self, connection: TlsConnection) -> bool:
        """A handshake has its place among the connections, of all and of its address."""
        plane = self.plane
        peer = connection.get_extra_info("peername")
        if self.profile is None or not isinstance(peer, tuple):
            return False
        address = plain_address(str(peer[0]))
        trusted = bool(plane.runtime.trusted) and is_trusted(address, plane.runtime.trusted)
        connected = len(plane.clients) + len(self._waiting)
        if not plane.doorkeeper.admits(address, connected, trusted=trusted):
            return False
        self._waiting[connection] = address
        return True

    def _shaken(self, connection: TlsConnection) -> None:
        """The handshake is over; what speaks now asks for its own place."""
        address = self._waiting.pop(connection, None)
        if address is not None:
            self.plane.doorkeeper.left(address)

    def speaker(self, connection: TlsConnection) -> Speaker | None:
        self._shaken(connection)
        secured = connection.secured
        profile = self.profile
        if secured is None or profile is None:
            return None
        peer = None
        if profile.asks:
            unwatch(secured)
            try:
                peer = self._peers.read(secured)
            except CertificateFault as fault:
                self.failed(connection, "certificate", str(fault))
                return None
            if peer is not None and not still_trusted(profile, peer):
                self.failed(connection, "certificate", TAKEN_AWAY)
                return None
        if peer is None and self.settings is not None and self.settings.client_mode == "required":
            self.failed(connection, "certificate", NOT_YET_ASKED)
            return None
        cipher = secured.cipher()
        speaker = speakers.speaker_for(secured.selected_alpn_protocol() or "", self.plane)
        speaker.proto = b"https"
        speaker.tls = f"{secured.version()} {cipher[0] if cipher else ''}"
        speaker.server_name = connection.name
        speaker.certificate = peer
        speaker.place = self.place
        return speaker

    def failed(self, connection: TlsConnection, cause: str, detail: str) -> None:
        self._shaken(connection)
        self.failures[cause] += 1
        if cause == "certificate" and self._lines < LINES_MAX:
            self._lines += 1
            peer = connection.get_extra_info("peername")
            address = peer[0] if isinstance(peer, tuple) else "nobody"
            _log.warning("%s: the handshake of %s was refused: %s", self.place, address, detail)

    def gone(self, connection: TlsConnection) -> None:
        self._shaken(connection)


def _made_for(front: Front, settings: ListenerTls | None, wall: float) -> Profile | None:
    """What ``front`` has if that fits, else a new one. ``wall``: seconds since the epoch."""
    if settings is None:
        return None
    former = front.profile if front.settings == settings else None
    if former is not None and stamp(settings.files) == former.read:
        return former
    made = build(settings, speakers.OFFERED, front.name_asked, front.certificate_shown)
    if former is not None and not_yet_better(former, made, wall):
        return former  # the next look says why
    return made


class Prepared(NamedTuple):
    """What a listener is to get. ``turn``: that of ``front`` when the files were read."""

    front: Front
    profile: Profile | None
    turn: int


class Fronts:
    """All of a worker's, by address as configured. ``says``: this worker speaks for all of them."""

    def __init__(self, plane: "Plane", *, says: bool) -> None:
        self._plane = plane
        self._says = says
        self.on_open: Callable[[], None] = lambda: None
        """Called when a listener that was held closed may serve."""
        self._fronts: dict[str, Front] = {}
        self._gone: dict[str, Front] = {}  # of listeners taken away, with handshakes in progress
        self._task: asyncio.Task[None] | None = None

    def __getitem__(self, listener: Listener) -> Front:
        return self._front(listener)

    def is_held(self, listener: Listener) -> bool:
        return self._front(listener).is_held

    def _front(self, listener: Listener) -> Front:
        place = key_of(listener)
        front = self._fronts.get(place)
        if front is None:
            front = self._fronts[place] = Front(self._plane, place)
        return front

    def prepare(self, listeners: Iterable[Listener]) -> dict[str, Prepared]:
        """What the listeners need, built beside what is running, and in a thread: nothing is changed here.
        Raises ``CertificateFault``.
        """
        wall = self._plane.wall_offset + self._plane.monotonic()
        made = {}
        for listener in listeners:
            place = key_of(listener)
            front = self._fronts.get(place) or Front(self._plane, place)
            turn = front.turn  # before anything is read
            made[place] = Prepared(front, _made_for(front, listener.tls, wall), turn)
        return made

    def open(self, listeners: Iterable[Listener], *, says: bool) -> None:
        """A worker's start: a listener whose files do not fit is held closed, the others open. ``says``: this
        worker tells of it.
        """
        made: dict[str, Prepared] = {}
        kept = []
        for listener in listeners:
            front = self._front(listener)
            kept.append(listener)
            if listener.tls is not None:
                front.seen = stamp(listener.tls.files)
            try:
                made.update(self.prepare([listener]))
            except CertificateFault as fault:
                made[front.place] = Prepared(front, None, front.turn)
                front.refused = True
                if says:
                    _log.error(
                        "%s: held closed, nobody is served there: %s; %s", front.place, fault, WHAT_TO_DO
                    )
        self.adopt(kept, made)

    def adopt(self, listeners: Iterable[Listener], made: dict[str, Prepared]) -> None:
        """Puts to use what ``prepare`` made, but for what has been overtaken by files read since; listeners
        that are gone are forgotten.
        """
        now = self._plane.monotonic()
        kept = {}
        opened = False
        for listener in listeners:
            prepared = made[key_of(listener)]
            front = self._fronts.get(key_of(listener), prepared.front)
            was_held = front.is_held
            overtaken = front.turn != prepared.turn and front.settings == listener.tls
            front.adopt(listener.tls, front.profile if overtaken else prepared.profile, now)
            opened = opened or (was_held and not front.is_held)
            kept[front.place] = front
            if (gone := self._gone.pop(front.place, None)) is not None:
                gone.close()  # what was begun by the settings of then
        self._gone |= {place: front for place, front in self._fronts.items() if place not in kept}
        self._fronts = kept
        if opened:
            self.on_open()

    def start(self) -> None:
        self._task = self._plane.loop.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for front in list(self._fronts.values()):
                front.look(self._plane.monotonic())
                await self._renew(front)
            self._gone = {place: front for place, front in self._gone.items() if front.handshakes}

    async def _renew(self, front: Front) -> None:
        """Reads files that have changed. One try for each change: a half-written file changes again."""
        settings, profile = front.settings, front.profile
        if settings is None:
            return
        loop, plane = self._plane.loop, self._plane
        found = await loop.run_in_executor(None, stamp, settings.files)
        now = plane.monotonic()
        wall = plane.wall_offset + now
        old = profile is not None and now - front.built_at >= TICKET_KEYS_S
        if found == front.seen and not old and wall < front.again_at:
            return
        fault, again_at = "", math.inf
        made: Profile | None = None
        try:
            heard = (front.name_asked, front.certificate_shown)
            made = await loop.run_in_executor(None, build, settings, speakers.OFFERED, *heard)
        except CertificateFault as error:
            fault = str(error)
        if made is not None and profile is not None and (worse := not_yet_better(profile, made, wall)):
            made, fault, again_at = None, worse.why, worse.until
        if front.settings is not settings or front.profile is not profile:
            return  # a reload came between
        if made is not None:
            front.adopt(settings, made, plane.monotonic())
            if profile is None:
                self.on_open()
                _log.info("%s: open; its certificate files fit now", front.place)
            elif self._says and found != profile.read:
                _log.info("%s: certificate files were read again", front.place)
            return
        told = front.refused and found == front.seen
        front.seen, front.refused, front.again_at = found, True, again_at
        front.built_at = plane.monotonic()
        if self._says and not told:
            state = "still held closed" if profile is None else "the former certificates stay in use"
            _log.error("%s: %s; %s; %s", front.place, state, fault, WHAT_TO_DO)

    @property
    def handshakes(self) -> int:
        """How many are in progress: their callers are connected, and have calls to make."""
        return sum(front.handshakes for front in (*self._fronts.values(), *self._gone.values()))

    def handshakes_at(self, place: str) -> int:
        """The same of one listener, ``host:port``, that was taken away."""
        front = self._gone.get(place)
        return 0 if front is None else front.handshakes

    def readings(self) -> list[Reading]:
        """Whose files do not fit, when each file's certificate or list ends, how many handshakes failed."""
        ends: dict[str, float] = {}
        failures: Counter[str] = Counter()
        secure = [front for front in self._fronts.values() if front.settings is not None]
        if not secure:
            return []  # no listener speaks TLS
        for front in secure:
            if front.profile is not None:
                ends.update(front.profile.ends)
            failures.update(front.failures)
        return [
            *(
                Reading("faregate_certificate_files_refused", (front.place,), int(front.refused))
                for front in secure
            ),
            *(
                Reading("faregate_certificate_expires_timestamp_seconds", (name,), at)
                for name, at in ends.items()
            ),
            *(Reading("faregate_tls_handshakes_failed_total", (cause,), failures[cause]) for cause in CAUSES),
        ]

    async def close(self) -> None:
        for front in (*self._fronts.values(), *self._gone.values()):
            front.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
