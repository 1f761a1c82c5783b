"""http-rules.md section 5, upstreams: verified by default, by name and authority; a failed handshake has sent nothing."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.client import Answer, RawClient, ask, request
from tests.support.configuration import Tree, Value, base, changed, public_api
from tests.support.gateway import GatewayProcess, until
from tests.support.script import Cut, Gate, head, in_chunks, raw, until_close
from tests.support.tls_front import Authority, TlsFront
from tests.support.upstream import RecordedRequest, RecordingUpstream

OTHER_NAME = "bank.test"


@dataclass
class Chain:
    gateway: GatewayProcess
    upstream: RecordingUpstream
    fronts: dict[str, TlsFront]
    authority: Authority
    folder: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    folder = tmp_path_factory.mktemp("tls")
    ours, foreign = Authority(folder / "ours"), Authority(folder / "foreign", "another CA")
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def front(
            file: str, *names: str, of: Authority = ours, days: int = 30, **settings: object
        ) -> TlsFront:
            started = 60 if days < 0 else 1
            pair = of.issue(file, *names, days=days, started_days_ago=started)
            return stack.enter_context(TlsFront(upstream.address, pair, **settings))  # type: ignore[arg-type]

        client = ours.issue("client", client=True)
        fronts = {
            "good": front("good", "127.0.0.1"),
            "named": front("named", OTHER_NAME),
            "wrong_name": front("wrong", OTHER_NAME),
            "foreign": front("foreign", "127.0.0.1", of=foreign),
            "expired": front("expired", "127.0.0.1", days=-5),
            "unverified": front("unverified", OTHER_NAME, of=foreign),
            "mutual": front("mutual", "127.0.0.1", client_ca=ours.ca),
            "unproven": front("unproven", "127.0.0.1", client_ca=ours.ca, versions=(ssl.TLSVersion.TLSv1_2,)),
            "system": front("system", "127.0.0.1"),
            "changing": front("changing", "127.0.0.1"),
            "leaving": front("leaving", "127.0.0.1"),
        }
        tls: dict[str, dict[str, Value]] = {name: {"ca": str(ours.ca)} for name in fronts}
        tls["named"]["server_name"] = OTHER_NAME
        tls["unverified"] = {"verify": False}
        tls["mutual"] |= {"certificate": str(client.chain), "key": str(client.key)}
        changing = folder / "changing-ca.pem"
        changing.write_bytes(ours.ca.read_bytes())
        tls["changing"] = {"ca": str(changing)}
        del tls["system"]

        def make(port: int, manager_port: int) -> Tree:
            tree = base(port, manager_port, upstream.url)
            for name, place in fronts.items():
                settings: dict[str, Value] = {"targets": [place.url], "health": {"breaker": "off"}}
                if name in tls:
                    settings["tls"] = tls[name]  # type: ignore[assignment]
                tree = changed(tree, "upstreams", name, to=settings)
                tree = changed(tree, "apis", name, to=public_api(name, f"/{name}/v1"))
            mixed: dict[str, Value] = {
                "targets": [fronts["foreign"].url, fronts["good"].url],
                "balance": "round_robin",
                "health": {"passive": "off", "breaker": "off"},
                "tls": {"ca": str(ours.ca)},
            }
            tree = changed(tree, "upstreams", "mixed", to=mixed)
            for name in ("good", "foreign"):
                probed: dict[str, Value] = {
                    "targets": [fronts[name].url],
                    "tls": {"ca": str(ours.ca)},
                    "health": {"active": {"path": "/healthz", "every": "100ms", "unhealthy_after": 1}},
                }
                tree = changed(tree, "upstreams", f"{name}_probed", to=probed)
                tree = changed(
                    tree, "apis", f"{name}_probed", to=public_api(f"{name}_probed", f"/{name}-probed/v1")
                )
            return changed(tree, "apis", "mixed", to=public_api("mixed", "/mixed/v1"))

        gateway = stack.enter_context(GatewayProcess(folder / "gateway", make))
        yield Chain(gateway, upstream, fronts, ours, folder)


@pytest.fixture
def chain(running: Chain) -> Chain:
    running.upstream.clear()
    for front in running.fronts.values():
        front.ragged = False
    return running


def call(chain: Chain, api: str, method: str = "POST", path: str = "t") -> Answer:
    body = b"{}" if method == "POST" else b""
    return asyncio.run(ask(chain.gateway.address, request(method, f"/{api}/v1/{path}", body=body)))


def received(chain: Chain) -> list[RecordedRequest]:
    """What came upstream, the checks of others apart."""
    return [request for request in chain.upstream.requests if request.path != "/healthz"]


def line_of(chain: Chain, answer: Answer) -> dict[str, object]:
    return chain.gateway.log.of(answer.request_id)


@pytest.mark.parametrize("name", ["good", "named", "unverified", "mutual"])
def test_a_proven_server_gets_the_call(chain: Chain, name: str) -> None:
    answer = call(chain, name)
    assert answer.status == 200, line_of(chain, answer)
    assert len(received(chain)) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong_name", "upstream_tls_wrong_name"),
        ("foreign", "upstream_tls_untrusted"),
        ("system", "upstream_tls_untrusted"),
        ("expired", "upstream_tls_expired"),
        ("unproven", "upstream_tls_cut"),
    ],
)
def test_a_server_that_cannot_prove_itself_or_refuses_us_gets_nothing(
    chain: Chain, name: str, reason: str
) -> None:
    answer = call(chain, name)
    assert (answer.status, answer.code, answer.problem["outcome"]) == (
        502,
        "upstream_unreachable",
        "not_sent",
    )
    line = line_of(chain, answer)
    assert line["outcome"] == "not_sent"
    # Who asked for our certificate may say why it leaves, or just leave.
    assert str(line["reason"]).replace("handshake", "cut") == reason
    assert received(chain) == []


def test_the_configured_name_is_asked_for_and_an_address_asks_for_none(chain: Chain) -> None:
    call(chain, "named")
    call(chain, "good")
    assert set(chain.fronts["named"].names) == {OTHER_NAME}
    assert set(chain.fronts["good"].names) <= {None}


def test_our_own_certificate_is_shown_where_one_is_configured(chain: Chain) -> None:
    call(chain, "mutual")
    assert chain.fronts["mutual"].subjects[-1] is not None
    assert not any(chain.fronts["good"].subjects)


def test_w14_a_failed_handshake_goes_to_another_target(chain: Chain) -> None:
    answers = [call(chain, "mixed") for _ in range(6)]
    assert {answer.status for answer in answers} == {200}
    assert {line_of(chain, answer)["attempts"] for answer in answers} == {1, 2}
    assert len(received(chain)) == 6


def test_connections_are_kept_and_used_again(chain: Chain) -> None:
    call(chain, "named")
    before = chain.fronts["named"].handshakes
    for _ in range(5):
        assert call(chain, "named").status == 200
    assert chain.fronts["named"].handshakes == before


@pytest.mark.parametrize("ragged", [False, True], ids=["close_notify", "cut"])
def test_w11_a_body_that_ends_by_close_needs_close_notify(chain: Chain, ragged: bool) -> None:
    chain.upstream.script("/good/v1/close", until_close(b"paid"))
    chain.fronts["good"].ragged = ragged
    answer = call(chain, "good", path="close")
    assert bytes(answer.body.data) == b"paid"
    assert answer.body.complete is not ragged
    line = line_of(chain, answer)
    assert line["outcome"] == ("unknown" if ragged else "answered")


def test_w11_an_answer_cut_inside_shows(chain: Chain) -> None:
    chain.upstream.script("/good/v1/cut", raw(head(200, "Content-Length: 10") + b"1234", Cut()))
    answer = call(chain, "good", path="cut")
    assert not answer.body.complete
    assert line_of(chain, answer)["outcome"] == "unknown"


def test_an_idle_connection_that_the_server_closed_is_not_lent(chain: Chain) -> None:
    for _ in range(5):
        chain.upstream.script("/leaving/v1/bye", raw(head(200, "Content-Length: 2") + b"{}", Cut()))
        assert call(chain, "leaving", path="bye").status == 200
        until(lambda: chain.fronts["leaving"].live == 0, "the server's end of the connection")
        chain.upstream.clear()
        answer = call(chain, "leaving", path="bye")
        assert answer.status == 200, line_of(chain, answer)


def test_large_bodies_stream_both_ways(chain: Chain) -> None:
    pieces = tuple(bytes([65 + number]) * 50_000 for number in range(6))
    chain.upstream.script("/good/v1/large", in_chunks(*pieces))
    body = bytes(range(256)) * 2000
    answer = asyncio.run(ask(chain.gateway.address, request("POST", "/good/v1/large", body=body)))
    assert bytes(answer.body.data) == b"".join(pieces)
    assert bytes(received(chain)[-1].body.data) == body


def test_w06_an_early_answer_ends_the_tls_connection(chain: Chain) -> None:
    gate = Gate()
    chain.upstream.script("/good/v1/early", raw(head(403, "Content-Length: 0"), gate, early=True))
    sent = b"POST /good/v1/early HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 4096

    async def play() -> int:
        async with RawClient(chain.gateway.address) as client:
            return (await client.ask(sent, "POST")).status

    try:
        assert asyncio.run(play()) == 403
        chain.upstream.wait(lambda: not received(chain)[-1].complete, "the cut request")
    finally:
        gate.open()


def test_a_file_that_changes_is_read_again_and_one_that_breaks_leaves_the_former(chain: Chain) -> None:
    file = chain.folder / "changing-ca.pem"
    good = file.read_bytes()
    assert call(chain, "changing").status == 200
    file.write_text("no certificate", encoding="utf-8")
    until(lambda: "cannot be used" in chain.gateway.stderr, "the broken file to be noticed")
    assert call(chain, "changing").status == 200
    file.write_bytes((chain.folder / "foreign" / "ca.pem").read_bytes())
    until(lambda: call(chain, "changing").status == 502, "the other authority to hold")
    file.write_bytes(good)
    until(lambda: call(chain, "changing").status == 200, "the first authority to hold again")


def test_active_checks_speak_tls_and_verify_likewise(chain: Chain) -> None:
    until(lambda: call(chain, "foreign-probed").status == 503, "the unproven target to be found unhealthy")
    assert call(chain, "foreign-probed").code == "no_healthy_target"
    chain.upstream.wait(lambda: bool(chain.upstream.of_path("/healthz")), "a check by TLS")
    assert call(chain, "good-probed").status == 200
    assert "check_tls_untrusted" in chain.gateway.stderr


def test_an_upstream_that_is_not_verified_shows_in_the_metrics(chain: Chain) -> None:
    assert chain.gateway.metric("faregate_upstream_unverified", upstream="unverified") == 1
    assert chain.gateway.metric("faregate_upstream_unverified", upstream="good") == 0
