"""What a running supervisor holds: the state that starting, reloading, handing over and stopping share."""

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import IO, TYPE_CHECKING

import msgspec

from faregate.gateway import voice
from faregate.gateway.audit_keeper import AuditKeeper
from faregate.gateway.budget import Budget, budget, machine_memory
from faregate.gateway.control import GRACE_S, WorkerSettings
from faregate.gateway.counting import Counting
from faregate.gateway.crew import Crew
from faregate.gateway.ledger_keeper import LedgerKeeper
from faregate.gateway.listening import Listening
from faregate.gateway.manager_keeper import ManagerKeeper
from faregate.gateway.revisions import put_base
from faregate.kernel.changes import digest_of
from faregate.records.audit import places as audit_places
from faregate.stores.ledger.embedded.places import folder_in
from faregate.stores.shared_counts import SharedCounts

if TYPE_CHECKING:
    from faregate.gateway.canarying import Canarying
    from faregate.snapshot import data as snapshots


class Options(msgspec.Struct, frozen=True):
    """How the gateway is run. Times are seconds.

    ``grace``: how long a stop lets calls finish. ``drain_wait``: how long readiness fails before a stop
    begins to drain. ``watch``: reload when the files change. ``strict``: a broken file ends the start.
    """

    grace: float = GRACE_S
    drain_wait: float = 0.0
    watch: bool = False
    strict: bool = False


