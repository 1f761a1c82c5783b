"""Whole connections under fuzz: any bytes from a caller, any bytes from an upstream, over fakes without sockets.

What the upstream receives must be what a second reader reads in the caller's bytes, request by request (P1), and what a caller is
told is complete must be what that reader reads in the upstream's. However the bytes are cut, the same comes out.
"""

from typing import Final

from faregate.snapshot.data import GatewayLimits
from tests.fuzz import oracle
from tests.fuzz.targets import cuts
from tests.gateway.fakes import OK, FakeTransport, World, make_route

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
LIMITS: Final = GatewayLimits(header_bytes=4 << 10, headers=32)
ROUNDS_MAX: Final = 40


def _world() -> World:
    return World(
        lambda upstream: [make_route(method, "/{rest...}", upstream, body_bytes=1 << 20) for method in METHODS],
        limits=LIMITS,
        attempts=1,
    )  # fmt: skip


def _seen(wire: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Method, target and body of the whole requests on an upstream's wire, which holds nothing but requests."""
    found = []
    while wire:
        try:
            message, wire = oracle.read_request(wire)
        except oracle.Cut:
            break
        found.append((message.first[0], message.first[1], message.body))
    return found


def request_stream(data: bytes) -> None:
    """A caller's bytes: what goes upstream is what another reader reads, in order, and however it was cut."""
    pieces, whole = cuts(data)
    sent, kinds = _play_requests(pieces)
    again, same = _play_requests([whole] * bool(whole))
    assert (sent, kinds) == (again, same), "the cut changes what is done"
    wanted = [(one.first[0], _origin(one), one.body) for one in oracle.read_requests(whole)]
    assert sent == wanted[: len(sent)], f"sent {sent}, read {wanted}"


def _origin(message: oracle.Message) -> bytes:
    """An absolute-form target in origin-form (F08); others as they are."""
    target = message.first[1]
    if target.startswith((b"/", b"*")):
        return target
    rest = target.partition(b"://")[2]
    at = min((place for place in (rest.find(b"/"), rest.find(b"?")) if place >= 0), default=len(rest))
    return rest[at:] if rest[at : at + 1] == b"/" else b"/" + rest[at:]


def _play_requests(pieces: list[bytes]) -> tuple[list[tuple[bytes, bytes, bytes]], list[str]]:
    with _world() as world:
        caller = world.client()
        sent: list[tuple[bytes, bytes, bytes]] = []
        waiting = list(pieces)
        for _ in range(ROUNDS_MAX + len(pieces)):
            if waiting and caller.delivers:
                caller.deliver(waiting.pop(0))
            progress = _serve(world, sent)
            if not progress and (not waiting or not caller.delivers):
                break
        if caller.delivers:
            caller.end()
        world.run()
        _serve(world, sent)
        world.pass_time(100, step=5)
        assert world.plane.in_flight == 0
        assert not [call for call in world.calls if call.refusal == "internal_error"], world.calls
        return sent, _answers(bytes(caller.written), [call.method for call in world.calls])


def _answers(wire: bytes, methods: list[bytes]) -> list[str]:
    """Whether each answer on a caller's wire is the upstream's or a refusal; which one may depend on what was read first."""
    found = []
    for method in methods:
        if not wire:
            break
        message, wire = oracle.read_answer(wire, method, clean_end=True)
        found.append("passed" if message.first[1] == b"200" else "refused")
    assert not wire, "more answers than calls"
    return found


def settle(world: World) -> None:
    """Lets happen what is scheduled, if anything is: most events schedule nothing, and a turn of the loop is dear."""
    if world.loop._ready:  # type: ignore[attr-defined]  # a fuzzer lives on speed
        world.run()


def _serve(world: World, sent: list[tuple[bytes, bytes, bytes]]) -> bool:
    """Connects who asked and answers whole requests; whether anything was done."""
    settle(world)
    progress = False
    while world.pool.asked:
        world.pool.connect()
        progress = True
    for transport in list(world.pool.made):
        found = _seen(bytes(transport.written))
        assert len(found) < 2, "two requests at once on one connection"
        if found and transport.delivers:
            transport.take()
            sent += found
            method = found[0][0]
            transport.deliver(OK if method != b"HEAD" else OK[:-2])
            progress = True
    settle(world)
    return progress


def answer_stream(data: bytes) -> None:
    """An upstream's bytes: a caller is told a whole answer only when there is one, and it is that one."""
    kind, rest = (data[0], data[1:]) if data else (0, b"")
    method = (b"GET", b"HEAD", b"POST")[kind % 3]
    ends = ("fin", "reset", "stays")[kind // 3 % 3]
    pieces, whole = cuts(rest)
    told = _play_answer(method, ends, pieces)
    assert told == _play_answer(method, ends, [whole] * bool(whole)), "the cut changes what is told"
    outcome, status, body, pooled = told
    try:
        wanted, left = oracle.read_answer(whole, method, clean_end=ends == "fin")
    except (oracle.NotHttp, oracle.Cut):
        assert outcome != "answered", f"told {told} of what is no answer"
        return
    if outcome == "answered":
        assert (status, body) == (int(wanted.first[1]), wanted.body)
        assert not (pooled and (left or wanted.until_close)), "a connection with surplus was kept"


def _play_answer(method: bytes, ends: str, pieces: list[bytes]) -> tuple[str, int, bytes, bool]:
    with _world() as world:
        caller = world.client()
        length = b"Content-Length: 0\r\n" if method == b"POST" else b""
        caller.deliver(b"%b /v1/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: one\r\n%b\r\n" % (method, length))
        server: FakeTransport = world.pool.connect()
        for piece in pieces:
            if server.delivers:
                server.deliver(piece)
        pooled = world.pool.idle_count == 1 and server.delivers
        if ends == "fin" and server.delivers:
            server.end()
        elif ends == "reset" and not server.lost:
            server.lose(ConnectionResetError())
        world.run()
        world.pass_time(100, step=5)
        assert world.plane.in_flight == 0
        assert [call.refusal for call in world.calls if call.refusal == "internal_error"] == []
        (call,) = world.calls
        told = _one_answer(caller, method, call.outcome)
        assert call.outcome != "answered" or told is not None, "told answered, answer not whole"
        assert call.outcome != "answered" or told is None or int(told.first[1]) == call.status
        return call.outcome, call.status, told.body if told is not None else b"", pooled


def _one_answer(caller: FakeTransport, method: bytes, outcome: str) -> oracle.Message | None:
    """The caller's only final answer; None when it was broken off, and then it must look so."""
    wire = bytes(caller.written)
    if not wire:
        assert outcome != "answered"
        return None
    try:
        message, rest = oracle.read_answer(wire, method, clean_end=not caller.aborted)
    except oracle.Cut:
        assert caller.aborted or caller.closing, "a part is left hanging"
        return None
    assert not rest, "more than one answer"
    assert outcome == "answered" or message.first[1] in {b"502", b"504"}, f"{outcome}, and yet a whole answer"
    return message
