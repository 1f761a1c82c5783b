"""The ledger's process at work: one thread that reads every socket, applies what came, and syncs once.

A turn takes what has come meanwhile from all workers, applies it in order, writes and syncs it as one
batch, and only then answers: so nothing is told before it is durable, and the batch grows with the load by
itself. Between batches the cleaner has its slices. Whoever breaks the protocol, or does not read his
answers, loses his connection.
"""

import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

import msgspec

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.embedded.book import FAILED, Book, Owner
from faregate.stores.ledger.embedded.cleaning import Cleaner
from faregate.stores.ledger.embedded.clock import LedgerClock
from faregate.stores.ledger.embedded.moving import moved
from faregate.stores.ledger.embedded.peers import Peer, is_ours
from faregate.stores.ledger.embedded.records import DamagedError
from faregate.stores.ledger.moves import UNAVAILABLE

PEERS_MAX: Final = 1_024
ANSWERS_BYTES_MAX: Final = 1 << 20
"""To one peer at a time; what else it asks waits until it has taken them."""
STUCK_S: Final = 10.0
"""How long a peer may leave its answers unread."""
HELD_BYTES_MAX: Final = 64 << 20
"""Of a batch that a full disk keeps from being written; then nothing more is read until it is."""
_READ_BYTES: Final = 256 << 10
_TICK_S: Final = 0.25
GATHER_FROM: Final = 8
GATHER_S: Final = 0.0005
"""With so many calls in flight, what comes in this time is synced together: a sync and a turn cost as much
for one move as for thirty.
"""
_CLEAN_LOOK_S: Final = 0.05
_RETRY_S: Final = 1.0
DAMAGED: Final = "ledger_damaged"