class Running:
    """The state of one supervisor. ``keep`` runs a coroutine for as long as it lives.

    ``snapshot``: the outline of what runs, None before the start. ``snapshot_path``: what a new worker starts
    with. ``numbered``: the last revision number given out. ``stale``: why the file on disk is not what runs,
    empty when it is.
    """

    def __init__(
        self, config: Path, options: Options, keep: Callable[[Coroutine[object, object, None]], None]
    ) -> None:
        self.config = config
        self.options = options
        self.keep = keep
        self.data = Path()
        self.runtime = Path(tempfile.mkdtemp(prefix="faregate-"))
        self.snapshot: snapshots.Outline | None = None
        self.snapshot_path = Path()
        self.unserved: Path | None = None  # the snapshot of a start that is not the gateway yet
        self.base: Path | None = None  # the file's own entries, likewise
        self._base_digest = ""
        self.file_loads = 0
        """How often the file was put to work: the manager then looks at it anew."""
        self.numbered = 0
        self.stale = ""
        self.over = ""  # why nothing may change any more: stopping, or another process is the gateway
        self.files: dict[str, list[int] | None] = {}
        self.listening = Listening()
        self.canary: Canarying | None = None
        self.manager: ManagerKeeper | None = None
        self.ledger: LedgerKeeper | None = None
        self.audit: AuditKeeper | None = None
        self.lock: IO[bytes] | None = None
        self.via = f"1.1 faregate-{secrets.token_hex(4)}"
        self.crew = Crew(self._settings, keep)
        self.counting: Counting | None = None
        self.connections = -1  # descriptor of what workers count together
        self._said_bound: tuple[Budget, int, int] | None = None
        self.changing = asyncio.Lock()
        """Held by a reload and by an upgrade: one change at a time."""

    def enter_data_folder(self, data: Path) -> None:
        """Takes ``data`` as the place of everything that stays."""
        self.data = data
        self.snapshot_path = data / "snapshot"

    def served(self) -> None:
        """What we started with is what runs, and what a later start may go on with. Raises OSError."""
        base, self.base = self.base, None
        self.lay_base(base)
        if self.unserved is not None:
            self.snapshot_path = self.unserved.replace(self.data / "snapshot")
            self.unserved = None

    def count_with(self, counting: Counting) -> None:
        """Has workers started from now on count in this memory."""
        self.counting = counting
        self.crew.memory = counting.memory

    def connect_with(self, connections: int) -> None:
        """Has workers started from now on count their connections in this memory. Raises OSError."""
        self.connections = connections
        self.crew.connections = SharedCounts(connections)

    def run_manager(self, manager: ManagerKeeper) -> None:
        self.manager = manager
        manager.tell(workers=len(self.crew.places), stale=bool(self.stale))
        self.tell_revision()
        self.keep(manager.run())

    def keep_ledger(self, snapshot: "snapshots.Outline", *, follows: bool = False) -> None:
        """Has the embedded ledger's process run, with the bound of ``snapshot``, from when a revision first
        needs it until the end: what it holds outlives the routes that made it. ``follows``: a gateway
        whose workers may still need one.
        """
        settings = snapshot.gateway.ledger
        if self.ledger is not None:
            self.ledger.bound(settings.disk_bytes)
        elif (snapshot.needs_ledger and settings.store == "embedded") or (
            follows and folder_in(self.data).exists()
        ):
            self.ledger = LedgerKeeper(folder_in(self.data), settings.disk_bytes)
            self.keep(self.ledger.run())

    def keep_audit(self, snapshot: "snapshots.Outline", *, wanted: bool = False) -> None:
        """Has the audit tree's writer run from when there is first something to record until the end: a
        route whose calls are recorded, a tree that was begun before, or somebody who manages (``wanted``).
        """
        settings = snapshot.gateway.audit
        if self.audit is not None:
            self.audit.follow(settings)
        elif wanted or snapshot.needs_audit or audit_places.folder_in(self.data).exists():
            self.audit = AuditKeeper(audit_places.folder_in(self.data), settings)
            self.keep(self.audit.run())

    async def end_kept(self) -> None:
        """Ends the processes that keep records, once nobody here has anything for them; another gateway's
        wait for their places.
        """
        ledger, self.ledger = self.ledger, None
        audit, self.audit = self.audit, None
        for keeper in (ledger, audit):
            if keeper is not None:
                await keeper.end()

    def lay_base(self, made: Path | None) -> None:
        """Lays the file's own entries, as they are put to work, where the manager's compiler finds them."""
        self._base_digest = ""
        try:
            put_base(made, self.data)
        except OSError as error:  # what the manager publishes is refused then
            voice.say(f"cannot write {self.data / 'base.json'}: {error.strerror}", level="warning")
            self._base_digest = "none"

    def base_digest(self) -> str:
        """Tells the file as it runs from others; nobody knows it where it could not be told."""
        if not self._base_digest:
            try:
                self._base_digest = digest_of((self.data / "base.json").read_bytes())
            except OSError:
                return "none"
        return self._base_digest

    def tell_revision(self, *, file: bool = False) -> None:
        """Tells the manager what runs; ``file``: the configuration file was put to work."""
        self.file_loads += file
        if self.manager is not None and self.snapshot is not None:
            self.manager.tell(revision=self.snapshot.revision, file_loads=self.file_loads)

    def set_stale(self, why: str) -> None:
        self.stale = why
        if self.manager is not None:
            self.manager.tell(stale=bool(why))

    def say_bound(self) -> None:
        """Says below what memory a worker keeps, unless that was said before."""
        assert self.snapshot is not None
        gateway = self.snapshot.gateway
        size = self.snapshot_path.stat().st_size
        now = budget(gateway, len(self.crew.places), size, machine_memory(), keeps=self.snapshot.holds_bodies)
        shown = Budget(now.fillable >> 20, now.watched >> 20)  # as exact as it is said
        said = (shown, gateway.limits.connections, gateway.limits.calls)
        if said != self._said_bound:
            self._said_bound = said
            voice.bounded(now, gateway.limits)

    @property
    def feed(self) -> Path:
        return self.runtime / "feed"

    def _settings(self, index: int, line: int) -> WorkerSettings:
        assert self.snapshot is not None
        return WorkerSettings(
            index=index,
            workers=len(self.crew.places),
            listen=[sock.fileno() for sock in self.listening.of(self.snapshot.gateway.listen)],
            control=line,
            counters=self.crew.memory,
            snapshot=str(self.snapshot_path),
            via=self.via,
            feed=str(self.feed),
            sharers=max(2, self.crew.sharers),  # with locks, until it is told that it is alone
            speaks=self.crew.speaker() == index,
            joins=any(place.was_ready for place in self.crew.places),
            events=voice.Voice.events,
            connections=self.connections,
        )
