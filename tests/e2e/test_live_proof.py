"""Reloads, upgrades and killed workers under callers of every protocol at once: no call is lost or doubled.

HTTP/1.1 with and without TLS, HTTP/2 with several calls in flight on a connection, WebSockets. ``FAREGATE_PROOF=long`` is the form that
the promise is made for: 20 of each, 500 calls a second, 20 WebSockets.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from jh2.connection import H2Connection

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.configuration import write as write_configuration
from tests.support.gateway import until
from tests.support.ledger import Entry, LedgerUpstream
from tests.support.live import KeepAlive, LiveGateway, Sockets, drive
from tests.support.live_accounts import (
    Callers,
    Cut,
    Done,
    Kill,
    Way,
    disagreements,
    kill_worker,
    unexplained,
)
from tests.support.live_http2 import Http2KeepAlive, Link, Stream
from tests.support.ports import free_ports
from tests.support.tls_client import plain_context
from tests.support.websocket import Crowd, EchoServer

LONG = os.environ.get("FAREGATE_PROOF") == "long"
TIMES, RATE = (20, 500) if LONG else (3, 200)
WEBSOCKETS = 20


@dataclass
class Place:
    gateway: LiveGateway
    tls_port: int
    upstream: LedgerUpstream

    def everyone(self, name: str, *, killing: bool = False) -> tuple[list[Callers], Sockets]:
        """Callers of one phase: half of the calls by HTTP/2, a quarter by HTTP/1.1 with TLS, a quarter without."""
        plain, tls = self.gateway.address, ("127.0.0.1", self.tls_port)
        both = plain_context()
        both.set_alpn_protocols(["h2", "http/1.1"])
        old = plain_context()
        old.set_alpn_protocols(["http/1.1"])
        crowd = Crowd(plain, "/public/v1/echo", WEBSOCKETS, pause_s=0.1, may_break=killing)
        return [
            KeepAlive(plain, 20, RATE / 4, f"{name}-plain", killing=killing),
            KeepAlive(tls, 20, RATE / 4, f"{name}-tls", killing=killing, tls=old),
            Http2KeepAlive(tls, 10, RATE / 2, f"{name}-h2", killing=killing, tls=both),
        ], Sockets(crowd)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    issued = Authority().issue("CN=api", dns=("api.test",), client=False)
    issued.write(tmp_path / "certs", "api")
    (tls_port,) = free_ports(1)

    def tree(port: int, manager: int) -> Tree:
        made = base(port, manager, upstream.url, workers=2)
        tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
        listen: list[object] = [
            {"address": f"127.0.0.1:{port}"},
            {"address": f"127.0.0.1:{tls_port}", "tls": tls},
        ]
        made = changed(made, "gateway", "listen", to=listen)  # type: ignore[arg-type]
        made = changed(made, "upstreams", "echo", to={"targets": [echo.url]})
        public = {
            "upstream": "echo",
            "authenticate": [],
            "versions": {"v1": {"path": "/public/v1"}},
            "routes": [{"match": "GET /echo", "upgrade": "websocket"}],
        }
        return changed(made, "apis", "public", to=public)  # type: ignore[arg-type]

    with LedgerUpstream() as upstream, EchoServer() as echo:
        gateway = LiveGateway(tmp_path, tree)
        gateway.launch()
        try:
            gateway.wait_ready()
            until((tmp_path / "data" / "control").exists, "the control socket")
            yield Place(gateway, tls_port, upstream)
        finally:
            gateway.kill()


def agreed(place: Place, callers: list[Callers], kills: list[Kill]) -> None:
    """The records of callers, upstream and access log say the same, once the log is complete."""
    log, entries = place.gateway.log, place.upstream.entries

    def found() -> list[str]:
        lines = log.read()
        return [line for caller in callers for line in disagreements(caller, entries, lines, kills)]

    try:
        until(lambda: not found(), "agreement", 10)
    except AssertionError:
        assert found()[:10] == []


def tell(name: str, callers: list[Callers], sockets: Sockets) -> None:
    times = [done.ended for caller in callers for done in caller.done.values()]
    rate = len(times) / (max(times) - min(times))
    more = [
        f"{caller.goaways} GOAWAYs, {caller.given_back} calls given back"
        for caller in callers
        if isinstance(caller, Http2KeepAlive)
    ]
    print(
        f"\n{TIMES} of {name}: calls", ", ".join(f"{caller.prefix} {caller.calls}" for caller in callers),
        f"on {sum(caller.reconnects for caller in callers)} connections; {len(sockets.crowd.talks)} WebSockets,",
        f"{sockets.crowd.echoed} echoes; {rate:.0f} calls a second;", *more,
    )  # fmt: skip


def unharmed(place: Place, callers: list[Callers], sockets: Sockets) -> None:
    """Nothing was refused, cut, lost or doubled."""
    for caller in callers:
        assert caller.faults() == [], caller.faults()[:10]
        assert caller.doubled(place.upstream.entries) == []
        assert caller.ended == caller.calls
    assert sockets.faults() == []
    agreed(place, callers, [])


@pytest.mark.proof
@pytest.mark.paired
@pytest.mark.timeout(1200)
def test_no_call_is_lost_by_reloads_and_no_connection_ended(place: Place) -> None:
    callers, sockets = place.everyone("reload")
    gateway = place.gateway

    def reload() -> None:
        for number in range(TIMES):
            tree = changed(gateway.tree, "apis", f"more{number}", to=public_api("main", f"/more{number}"))
            write_configuration(gateway.folder, tree)
            gateway.told("reload")

    drive(reload, *callers, sockets)
    tell("reload", callers, sockets)
    unharmed(place, callers, sockets)
    assert sum(caller.reconnects for caller in callers) == sum(caller.connections for caller in callers)
    assert len(sockets.crowd.talks) == WEBSOCKETS, "a reload ends no WebSocket that it does not concern"
    gateway.stop()


@pytest.mark.proof
@pytest.mark.paired
@pytest.mark.timeout(1200)
def test_no_call_is_lost_by_upgrades(place: Place) -> None:
    callers, sockets = place.everyone("upgrade")
    gateway = place.gateway

    def upgrade() -> None:
        for _ in range(TIMES):
            before = gateway.supervisor
            assert gateway.told("upgrade")["pid"] != before

    drive(upgrade, *callers, sockets)
    tell("upgrade", callers, sockets)
    unharmed(place, callers, sockets)
    codes = [talk.code for talk in sockets.crowd.talks]
    assert set(codes) <= {0, 1001}, "0: closed by the caller at the end"
    assert codes.count(1001) >= WEBSOCKETS * TIMES / 2, "each upgrade ends those of the former version"
    gateway.stop()


@pytest.mark.proof
@pytest.mark.paired
@pytest.mark.timeout(1200)
def test_a_killed_worker_takes_the_calls_in_flight_in_it_along_and_no_others(place: Place) -> None:
    callers, sockets = place.everyone("kill", killing=True)
    gateway = place.gateway
    kills: list[Kill] = []

    def kill() -> None:
        killed: set[int] = set()
        for number in range(TIMES):
            pid = gateway.workers()[number % 2]
            kills.append(kill_worker(pid, (gateway.port, place.tls_port)))
            killed.add(pid)
            until(lambda: len({*gateway.workers()} - killed) == 2, "the replacement", 10)

    drive(kill, *callers, sockets)
    tell("kill", callers, sockets)
    cuts = [cut for caller in callers for cut in caller.cut]
    held = sum(len(one.ports) for one in kills)
    print(
        f"{held} connections held by the killed; {sum(bool(cut.name) for cut in cuts)} calls cut,",
        f"{sum(not cut.name for cut in cuts)} handshakes, {len(sockets.broken)} WebSockets;",
        f"seen {max(_late(kills, cuts + sockets.broken), default=0) * 1000:.0f} ms after the death at the latest",
    )
    entries = place.upstream.entries
    arrived = sum(cut.name in entries for cut in cuts)
    begun = sum(
        bool(cut.name) and any(one.at < cut.wrote for one in kills if one.explains(cut)) for cut in cuts
    )
    print(
        f"of the calls cut {arrived} had reached the upstream; {begun} were begun after the signal, before its sockets were closed or seen to be"
    )
    for caller in callers:
        assert caller.faults() == [], caller.faults()[:10]
        assert caller.doubled(place.upstream.entries) == []
        assert caller.ended + len(caller.cut_calls) == caller.calls
    assert sockets.faults() == []
    assert unexplained(cuts + sockets.broken, kills) == []
    # three kills may all come between two calls; twenty do not
    assert cuts or not LONG, "nothing was in flight in the workers that were killed"
    assert sockets.broken
    agreed(place, callers, kills)
    logged = {line["request_id"] for line in gateway.log.lines}
    unlogged = sum(name not in logged for caller in callers for name in caller.done)
    print(f"{unlogged} lines of answered calls died with their worker")
    gateway.stop()


def _late(kills: list[Kill], cuts: list[Cut]) -> list[float]:
    return [min(abs(cut.seen - one.gone) for one in kills) for cut in cuts]


@pytest.mark.parametrize(
    ("entry", "outcomes", "state", "complaint"),
    [
        (Entry(1, 1), ["answered"], "done", ""),
        (Entry(1, 1), [], "done", "not logged"),
        (Entry(2, 2), ["answered"], "done", "doubled"),
        (Entry(1, 0, 1), ["answered"], "done", "doubled"),
        (Entry(1, 1), ["answered", "answered"], "done", "doubled"),
        (Entry(), ["answered"], "done", "not by the upstream"),
        (Entry(1, 1), ["unknown"], "done", "answered"),
        (Entry(1, 1), ["answered"], "", "neither"),
        (Entry(1, 1), [], "cut", ""),
        (Entry(), [], "cut", ""),
        (Entry(), ["not_sent"], "cut", ""),
        (Entry(1, 0), ["unknown"], "cut", ""),
        (Entry(2, 1), [], "cut", "doubled"),
        (Entry(1, 1), ["not_sent"], "cut", "untrue"),
        (Entry(), ["answered"], "cut", "untrue"),
        (Entry(1, 1), [], "late", "gone"),
        (Entry(1, 1), ["answered"], "both", "both"),
    ],
)
def test_the_accounts_notice_what_does_not_agree(
    entry: Entry, outcomes: list[str], state: str, complaint: str
) -> None:
    callers = Callers(("", 0), 1, 1, "c", calls=1)
    kills = [Kill(1, frozenset({7}), 10.0, 10.1, 10.2)]
    if state in {"done", "both"}:
        callers.done["c-1"] = Done(7, 1.0, 5.0, 5.1)
    if state in {"cut", "late", "both"}:
        callers.cut.append(Cut("c-1", 7, 1.0, 10.0 if state == "cut" else 10.3, 10.35))
    lines = [{"request_id": "c-1", "outcome": each, "status": 200} for each in outcomes]
    found = disagreements(callers, {"c-1": entry} if entry.heads else {}, lines, kills)
    assert [bool(found), complaint in "".join(found)] == [bool(complaint), True], found


@pytest.mark.parametrize(
    ("cut", "explained"),
    [
        (Cut("c-1", 7, 1.0, 10.0, 10.2), True),
        (Cut("c-1", 8, 1.0, 10.0, 10.2), False),  # another worker's connection
        (Cut("c-1", 8, 10.05, 10.06, 10.2), True),  # taken between the look and the death
        (Cut("c-1", 7, 1.0, 10.0, 10.05), False),  # ended before the kill
        (Cut("c-1", 7, 1.0, 12.0, 12.1), False),  # long after it
    ],
)
def test_a_kill_explains_the_ends_of_what_it_held_then(cut: Cut, explained: bool) -> None:
    assert (unexplained([cut], [Kill(1, frozenset({7}), 10.0, 10.1, 10.2)]) == []) is explained


def test_streams_above_the_last_of_a_goaway_are_sent_again_and_those_below_waited_for() -> None:
    callers = Http2KeepAlive(("", 0), 1, 1)
    streams = {number: Stream(f"live-{number}", 0.0) for number in (1, 3, 5)}
    link = Link(cast("Way", None), H2Connection(), streams)
    link.held += b"\0\0\x08\x07\0\0\0\0\0" + (3).to_bytes(4, "big") + (0).to_bytes(4, "big")
    callers.take(link)
    assert (list(link.streams), list(callers.again), link.leaving) == ([1, 3], ["live-5"], True)
    assert callers.faults() == []
