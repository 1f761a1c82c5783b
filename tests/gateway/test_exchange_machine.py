"""Whatever comes in whatever order (callers' bytes, ends and losses, upstreams' bytes, ends and losses, deadlines, steps that
wait), every call ends in exactly one record, frees its place once, leaves all books at zero, and is never sent twice.

The most valuable test of the data plane: hypothesis plays callers, upstreams, the kernel and time against the real
connections and exchanges over fake transports.
"""

import asyncio
import itertools
import logging
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from faregate.gateway.exchange import DONE
from faregate.gateway.wheel import NEVER, TICK_S
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import GatewayLimits
from tests.gateway.exchange_material import ANSWER_KINDS, ANSWERS, EVENTS, KINDS, PICKS, PIECES, REQUESTS, T
from tests.gateway.fakes import FakeTransport, World, make_route
from tests.gateway.wire_check import read_answers, read_requests

STEPS_MAX = 50


class Peer:
    """One end of a wire as the test plays it. ``out``: bytes that are said but not yet delivered."""

    def __init__(self, transport: FakeTransport) -> None:
        self.transport = transport
        self.out = bytearray()
        self.has_ended = False
        self.was_cut = False  # by us, the test
        self.ids: list[bytes] = []

    @property
    def can_deliver(self) -> bool:
        return self.transport.delivers and not self.has_ended

    def deliver(self, size: int) -> None:
        while self.out and self.can_deliver and size > 0:
            data = bytes(self.out[:size])
            del self.out[: len(data)]
            size -= len(data)
            self.transport.deliver(data)


class ExchangeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("faregate.gateway").disabled = True  # broken steps are part of the play
        self.releases: Counter[bytes] = Counter()
        self.released_calls: list[Call] = []
        self.waiting: list[asyncio.Future[Refusal | None]] = []
        self.world = World(
            self.routes,
            targets=2,
            limits=GatewayLimits(body_timeout=20.0, idle_timeout=25.0),
            max_connections=3,
            idle=2,
            attempts=1,
            total_timeout=40.0,
            idle_timeout=15.0,
        )
        self.numbers = itertools.count(1)
        self.methods: dict[bytes, bytes] = {}
        self.clients: list[Peer] = []
        self.gone: list[Peer] = []
        self.servers: dict[FakeTransport, Peer] = {}

    def routes(self, upstream: object) -> list[ReadyRoute]:
        def take_place(call: Call) -> None:
            self.released_calls.append(call)

            def release() -> None:
                self.releases[call.request_id] += 1

            call.release = release

        def wait(call: Call) -> asyncio.Future[Refusal | None]:
            future = self.world.loop.create_future()
            self.waiting.append(future)
            return future

        def wait_again(call: Call) -> asyncio.Future[Refusal | None]:
            return wait(call)

        def refuse(call: Call) -> Refusal:
            return Refusal("permission_denied", reason="permission_missing")

        def break_down(call: Call) -> None:
            raise RuntimeError("a step broke")

        both = ("GET", "POST")
        return [
            *(
                make_route(method, "/v1/payments/{id}", upstream, take_place, log_response_body="masked")
                for method in ("GET", "HEAD")
            ),
            make_route("POST", "/v1/payments", upstream, take_place, log_request_body="masked"),
            *(make_route(method, "/v1/waits", upstream, take_place, wait, wait_again) for method in both),
            *(make_route(method, "/v1/refused", upstream, take_place, refuse) for method in both),
            make_route("GET", "/v1/breaks", upstream, take_place, break_down),
        ]

    @rule(event=st.sampled_from(EVENTS), pick=PICKS, choice=st.integers(0, 99), size=PIECES)
    def something_happens(self, event: str, pick: int, choice: int, size: int) -> None:
        """One rule for all events, since hypothesis would leave whole rules out of most plays and few calls would
        get far; an event that cannot be just now is a turn of the loop.
        """
        getattr(self, event)(pick, choice, size)
        if choice % 2:
            self.world.run()

    # callers

    def caller_connects(self, pick: int, choice: int, size: int) -> None:
        if len(self.clients) < 3:
            self.clients.append(Peer(self.world.client()))

    def caller_sends(self, pick: int, choice: int, size: int) -> None:
        caller = one_of(pick, [each for each in self.clients if each.can_deliver])
        if caller is None:
            self.caller_connects(pick, choice, size)
            return
        request = REQUESTS[KINDS[choice % len(KINDS)]]
        request_id = b"r-%d" % next(self.numbers)
        caller.out += request % (b"X-Request-Id: " + request_id + b"\r\n")
        caller.ids.append(request_id)
        self.methods[request_id] = request.split(b" ")[0]
        caller.deliver(size)

    def more_of_the_request_comes(self, pick: int, choice: int, size: int) -> None:
        caller = one_of(pick, [each for each in self.clients if each.out and each.can_deliver])
        if caller is not None:
            caller.deliver(size)

    def caller_half_closes(self, pick: int, choice: int, size: int) -> None:
        caller = one_of(pick, [each for each in self.clients if each.can_deliver])
        if caller is not None:
            caller.has_ended = True
            caller.out.clear()
            caller.transport.end()

    def caller_is_lost(self, pick: int, choice: int, size: int) -> None:
        caller = one_of(pick, [each for each in self.clients if not each.transport.lost])
        if caller is not None:
            caller.was_cut = True
            caller.transport.lose(ConnectionResetError() if choice % 2 else None)
            self.clients.remove(caller)
            self.gone.append(caller)

    def caller_stops_or_resumes_reading(self, pick: int, choice: int, size: int) -> None:
        caller = one_of(pick, self.clients)
        if caller is not None:
            toggle(caller.transport)

    # upstreams

    def a_connect_ends(self, pick: int, choice: int, size: int) -> None:
        pool = one_of(pick, [each for each in self.world.pools if each.asked])
        if pool is None:
            return
        if choice % 5:
            transport = pool.connect()
            self.servers[transport] = Peer(transport)
        else:
            pool.fail()

    @property
    def live_servers(self) -> list[Peer]:
        return [server for server in self.servers.values() if server.can_deliver]

    def upstream_answers(self, pick: int, choice: int, size: int) -> None:
        asked = [each for each in self.live_servers if each.transport.protocol.exchange is not None]
        self.speak(one_of(pick, asked), ANSWERS[ANSWER_KINDS[choice % len(ANSWER_KINDS)]], size)

    def upstream_speaks_unasked_or_goes_on(self, pick: int, choice: int, size: int) -> None:
        self.speak(one_of(pick, self.live_servers), ANSWERS["ok"], size)

    def speak(self, server: Peer | None, answer: bytes, size: int) -> None:
        if server is None:
            return
        if not server.out:
            server.out += answer
        server.deliver(size)

    def upstream_ends(self, pick: int, choice: int, size: int) -> None:
        server = one_of(pick, self.live_servers)
        if server is not None:
            server.has_ended = server.was_cut = True
            server.transport.end()

    def upstream_resets(self, pick: int, choice: int, size: int) -> None:
        server = one_of(pick, self.live_servers)
        if server is not None:
            server.was_cut = True
            server.transport.lose(ConnectionResetError())

    def upstream_stops_or_resumes_reading(self, pick: int, choice: int, size: int) -> None:
        server = one_of(pick, self.live_servers)
        if server is not None:
            toggle(server.transport)

    # the rest of the world

    def a_step_has_waited(self, pick: int, choice: int, size: int) -> None:
        future = one_of(pick, [each for each in self.waiting if not each.done()])
        if future is None:
            return
        if choice % 4 == 0:
            future.set_result(Refusal("credential_invalid", reason="token_expired"))
        elif choice % 4 == 1:
            future.set_exception(RuntimeError("a store broke"))
        else:
            future.set_result(None)

    def time_passes(self, pick: int, choice: int, size: int) -> None:
        seconds = (0.01, 0.2, 0.2, 1.1, 1.1, 6.0, 12.0, 30.0)[pick]
        self.world.pass_time(seconds, step=min(0.5, seconds))
        for pool in self.world.pools:
            pool.reap(self.world.time())

    def the_worker_drains(self, pick: int, choice: int, size: int) -> None:
        if choice < 15:
            self.world.plane.drain()

    # what holds after every event

    @invariant()
    def books_agree(self) -> None:
        world = self.world
        assert world.plane.in_flight == world.plane.begun - len(world.calls) >= 0
        assert len({id(call) for call in world.calls}) == len(world.calls), "a call was recorded twice"
        assert all(target.in_flight >= 0 for target in world.balancer.targets)
        for pool in world.pools:
            alive = sum(not transport.lost for transport in pool.made)
            assert pool.open_count == alive + len(pool.asked)
            assert pool.open_count <= 3
            assert pool.idle_count <= 2
        assert max(self.releases.values(), default=0) <= 1
        recorded = {id(call) for call in world.calls}
        for call in self.released_calls:
            assert self.releases[call.request_id] == (id(call) in recorded)

    @invariant()
    def no_call_waits_for_ever(self) -> None:
        watched = {entry for slot in self.world.plane.wheel._slots.values() for entry in slot}
        for caller in self.clients:
            client = caller.transport.protocol
            exchange = client.exchange
            if client.deadline != NEVER:
                assert (client.wheel_at, client) in watched, "a deadline that nobody watches"
                assert client.wheel_at <= client.deadline + TICK_S
            if exchange is None:
                assert caller.transport.is_closing() or client.deadline != NEVER, (
                    "an idle connection without a deadline"
                )
                continue
            assert exchange.phase != DONE
            connecting = any(asker is exchange for pool in self.world.pools for asker in pool.asked)
            stepping = exchange._task is not None
            assert connecting or stepping or client.deadline != NEVER, (
                f"phase {exchange.phase} waits for nothing"
            )

    @invariant()
    def no_read_outlives_its_caller(self) -> None:
        for caller in self.gone:
            exchange = caller.transport.protocol.exchange
            assert exchange is None or exchange.call.method == b"POST", "W08: a read goes on for nobody"

    # the end of the play

    def teardown(self) -> None:
        try:
            self.end_the_play()
            self.check_the_end()
        finally:
            logging.getLogger("faregate.gateway").disabled = False
            close(self.world.loop, self.waiting)

    def end_the_play(self) -> None:
        """Every step gets its answer, every connect fails, and more time passes than anything may take."""
        world = self.world
        for number in range(4 + STEPS_MAX):
            if number >= 4 and not world.plane.in_flight:
                break  # each call of a pipeline begins, and may wait for a step, when the one before has ended
            world.run()
            for future in self.waiting:
                if not future.done():
                    future.set_result(None)
            world.run()
            for pool in world.pools:
                while pool.asked:
                    pool.fail("connect_timeout")
            world.pass_time(45.0, step=1.0)
        for caller in self.clients:
            if caller.transport.stuck:
                caller.transport.drain()
        world.run()

    def check_the_end(self) -> None:
        world = self.world
        assert world.plane.in_flight == 0
        assert len(world.calls) == world.plane.begun
        assert [target.in_flight for target in world.balancer.targets] == [0, 0]
        self.check_wires()
        for pool in world.pools:
            for transport in pool.made:
                transport.lose(None)
            assert pool.open_count == 0
        for caller in self.clients:
            caller.transport.lose(None)
        assert not world.plane.clients

    def check_wires(self) -> None:
        outcomes = {call.request_id: call for call in self.world.calls}
        sent: Counter[bytes] = Counter()
        for transport, server in self.servers.items():
            requests = read_requests(bytes(transport.written))
            for request in requests:
                sent[request.request_id] += 1
            for request in requests[:-1]:
                assert request.whole, "a request began behind one that was not whole"
            if requests and not requests[-1].whole:
                assert transport.aborted or server.was_cut, "a cut request that could pass for a whole one"
            for request in requests:
                if request.whole:
                    assert outcomes[request.request_id].outcome in {"answered", "unknown", "client_gone"}
        assert max(sent.values(), default=0) <= 1, "a request was sent twice"
        for request_id, call in outcomes.items():
            if call.outcome in {"answered", "unknown"}:
                assert sent[request_id] == 1, f"{call.outcome}, though nothing was sent"
            if call.outcome == "not_sent":
                assert sent[request_id] == 0
        for caller in (*self.clients, *self.gone):
            answers = read_answers(bytes(caller.transport.written), self.methods)
            for answer in answers:
                assert outcomes[answer.request_id].status == answer.status
            if answers and not answers[-1].whole:
                assert caller.transport.aborted or caller.was_cut, (
                    "a cut answer that could pass for a whole one"
                )
            ids = [answer.request_id for answer in answers if answer.request_id in caller.ids]
            assert ids == sorted(set(ids), key=caller.ids.index), "answers out of order, or one twice"


def close(loop: asyncio.AbstractEventLoop, futures: list[asyncio.Future[Refusal | None]]) -> None:
    """Leaves nothing behind, also after a failure."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True)) if tasks else None
    for future in futures:
        if future.done() and not future.cancelled():
            future.exception()  # its call had ended, nobody else asks
    loop.close()


def one_of(pick: int, items: list[T]) -> T | None:
    return items[pick % len(items)] if items else None


def toggle(transport: FakeTransport) -> None:
    if transport.lost:
        return
    if transport.stuck:
        transport.drain()
    elif not transport.closing:
        transport.stick()


ExchangeMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=STEPS_MAX, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyInterleaving = ExchangeMachine.TestCase
