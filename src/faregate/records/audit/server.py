"""The tree's writer at work: one thread that reads every socket, appends what came as one batch, syncs once,
and only then answers. So nothing is told before it is durable, and the batch grows with the load by itself.

A disk that refuses is told to all who wait, who hold back what they may and let nothing happen that must be
recorded. Between batches checkpoints are signed, every so many records or seconds.
"""

import select
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from faregate.kernel.unix_sockets import is_ours
from faregate.records.audit import leaf, wire
from faregate.records.audit.calls import CallRecords
from faregate.records.audit.leaf import Entry, LeafError
from faregate.records.audit.opening import Opened, settle, told
from faregate.records.audit.wire import Batch, Told, WireError

if TYPE_CHECKING:
    from faregate.records.audit.checkpoints import Publisher

PEERS_MAX: Final = 1_024
SOURCES_MAX: Final = 4_096
EVERY_S: Final = 10.0
EVERY_RECORDS: Final = 1_000
ACTOR: Final = "gateway:audit"
_READ_BYTES: Final = 256 << 10
_TICK_S: Final = 0.25
_TURN_BYTES_MAX: Final = 8 << 20
"""Read in one turn; what more came waits for the next."""
_COMPLAINT_INTERVAL_S: Final = 60.0
_RETRY_S: Final = 1.0
_SIGNED_APART_S: Final = 1.0


