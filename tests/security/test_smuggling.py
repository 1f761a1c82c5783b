"""No byte is read in two ways: damaged heads, tokens that lie, and pipelines whose pieces come at awkward moments."""

import asyncio
import base64
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization

from tests.conftest import Bench
from tests.support.client import RawClient, attempt, request
from tests.support.configuration import AUDIENCE, ISSUER, bearer, foreign_key, key_line, signing_key, token
from tests.support.script import Gate, Script, head
from tests.support.wire import _REQUEST_LINE, WireError, parse_head

DAMAGE = (b"\r", b"\n", b"\r\n", b"\x00", b"\t", b" ", b"\x7f", b"\x0b", b"\x85", b":", b"_", b",")
HIDDEN = b"GET /open/v1/smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"


def test_a_damaged_head_is_refused_or_passes_as_one_strict_request(bench: Bench) -> None:
    """P1: twelve kinds of bytes put in at every place of a head whose lines the gateway knows already. Whatever still passes is
    one request that a strict reader understands, by the consumer that a strict reader of the sent bytes finds."""
    whole = (
        b"GET /v2/payments/p1 HTTP/1.1\r\nHost: api.test\r\n%b\r\nContent-Length: 0\r\nX-A: b\r\n\r\n"
        % key_line("acme").encode()
    )

    counted: Counter[int] = Counter()

    async def play() -> list[str]:
        faults = []
        for place in range(len(whole)):
            for damage in DAMAGE:
                data = whole[:place] + damage + whole[place:]
                bench.upstream.requests = []
                result = await attempt(bench.address, data, finish=True, timeout_s=2)
                seen = bench.upstream.requests
                statuses = [answer.status for answer in result.answers]
                counted.update(statuses or [0])
                if (
                    result.error
                    or len(seen) != statuses.count(200)
                    or len(seen) > 1
                    or (seen and not _strict(data))
                ):
                    faults.append(f"{data!r}: {statuses} {result.error} {[one.head.raw for one in seen]}")
                elif seen and (
                    seen[0].header("x-consumer-id") != "acme" or b"acme" in _own_credential(seen[0].head.raw)
                ):
                    faults.append(f"{data!r}: {seen[0].head.raw!r}")
        return faults

    async def warm() -> None:
        async with RawClient(bench.address) as client:
            for _ in range(3):
                assert (await client.ask(whole)).status == 200

    asyncio.run(warm())
    assert asyncio.run(play()) == []
    assert counted[400] > 1000
    assert counted[200] > 30
    assert [connection.error for connection in bench.upstream.connections if connection.error] == []


def _own_credential(raw: bytes) -> bytes:
    return b"".join(
        line for line in raw.split(b"\r\n") if line.lower().startswith((b"x-api-key", b"authorization"))
    )


def _strict(data: bytes) -> bool:
    """Whether a reader without mercy finds a well-formed head at the start of ``data`` (one empty line ahead is allowed)."""
    start = data.removeprefix(b"\r\n")
    try:
        parse_head(start[: start.find(b"\r\n\r\n") + 4], _REQUEST_LINE)
    except WireError:
        return False
    return True


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Holds a worker still, so that what happens meanwhile reaches it in one look at its sockets."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("answer_first", [True, False])
def test_f31_a_body_that_comes_together_with_the_answer_before_it_stays_a_body(
    bench: Bench, answer_first: bool
) -> None:
    """The head of a pipelined POST waits; its body, which looks like a request, and the answer to the first request become
    readable in the same moment. The body must not be read ahead of its head."""
    (pid,) = bench.gateway.worker_pids()
    gate = Gate()
    bench.upstream.script("/open/v1/first", Script((gate, head(200, "Content-Length: 2") + b"ok")))

    async def play() -> list[int]:
        async with RawClient(bench.address) as client:
            await client.send(request("GET", "/open/v1/first"))
            await bench.upstream.awaits(
                lambda: bool(bench.upstream.of_path("/open/v1/first")), "the first request"
            )
            await client.send(
                request("POST", "/open/v1/second", f"X-Length: {len(HIDDEN)}", body=HIDDEN)[: -len(HIDDEN)]
            )
            await asyncio.sleep(0.05)  # the worker reads the head alone
            with stopped(pid):
                for step in ("answer", "body") if answer_first else ("body", "answer"):
                    if step == "answer":
                        gate.open()
                    else:
                        await client.send(HIDDEN)
                    await asyncio.sleep(0.05)  # the order in which the worker finds them
            answers = [await client.answer("GET"), await client.answer("POST")]
            assert await client.silent(0.05)
            return [answer.status for answer in answers if answer is not None]

    assert asyncio.run(play()) == [200, 200]
    assert [seen.target for seen in bench.upstream.requests] == ["/open/v1/first", "/open/v1/second"]
    assert bytes(bench.upstream.requests[1].body.data) == HIDDEN


