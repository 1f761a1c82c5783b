"""The scenario `front`: what it sends is what it says, and h2load's words are read rightly."""

import ssl
from pathlib import Path

import pytest
from benchmarks.calls import payment_calls
from benchmarks.contenders.base import LIMIT_SECOND
from benchmarks.front import BODY_BYTES, body_calls, closing, make_certificate, variants
from benchmarks.load import LoadError, parse_h2load
from benchmarks.peers import CONTENDERS

H2LOAD = """\
finished in 1.25s, 2400.00 req/s, 1.2MB/s
requests: 3000 total, 3000 started, 3000 done, {good} succeeded, {bad} failed, 0 errored, 0 timeout
status codes: {good} 2xx, 0 3xx, {bad} 4xx, 0 5xx
"""


def test_h2loads_words_are_read() -> None:
    result = parse_h2load(H2LOAD.format(good=3000, bad=0))
    assert (result.calls, result.errors, result.duration_us) == (3000, 0, 1_250_000)
    assert parse_h2load(H2LOAD.format(good=2904, bad=96)).errors == 96


@pytest.mark.parametrize("output", ["", "no such host", H2LOAD.format(good=0, bad=3000)])
def test_a_load_without_an_answer_is_no_result(output: str) -> None:
    with pytest.raises(LoadError):
        parse_h2load(output)


def test_large_bodies_have_the_size_that_is_told() -> None:
    head, _, body = body_calls(["token"], 1, up=True)[0].partition(b"\r\n\r\n")
    assert len(body) == BODY_BYTES
    assert f"Content-Length: {BODY_BYTES}".encode() in head
    (asked,) = body_calls(["token"], 1, up=False)
    assert asked.startswith(b"GET /v2/payments/large ")


def test_a_call_of_its_own_connection_says_so_once() -> None:
    for call in closing(payment_calls(["token"], 4, 0)):
        assert call.count(b"Connection: close\r\n") == 1
        assert call.index(b"Connection: close") < call.index(b"\r\n\r\n")


def test_variants_differ_in_what_they_listen_by_and_in_far_limits() -> None:
    for tls in (False, True):
        for kind in variants(tuple(CONTENDERS), tls=tls):
            assert kind.tls is tls
            assert kind.limit_second > 1000 * LIMIT_SECOND
    assert not CONTENDERS["faregate"].tls


def test_the_certificate_loads_with_its_key_and_is_its_owners(tmp_path: Path) -> None:
    path = make_certificate(tmp_path / "front.pem")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(path)
    assert path.stat().st_mode & 0o077 == 0
