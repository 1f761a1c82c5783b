"""What the admin API takes of a body: how long, of whom, how many at once, how deep."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from faregate.manager.admin import bounds
from faregate.manager.admin.bounds import UNPROVEN_BYTES_MAX, Bounds
from tests.manager.conftest import InHouse
from tests.manager.house import House

LONG = b'{"sections": {}, "reason": "%b"}' % (b"x" * UNPROVEN_BYTES_MAX)
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        (b"[" * 65, 65),
        (b"[" * 65 + b"]" * 65, 65),
        (b"[]" * 65, 1),
        (b'{"a":' * 40 + b"[" * 30, 70),
        (b'["' + b"[" * 70 + b'"]', 1),
        (b'["\\"' + b"[" * 70 + b'"]', 1),
        (b'["\\\\"' + b"[" * 70, 71),
        (b'["\\\\\\"' + b"[" * 70 + b'"]', 1),
        (b"[" * 65 + b'"\\', 65),
        (b"[" * 65 + b'\\"' * 20, 65),
        (b"[" * 64, 0),
    ],
)
def test_depth_is_that_of_brackets_outside_of_texts(body: bytes, depth: int) -> None:
    assert bounds._depth(body) == depth


def test_depth_goes_on_over_the_pieces_of_a_long_body() -> None:
    text = b'"' + b"[" * bounds._PIECE_BYTES + b'"'
    assert bounds._depth(b"[" * 40 + text + b',{"a":' * 40) == 80


def test_no_body_takes_longer_than_its_length() -> None:
    began = time.process_time()
    assert bounds._depth(b"[" * 65 + b'\\"' * 20_000) == 65
    assert time.process_time() - began < 2  # a search that begins anew at each quote takes longer


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 413, "body_too_large"),
        ({"Authorization": "Bearer fgm_nobody"}, 401, "credential_invalid"),
        ({"Authorization": "Basic eA=="}, 401, "credential_invalid"),
        ({"Cookie": "__Host-faregate=fgs_nobody"}, 401, "credential_invalid"),
    ],
)
@pytest.mark.parametrize("framed", [True, False])
def test_a_long_body_is_not_read_of_who_is_not_proven(
    in_house: InHouse, headers: dict[str, str], status: int, code: str, framed: bool
) -> None:
    async def test(house: House) -> None:
        read = 0

        async def parts() -> AsyncIterator[bytes]:
            nonlocal read
            for start in range(0, 1 << 20, 16 << 10):
                read = start + (16 << 10)
                yield b" " * (16 << 10)

        more = {"Content-Length": str(1 << 20)} if framed else {}
        for path in ("/sessions", "/tools/check"):
            told = await house.anybody.post(path, content=parts(), headers={**JSON, **headers, **more})
            assert (told.status_code, told.json()["code"]) == (status, code), told.text
            assert read <= (0 if framed else UNPROVEN_BYTES_MAX + (16 << 10))
            read = 0

    in_house(test)


def test_who_is_proven_may_send_a_long_body_and_anybody_a_short_one(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        told = await house.client.put("/config", content=LONG, headers=JSON)
        assert told.status_code == 422, told.text  # the reason is too long
        assert told.json()["code"] == "validation_failed"
        short = await house.anybody.post("/sessions", content=b"{}", headers=JSON)
        assert short.status_code == 422

    in_house(test)


class _Body:
    """What a server tells of a request whose body comes in these parts."""

    def __init__(self, parts: Sequence[bytes], gone: bool = False) -> None:
        self._parts = list(parts)
        self._gone = gone
        self.taken = 0

    async def receive(self) -> dict[str, Any]:
        if self.taken == len(self._parts):
            assert self._gone
            return {"type": "http.disconnect"}
        self.taken += 1
        last = self.taken == len(self._parts) and not self._gone
        return {"type": "http.request", "body": self._parts[self.taken - 1], "more_body": not last}


class _Sent:
    def __init__(self) -> None:
        self.start: dict[str, Any] = {}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.start = message


def _scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "method": "PUT", "headers": [(b"content-type", b"application/json"), *headers]}


async def _never(*_: Any) -> None:
    raise AssertionError("nothing of it is for the application")


def test_a_head_that_tells_too_much_is_refused_before_the_body_comes() -> None:
    body, sent = _Body([b"x"]), _Sent()
    scope = _scope((b"content-length", b"%d" % (UNPROVEN_BYTES_MAX + 1)))
    asyncio.run(Bounds(_never)(scope, body.receive, sent.send))
    assert (sent.start["status"], body.taken) == (413, 0)


def test_bodies_at_one_moment_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HELD_BYTES_MAX", 100)
    statuses: list[int] = []

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if not statuses:  # while the first is at work another one comes
            statuses.append(0)
            for size in (41, 40):
                other = _Sent()
                await here(_scope(), _Body([b"0" + b" " * 19, b" " * (size - 20)]).receive, other.send)
                statuses.append(other.start["status"])
                assert (size == 41) == ((b"retry-after", b"1") in other.start["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    here = Bounds(answering)

    async def test() -> None:
        for _ in range(2):
            sent = _Sent()
            await here(_scope(), _Body([b"0" + b" " * 59]).receive, sent.send)
            assert sent.start["status"] == 200

    asyncio.run(test())
    assert statuses == [0, 503, 200]


def test_what_came_of_a_caller_who_left_is_no_body() -> None:
    sent = _Sent()
    asyncio.run(Bounds(_never)(_scope(), _Body([b"{}"], gone=True).receive, sent.send))
    assert sent.start == {}


@pytest.mark.parametrize(
    "body",
    [
        b'{"spec": {"concurrency": 1}, "spec": {}}',
        b'{"spec": {"concurrency": NaN}}',
        b'{"spec": {"concurrency": 1e999}}',
        b'{"spec": {"limits": "\\ud800"}}',
        b'\xef\xbb\xbf{"spec": {}}',
        b'{"spec": {}} {}',
    ],
)
def test_a_body_has_one_reading(in_house: InHouse, body: bytes) -> None:
    async def test(house: House) -> None:
        told = await house.client.put("/plans/gold", content=body, headers={**JSON, "If-None-Match": "*"})
        assert (told.status_code, told.json()["code"]) == (400, "malformed_request"), told.text

    in_house(test)