class _Peer:
    """A connection, and what has come of its next frame."""

    __slots__ = ("rest", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = bytearray()


class Server:
    """Serves the tree on ``listening``. ``say``: one line to the operator. ``wall``: seconds since the
    epoch.
    """

    def __init__(
        self,
        opened: Opened,
        calls: CallRecords,
        listening: socket.socket,
        say: Callable[[str], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.tree = opened.tree
        self.say = say
        self.stopping = False
        self.leave_when_alone = False
        self.every_s, self.every_records = EVERY_S, EVERY_RECORDS
        self.publisher: Publisher | None = None
        self._opened = opened
        self._checkpoints = opened.checkpoints
        self._calls = calls
        self._wall = wall
        self._listening = listening
        self._epoll = select.epoll()
        self._peers: dict[int, _Peer] = {}
        self._asked: list[tuple[_Peer, Batch]] = []
        self._done: OrderedDict[bytes, int] = OrderedDict()
        self._watched: dict[int, Callable[[], None]] = {}
        self._signed_at = time.monotonic()
        self._retry_at = 0.0
        self._complained_at = float("-inf")
        self._failing = False
        listening.setblocking(False)  # noqa: FBT003 - its own
        self._epoll.register(listening.fileno(), select.EPOLLIN)

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Has ``ready`` called when ``descriptor`` can be read."""
        self._watched[descriptor] = ready
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def begin(self) -> None:
        """Says in the tree that its writer has started, and what a crash had left. Raises OSError."""
        for torn in list(self._opened.torn):
            about, detail = told(torn)
            self.tree.append([self._own("audit.recovered", about, detail)])
            settle(torn)
            self._opened.torn.remove(torn)
            cut = detail["cut_bytes"]
            self.say(f"the audit tree ended in {cut} half-written bytes, which nobody was told of: cut off")
        self.tree.append([self._own("audit.started", "audit", {"size": self.tree.size})])

    def run(self) -> None:
        """Until ``stopping`` is set, or nobody is connected and ``leave_when_alone`` is."""
        while not self.stopping and (self._peers or not self.leave_when_alone) and not self.tree.failed:
            self.turn(_TICK_S)

    def turn(self, wait_s: float) -> None:
        """What has come is appended and answered; a checkpoint, if one is due."""
        budget = _TURN_BYTES_MAX
        for descriptor, _ in self._epoll.poll(wait_s):
            peer = self._peers.get(descriptor)
            if peer is not None:
                if budget > 0:
                    budget -= self._read(peer)
            elif descriptor == self._listening.fileno():
                self._accept()
            elif descriptor in self._watched:
                self._watched[descriptor]()
        if self._asked:
            self._commit()
        self._look(time.monotonic())

    def end(self) -> None:
        """Says in the tree that its writer ends, and signs it so."""
        try:
            if not self.tree.failed:
                self.tree.append([self._own("audit.stopped", "audit", {"size": self.tree.size})])
                self._sign()
        except OSError as error:
            self.say(f"the audit tree could not be signed at its end: {error.strerror or error}")
        for peer in list(self._peers.values()):
            self._drop(peer)
        self._listening.close()
        self._epoll.close()
        if self.publisher is not None:
            self.publisher.close(2.0)
        self.tree.close()

    def _own(self, kind: str, about: str, detail: dict[str, object]) -> Entry:
        return leaf.entry(kind, ACTOR, about, detail, leaf.time_text(self._wall()))

    # what comes

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        if len(self._peers) >= PEERS_MAX or not is_ours(sock):
            sock.close()
            return
        sock.setblocking(False)  # noqa: FBT003 - its own
        self._peers[sock.fileno()] = _Peer(sock)
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _read(self, peer: _Peer) -> int:
        """How many bytes came."""
        try:
            data = peer.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._drop(peer)
            return 0
        peer.rest += data
        try:
            self._asked += [(peer, batch) for batch in wire.take_batches(peer.rest)]
        except WireError as error:
            self.say(f"the audit tree drops a connection: {error}")
            self._drop(peer)
        return len(data)

    def _drop(self, peer: _Peer) -> None:
        descriptor = peer.sock.fileno()
        if self._peers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)
        peer.sock.close()

    # what is kept

    def _commit(self) -> None:
        """Appends all that was asked for, or nothing; and answers."""
        asked, self._asked = self._asked, []
        if any(batch.again for _, batch in asked):  # what comes again may be among the others
            for one in asked:
                self._keep([one])
        else:
            self._keep(asked)

    def _keep(self, asked: list[tuple[_Peer, Batch]]) -> None:
        stale = [(peer, batch) for peer, batch in asked if self._is_stale(batch)]
        for peer, _ in stale:
            self._drop(peer)
        asked = [one for one in asked if one not in stale]
        answers: list[Told] = []
        fresh: list[Entry] = []
        places: list[list[tuple[int, bytes] | int]] = []
        for _, batch in asked:
            answer = Told(batch.number)
            answers.append(answer)
            places.append(self._taken(batch, answer, fresh))
        try:
            kept = self.tree.append(fresh) if fresh else []
        except OSError as error:
            self._refused(error)
            for answer in answers:
                answer.error, answer.kept = wire.DISK, []
        else:
            self._recovered()
            for _, batch in asked:
                self._done[batch.source] = batch.number
                self._done.move_to_end(batch.source)
            while len(self._done) > SOURCES_MAX:
                self._done.popitem(last=False)
            for answer, own in zip(answers, places, strict=True):
                answer.kept = [kept[place] if isinstance(place, int) else place for place in own]
        for (peer, _), answer in zip(asked, answers, strict=True):
            self._answer(peer, answer)

    def _is_stale(self, batch: Batch) -> bool:
        """Whether it lay in a connection that was given up, and was sent again by another since."""
        return not batch.again and batch.number <= self._done.get(batch.source, 0)

    def _taken(self, batch: Batch, answer: Told, fresh: list[Entry]) -> list[tuple[int, bytes] | int]:
        """Adds the batch's events to ``fresh``; of its entries, where they stand there, or in the tree
        already.
        """
        before = len(fresh)
        places: list[tuple[int, bytes] | int] = []
        try:
            for head, tail in batch.entries:
                entry = Entry(head, tail)
                known = self.tree.known(entry.mark) if batch.again else None
                if known is None:
                    leaf.read(entry.at(0, leaf.NO_PREV))
                    places.append(len(fresh))
                    fresh.append(entry)
                else:
                    places.append(known)
        except LeafError as error:
            self.say(f"the audit tree refuses a record: {error}")
            del fresh[before:]
            answer.error = wire.BROKEN
            return []
        for line in [line for lines in batch.calls for line in lines.splitlines()]:
            try:
                entry = self._calls.entry(line)
            except LeafError as error:
                answer.refused += 1
                self.say(f"the audit tree refuses the record of a call: {error}")
                continue
            if not (batch.again and self.tree.known(entry.mark)):
                fresh.append(entry)
        return places

    def _answer(self, peer: _Peer, answer: Told) -> None:
        if peer.sock.fileno() < 0:
            return
        frame = wire.framed(answer)
        try:
            if peer.sock.send(frame) == len(frame):  # he has no other on its way: there is room
                return
        except OSError:
            pass
        self._drop(peer)

    def _refused(self, error: OSError) -> None:
        now = time.monotonic()
        self._failing = True
        if now - self._complained_at >= _COMPLAINT_INTERVAL_S:
            self._complained_at = now
            self.say(
                f"the audit tree cannot be written: {error.strerror or error}; nothing is recorded meanwhile"
            )

    def _recovered(self) -> None:
        if self._failing:
            self._failing = False
            self._complained_at = float("-inf")
            self.say("the audit tree is written again")

    # checkpoints

    def _look(self, now: float) -> None:
        tree, last = self.tree, self._checkpoints.last
        unsigned = tree.size - (0 if last is None else last.size)
        if not unsigned or now < self._retry_at:
            return
        age_s = now - self._signed_at
        many = unsigned >= self.every_records and age_s >= _SIGNED_APART_S
        if not (many or age_s >= self.every_s or tree.is_long):
            return
        try:
            self._sign()
            if tree.is_long:
                tree.rotate()
        except OSError as error:
            self._retry_at = now + _RETRY_S
            self._refused(error)

    def _sign(self) -> None:
        kept = self._checkpoints.sign(self.tree, leaf.time_text(self._wall()))
        self._signed_at = time.monotonic()
        if self.publisher is not None:
            self.publisher.publish(kept)