def _encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def _forged(header: dict[str, object], key: bytes | None = None) -> str:
    claims = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "sub": "acme", "exp": 4_000_000_000}).encode()
    signed = f"{_encode(json.dumps(header).encode())}.{_encode(claims)}"
    if key is None:
        return f"{signed}."
    mac = hmac.HMAC(key, hashes.SHA256())
    mac.update(signed.encode())
    return f"{signed}.{_encode(mac.finalize())}"


def _liars() -> dict[str, list[str]]:
    good = token("acme")
    pem = signing_key().as_pem(private=False)
    der = serialization.load_pem_public_key(pem).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = json.dumps(signing_key().as_dict(private=False)).encode()
    head_, claims, _ = good.split(".")
    line = "Authorization: Bearer {}".format
    return {
        "j01 none": [line(_forged({"alg": "none"}))],
        "j01 nOnE": [line(_forged({"alg": "nOnE", "kid": "e2e-1"}))],
        "j02 hs256 pem": [line(_forged({"alg": "HS256", "kid": "e2e-1"}, pem))],
        "j02 hs256 der": [line(_forged({"alg": "HS256", "kid": "e2e-1"}, der))],
        "j02 hs256 jwk": [line(_forged({"alg": "HS256", "kid": "e2e-1"}, jwk))],
        "j03 no signature": [line(f"{head_}.{claims}.")],
        "j03 zero": [line(f"{head_}.{claims}.{_encode(bytes(64))}")],
        "j04 jwk inside": [line(_forged({"alg": "ES256", "jwk": foreign_key().as_dict(private=False)}, b"x"))],
        "j05 crit": [line(_forged({"alg": "ES256", "kid": "e2e-1", "crit": ["x"]}, b"x"))],
        "j06 path": [line(_forged({"alg": "HS256", "kid": "../../dev/null"}, b""[:0] or b"\x00"))],
        "foreign key": [line(token("acme", key=foreign_key()))],
        "j08 issuer": [line(token("acme", iss=ISSUER + "/"))],
        "j09 audience": [line(token("acme", aud="payment"))],
        "j10 expired": [line(token("acme", exp=1))],
        "j10 no exp": [line(token("acme", exp=None))],
        "j12 nested": [line(_encode(b'{"alg":' + b"[" * 4000) + ".e30.AA")],
        "j13 padding": [line(f"{good}=")],
        "j14 dots": [line("." * 4096)],
        "j15 two tokens": [line(f"{good}, {good}")],
        "j15 token and key": [line(good), key_line("acme")],
        "tab for blank": [f"Authorization: Bearer\t{good}"],
        "two blanks": [f"Authorization: Bearer  {good}"],
        "other scheme": [f"Authorization: Basic {good}"],
        "key as other scheme": [f"Authorization: ApiKey {key_line('acme').split(' ')[1]}"],
        "key and blank": [f"{key_line('acme')} x"],
        "key upper": [key_line("acme").upper()],
    }  # fmt: skip


def test_tokens_that_lie_get_one_and_the_same_answer_and_nothing_is_sent(bench: Bench) -> None:
    """http-rules.md section 6, live: each on a connection of its own, and again on one where a good token just passed."""
    good = request("GET", "/v2/payments/p1", bearer("acme"))

    async def play() -> dict[str, list[object]]:
        told: dict[str, list[object]] = {}
        for name, lines in _liars().items():
            bad = request("GET", "/v2/payments/liar", *lines)
            async with RawClient(bench.address) as client:
                answers = [await client.ask(bad)]
            async with RawClient(bench.address) as client:
                assert (await client.ask(good)).status == 200
                answers.append(await client.ask(bad))
            told[name] = [
                (answer.status, answer.code, answer.header("www-authenticate")) for answer in answers
            ]
        return told

    told = asyncio.run(play())
    invalid = (401, "credential_invalid", 'Bearer realm="faregate", error="invalid_token"')
    missing = (401, "credential_missing", 'Bearer realm="faregate"')
    no_credential = {"tab for blank", "other scheme", "key as other scheme"}
    assert told == {name: [missing if name in no_credential else invalid] * 2 for name in told}
    assert bench.upstream.of_path("/v2/payments/liar") == []


def test_two_authorization_lines_are_refused_in_every_order(bench: Bench) -> None:
    """F17, J15: also equal ones, an empty one, and one in another letter case."""

    async def play() -> set[tuple[int, bool]]:
        good, result = bearer("acme"), set()
        for lines in (
            [good, good],
            [good, "Authorization:"],
            ["authorization:", good],
            [good, good.swapcase()],
            ["AUTHORIZATION: Basic eDp5", good],
        ):
            ended = await attempt(bench.address, request("GET", "/v2/payments/p1", *lines))
            result.add((ended.status, ended.closed))
        for lines in (
            [key_line("acme")] * 2,
            [key_line("acme"), "x-api-key:"],
            ["X-Api-Key:", key_line("acme")],
        ):
            ended = await attempt(bench.address, request("GET", "/v2/payments/p1", *lines))
            result.add((ended.status, ended.closed))
        return result

    assert asyncio.run(play()) == {(400, True)}
    assert bench.upstream.requests == []
