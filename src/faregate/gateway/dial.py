"""Connecting to a target: its addresses, kept fresh, and the first of them that answers.

A name is resolved off the call's path: ahead of the end of its time, once for all who wait, and the last good
answer stays while the resolver fails. Addresses are tried in turn, the next one when one has failed or been
silent for a quarter of a second (RFC 8305 without its sorting, which ``getaddrinfo`` has done); the first to
connect wins and the others are closed. What is connected to is an address that was checked (http-rules.md
section 14). TLS comes on top (``upstream_tls``); nothing of a call is sent here.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from random import Random
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from faregate.gateway.upstream_tls import SHUTDOWN_S, reason_of

if TYPE_CHECKING:
    from faregate.gateway.upstream_tls import TlsClient
    from faregate.snapshot.data import Target

ADDRESSES_MAX: Final = 16
STAGGER_S: Final = 0.25
"""How long one address may be silent before the next is tried beside it."""
FRESH_S: Final = 10.0
"""How long an answer of the resolver is used before it is asked again, give or take a tenth."""
WANTED_S: Final = 60.0
"""A name that nobody dialled for this long is not kept fresh, and is asked for before its next use."""
STALE_WAIT_S: Final = 1.0
"""How long a dial waits for the resolver when an old answer is at hand."""
RESOLVE_S: Final = 10.0
"""After this time the resolver is given up and may be asked again."""
_JITTER: Final = 0.1

Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int]]
_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class DialError(Exception):
    """Nothing was connected, and nothing sent. ``reason``: lower_snake_case words for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Addresses:
    """A target's addresses, for one event loop. ``failures``: how often the resolver had no good answer."""

    def __init__(
        self,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
        random: Random | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._loop = loop
        self._monotonic = monotonic
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._known: tuple[Address, ...] = literal_address(host, port)
        self.is_literal = bool(self._known)
        self._before: frozenset[Address] = frozenset()
        self._cut = False
        self._resolved_at = self._due_at = float("-inf")
        self._wanted_at = float("-inf")
        self._failed: set[Address] = set()
        self._turn = self._random.randrange(ADDRESSES_MAX)
        self._resolving: asyncio.Task[None] | None = None
        self._reason = "name_not_resolved"
        self.failures = 0

    async def wanted(self) -> list[Address]:
        """The addresses in the order in which to try them. Raises ``DialError`` when there is none."""
        if not self.is_literal:
            now = self._wanted_at = self._monotonic()
            if not self._known:
                await asyncio.shield(self._resolve())
            elif now - self._resolved_at > WANTED_S:
                await asyncio.wait([self._resolve()], timeout=STALE_WAIT_S)
            elif now >= self._due_at:
                self._resolve()
            if not self._known:
                raise DialError(self._reason)
        return self._in_turn()

    def keep_fresh(self, now: float) -> None:
        """Asks anew when it is time, if anybody dials; called about once a second."""
        if not self.is_literal and now >= self._due_at and now - self._wanted_at <= WANTED_S:
            self._resolve()

    def knows(self, address: Address) -> bool:
        """Whether the name still has this address: in one of the last two answers, for some resolvers give
        a part of them in turn.
        """
        return self.is_literal or self._cut or address in self._known or address in self._before

    def tell(self, address: Address, *, connected: bool) -> None:
        """How a try went: an address that failed comes last until the name is resolved again."""
        if connected:
            self._failed.discard(address)
        elif len(self._known) > 1:
            self._failed.add(address)

    def close(self) -> None:
        if self._resolving is not None:
            self._resolving.cancel()

    def _in_turn(self) -> list[Address]:
        """Each dial begins with another address of the better family; families alternate."""
        known = self._known
        if len(known) == 1:
            return list(known)
        turn, self._turn = self._turn, self._turn + 1
        first = known[0][0]
        better = _rotated([each for each in known if each[0] == first], turn)
        other = _rotated([each for each in known if each[0] != first], turn)
        mixed = [each for each in chain(*zip_longest(better, other)) if each is not None]
        return sorted(mixed, key=lambda each: each in self._failed)

    def _resolve(self) -> "asyncio.Task[None]":
        task = self._resolving
        if task is None:
            task = self._resolving = self._loop.create_task(self._ask())
            task.add_done_callback(self._asked)
        return task

    def _asked(self, task: "asyncio.Task[None]") -> None:
        self._resolving = None
        if not task.cancelled():
            task.exception()

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self._loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            addresses = _checked(found)
        except TimeoutError:
            self._no_answer("name_timeout")
        except UnicodeError:
            self._no_answer("name_invalid")
        except OSError:
            self._no_answer("name_not_resolved")
        except DialError as error:
            self._no_answer(error.reason)
        else:
            self._before = frozenset(self._known)
            self._cut = len(addresses) > ADDRESSES_MAX
            self._known = tuple(addresses[:ADDRESSES_MAX])
            self._failed.clear()
            self._resolved_at = self._monotonic()
        self._due_at = self._monotonic() + FRESH_S * self._random.uniform(1.0 - _JITTER, 1.0)

    def _no_answer(self, reason: str) -> None:
        self.failures += 1
        self._reason = reason


class Dialler:
    """Connects to one target: any protocol, in clear or by TLS."""

    def __init__(
        self,
        target: "Target",
        tls: "TlsClient | None",
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
    ) -> None:
        self.target = target
        self.tls = tls if target.tls else None
        self.addresses = Addresses(target.host, target.port, loop, monotonic)
        self._loop = loop

    async def dial(self, protocol: _P, timeout_s: float) -> "tuple[_P, socket.socket, Address]":
        """``protocol``, connected within ``timeout_s``, its socket and the address. Raises ``DialError``."""
        doing = "connect"
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await self.addresses.wanted()
                sock, address = await first_of(self._loop, addresses, self.addresses.tell)
                doing = "upstream_tls"
                await self._put_on(protocol, sock, timeout_s)
                return protocol, sock, address
        except TimeoutError:
            raise DialError(f"{doing}_timeout") from None
        except ssl.SSLError as error:
            raise DialError(reason_of(error)) from None
        except ConnectionRefusedError:
            raise DialError("connect_refused") from None
        except OSError as error:
            if doing == "connect":
                raise DialError(f"connect_errno_{error.errno}") from None
            raise DialError("upstream_tls_cut") from None

    async def _put_on(self, protocol: _P, sock: socket.socket, timeout_s: float) -> None:
        tls = self.tls
        try:
            if tls is None:
                await self._loop.create_connection(lambda: protocol, sock=sock)
                return
            await self._loop.create_connection(
                lambda: protocol,
                sock=sock,
                ssl=await tls.context(self._loop),
                server_hostname=tls.server_name or self.target.host,
                ssl_handshake_timeout=timeout_s + 1.0,  # ours ends first, and has a word for it
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except BaseException:
            sock.close()
            raise


async def first_of(
    loop: asyncio.AbstractEventLoop,
    addresses: Sequence[Address],
    tell: Callable[..., None],
    stagger_s: float = STAGGER_S,
) -> tuple[socket.socket, Address]:
    """A socket connected to the first of ``addresses`` that answered. Raises the last ``OSError`` when none
    did.
    """
    if len(addresses) == 1:
        return await _connect(loop, addresses[0]), addresses[0]
    trying: dict[asyncio.Task[socket.socket], Address] = {}
    waiting = iter(addresses)
    left = len(addresses)
    last: OSError | None = None
    try:
        while left or trying:
            if left:
                left -= 1
                address = next(waiting)
                trying[loop.create_task(_connect(loop, address))] = address
            done, _ = await asyncio.wait(
                trying, timeout=stagger_s if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                tell(trying[task], connected=error is None)
                if error is None:
                    return task.result(), trying.pop(task)
                del trying[task]
                if not isinstance(error, OSError):
                    raise error
                last = error
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_let_go)
    raise last or OSError("no address")


def _let_go(task: "asyncio.Task[socket.socket]") -> None:
    """A loser of the race: closed, whether it had connected or not."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    sock = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address[1])
    except BaseException:
        sock.close()
        raise
    return sock


def literal_address(host: str, port: int) -> tuple[Address, ...]:
    """The one address of a host that is written as one; none of a name."""
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return ()
    return ((socket.AF_INET if address.version == 4 else socket.AF_INET6, (str(address), port)),)


def is_unfit(text: str) -> bool:
    """Whether a name that resolves to this address is refused: link-local (a cloud's metadata service is),
    multicast, unspecified. Private and loopback addresses are where upstreams live.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_link_local or address.is_multicast or address.is_unspecified


def _checked(found: Iterable[tuple[object, ...]]) -> list[Address]:
    addresses: dict[Address, None] = {}
    for family, _, _, _, sockaddr in found:
        assert isinstance(sockaddr, tuple)
        assert isinstance(family, int)
        text = str(sockaddr[0])
        if is_unfit(text):
            # one bad address condemns the answer: which of several is used must not be left to chance
            raise DialError("address_refused")
        addresses[socket.AddressFamily(family), (text, int(sockaddr[1]))] = None
    if not addresses:
        raise DialError("name_not_resolved")
    return list(addresses)


def _rotated(items: list[Address], by: int) -> list[Address]:
    at = by % len(items) if items else 0
    return items[at:] + items[:at]