class Server:
    """Serves ``book`` on the listening socket at ``path``. ``say``: one line to the operator."""

    __slots__ = (
        "_clean_at",
        "_epoll",
        "_held",
        "_listening",
        "_peers",
        "_refused",
        "_replying",
        "_resumed",
        "_retry_at",
        "_said_damage",
        "_said_fault",
        "_said_full",
        "_tick_at",
        "_watched",
        "book",
        "cleaner",
        "clock",
        "leave_when_alone",
        "say",
        "stopping",
    )

    def __init__(
        self, book: Book, clock: LedgerClock, listening: socket.socket, say: Callable[[str], None]
    ) -> None:
        self.book = book
        self.clock = clock
        self.cleaner = Cleaner(book)
        self.say = say
        self.stopping = False
        self.leave_when_alone = False
        self._listening = listening
        self._epoll = select.epoll()
        self._peers: dict[int, Peer] = {}
        self._replying: list[Peer] = []
        self._resumed: list[Peer] = []
        self._watched: dict[int, Callable[[], None]] = {}
        self._tick_at = self._clean_at = self._retry_at = 0.0
        self._said_full = False
        self._said_fault = False
        self._held = False
        self._refused = False
        self._said_damage = False
        listening.setblocking(False)  # noqa: FBT003 - its own
        self._epoll.register(listening.fileno(), select.EPOLLIN)

    def watch(self, descriptor: int, ready: Callable[[], None]) -> None:
        """Has ``ready`` called when ``descriptor`` can be read."""
        self._watched[descriptor] = ready
        self._epoll.register(descriptor, select.EPOLLIN)

    def unwatch(self, descriptor: int) -> None:
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def run(self) -> None:
        """Until ``stopping`` is set, or nobody is connected and ``leave_when_alone`` is."""
        busy = False
        while not self.stopping and (self._peers or not self.leave_when_alone):
            busy = self.turn(0.0 if busy else _TICK_S)
        self.clock.look()
        self._commit()

    def close(self) -> None:
        """Lets all go; owners stay as they are for whoever comes after."""
        for peer in list(self._peers.values()):
            peer.sock.close()
        self._peers.clear()
        self._epoll.close()
        self._listening.close()
        self.book.log.close()

    # a turn

    def turn(self, wait_s: float) -> bool:
        """One round; whether the cleaner has more to do."""
        if self._held:  # nothing is read while a batch waits for room that is too large to add to
            time.sleep(0.05)
            events: list[tuple[int, int]] = []
        else:
            events = self._epoll.poll(0.0 if self._resumed else wait_s)
        clock, book = self.clock, self.book
        clock.look()
        book.now_ms = clock.now_ms
        book.wall_ms = clock.wall_ms
        self._listen_to(events)
        if book.in_flight >= GATHER_FROM and book.log.pending_bytes:
            time.sleep(GATHER_S)
            self._listen_to(self._epoll.poll(0.0))
        now = time.monotonic()
        if now >= self._tick_at:
            self._tick_at = now + _TICK_S
            book.settle_gone()
            self._drop_stuck(now)
        busy = False
        if now >= self._clean_at:
            busy = self.cleaner.step()
            self._clean_at = 0.0 if busy else now + _CLEAN_LOOK_S
        if self._commit():
            self._answer_all()
        return busy

    def _listen_to(self, events: list[tuple[int, int]]) -> None:
        resumed, self._resumed = self._resumed, []
        for peer in resumed:
            if peer.sock.fileno() >= 0:
                self._hear_from(peer, b"")
        for descriptor, event in events:
            self._hear(descriptor, event)

    def _hear(self, descriptor: int, event: int) -> None:
        peer = self._peers.get(descriptor)
        if peer is not None:
            if event & select.EPOLLOUT:
                self._send(peer)
            if event & ~select.EPOLLOUT:
                self._read(peer)
        elif descriptor == self._listening.fileno():
            self._accept()
        else:
            watched = self._watched.get(descriptor)
            if watched is not None:
                watched()

    def _commit(self) -> bool:
        """Whether everything that was applied is durable, so that it may be told."""
        log = self.book.log
        if log.full or log.failed:
            return self._commit_anew()
        done = log.commit()
        if done:
            log.prepare()
        elif log.failed:
            self._fail()
            return True
        return done

    def _commit_anew(self) -> bool:
        """While the disk is full, each second; when it is not to be trusted, never again."""
        log = self.book.log
        if log.failed:
            self._fail()
            return True
        if not self._said_full:
            self._said_full = True
            self.say("the ledger's disk is full: no key is claimed until there is room")
        now = time.monotonic()
        done = not self._refused
        if done or now >= self._retry_at:  # one that was refused is tried again each second
            done = log.commit()
            self._refused = not done
        if now >= self._retry_at:
            self._retry_at = now + _RETRY_S
            if done:
                log.prepare()
        self._held = log.pending_bytes > HELD_BYTES_MAX
        if log.failed:
            self._fail()
            return True
        if done and not log.full:
            self._said_full = False
            self.say("the ledger's disk has room again")
        return done

    def _fail(self) -> None:
        """What was answered in this turn was never durable: all of it is told as not stored."""
        if not self._said_fault:
            self._said_fault = True
            self.say(
                f"the ledger cannot be trusted any more: {self.book.log.failed}; "
                "every key is refused until the disk is mended and the gateway started again"
            )
        for peer in self._replying:
            peer.replies = [
                wire.refused(wire.HEAD.unpack_from(reply)[2], UNAVAILABLE, FAILED)
                if reply[4] == wire.TOLD
                else wire.framed(wire.FAILED, wire.HEAD.unpack_from(reply)[2], FAILED.encode())
                for reply in peer.replies
            ]

    # peers

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            if len(self._peers) >= PEERS_MAX or not is_ours(sock):
                sock.close()
                continue
            sock.setblocking(False)  # noqa: FBT003 - its own
            self._peers[sock.fileno()] = Peer(sock)
            self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _drop(self, peer: Peer) -> None:
        """He is gone, and so is what he had claimed."""
        descriptor = peer.sock.fileno()
        if self._peers.pop(descriptor, None) is None:
            return
        self._epoll.unregister(descriptor)
        peer.sock.close()
        peer.replies = []
        owner = peer.owner
        if owner is not None and not any(other.owner is owner for other in self._peers.values()):
            self.book.away(owner, 0)
            self._tick_at = 0.0

    def _read(self, peer: Peer) -> None:
        try:
            data = peer.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._hear_from(peer, data)
        else:
            self._drop(peer)

    def _hear_from(self, peer: Peer, data: bytes) -> None:
        """Applies what he said, ``data`` after what was left of it."""
        if peer.rest:
            data = peer.rest + data
            peer.rest = b""
        if not peer.replies:
            self._replying.append(peer)
        try:
            at = self._take(peer, data)
        except (wire.WireError, struct.error, msgspec.MsgspecError, ValueError) as error:
            self.say(f"the ledger drops a connection: {error}")
            self._drop(peer)
            return
        if at < len(data):
            peer.rest = data[at:]

    def _take(self, peer: Peer, data: bytes) -> int:
        """Applies the whole frames in ``data`` until answers pile up; returns where the rest begins."""
        at = 0
        size = len(data)
        replies = peer.replies
        much = 0
        while size - at >= wire.HEAD_BYTES:
            length, what, number = wire.HEAD.unpack_from(data, at)
            wire.check_length(length)
            end = at + length
            if end > size:
                break
            if much > ANSWERS_BYTES_MAX:
                peer.stalled = True
                break
            reply = self._apply(peer, what, number, data, at, end)
            if reply:
                replies.append(reply)
                much += len(reply)
            at = end
        return at

    def _apply(  # noqa: PLR0913, PLR0917 - a frame in the middle of what was read
        self, peer: Peer, what: int, number: int, data: bytes, at: int, end: int
    ) -> bytes:
        owner = peer.owner
        if owner is None:
            if what != wire.HELLO:
                raise wire.WireError("no greeting")
            self._greet(peer, data, at)
            return b""
        if self.book.log.failed:
            if what == wire.ASK:
                return wire.framed(wire.FAILED, number, FAILED.encode())
            return wire.refused(number, UNAVAILABLE, FAILED)
        try:
            return moved(self.book, owner, what, number, data, at, end)
        except (DamagedError, OSError) as error:
            if not self.cleaner.fault:
                self.cleaner.fault = f"the ledger is damaged: {error}; keys that stand there are refused"
            if what == wire.ASK:
                return wire.framed(wire.FAILED, number, DAMAGED.encode())
            return wire.refused(number, UNAVAILABLE, DAMAGED)

    def _greet(self, peer: Peer, data: bytes, at: int) -> None:
        length, _, _, version, owner = wire.HELLO_FRAME.unpack_from(data, at)
        if length != wire.HELLO_BYTES or version != wire.VERSION:
            raise wire.WireError(f"version {version} of the protocol")
        if owner == wire.NO_OWNER:
            peer.owner = Owner(owner)
            return
        before = self.book.owners.get(owner)
        for other in [one for one in self._peers.values() if before is not None and one.owner is before]:
            other.owner = (
                None  # he has come back before his end was seen; what he said there last is not heard
            )
            self._drop(other)
        peer.owner = self.book.here(owner)

    # answers

    def _answer_all(self) -> None:
        if self.cleaner.fault and not self._said_damage:
            self._said_damage = True
            self.say(self.cleaner.fault)
        replying, self._replying = self._replying, []
        for peer in replying:
            if peer.replies:
                peer.unsent += b"".join(peer.replies)
                peer.replies = []
                peer.moved_at = time.monotonic()
                self._send(peer)

    def _send(self, peer: Peer) -> None:
        """Sends what it can. While there is much that a peer does not take, nothing more is read of it."""
        descriptor = peer.sock.fileno()
        if descriptor < 0:
            return
        unsent = peer.unsent
        try:
            sent = peer.sock.send(unsent) if unsent else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(peer)
            return
        if sent:
            peer.moved_at = time.monotonic()
            peer.unsent = unsent = unsent[sent:] if sent < len(unsent) else b""
        if unsent:
            peer.stalled = peer.stalled or len(unsent) > ANSWERS_BYTES_MAX
        elif peer.stalled:
            peer.stalled = False
            self._resumed.append(peer)
        wanted = (select.EPOLLOUT if unsent else 0) | (0 if peer.stalled else select.EPOLLIN)
        if wanted != peer.wanted:
            peer.wanted = wanted
            self._epoll.modify(descriptor, wanted)

    def _drop_stuck(self, now: float) -> None:
        """Lets go of those who have not taken a byte of their answers for long."""
        for peer in [one for one in self._peers.values() if one.unsent]:
            if now - peer.moved_at > STUCK_S:
                self.say("the ledger drops a connection that does not read its answers")
                self._drop(peer)
