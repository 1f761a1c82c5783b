"""The rebuilt head: what is ours to say replaces what the caller said (W01-W04, SPEC section 3 "Headers to the upstream")."""

import ipaddress
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.http1.request import Fields, parse_fields
from faregate.gateway.outbound import address_behind, hash_key, is_trusted
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from tests.gateway.fakes import World, default_routes, identify, make_route

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: api.test\r\n%b\r\n"


def fields_of(head: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (name.lower(), value)
        for name, _, value in (line.partition(b": ") for line in head[:-4].split(b"\r\n")[1:])
    ]


def one(head: bytes, name: bytes) -> bytes | None:
    values = [value for key, value in fields_of(head) if key == name]
    assert len(values) <= 1, values
    return values[0] if values else None


def sent(
    extra: bytes = b"",
    *,
    peer: str = "203.0.113.9",
    routes=default_routes,
    trusted: tuple[str, ...] = ("10.0.0.0/8",),
) -> bytes:
    with World(routes, trusted=trusted) as world:
        return world.exchange_bytes(GET % extra, client=world.client(peer))[0]


def test_the_whole_head_of_a_plain_call() -> None:
    head = sent(
        b"Accept: */*\r\nX-Request-Id: r1\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n"
    )
    head = re.sub(rb"80319c-[0-9a-f]{16}", b"80319c-SPAN", head)
    assert head == (
        b"GET /v1/payments/p1 HTTP/1.1\r\nHost: api.test\r\nAccept: */*\r\nX-Request-Id: r1\r\n"
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-SPAN-00\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: api.test\r\nX-Request-Deadline: 60000\r\nX-Api-Version: v1\r\nVia: 1.1 faregate-test\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"X-Consumer-Id: forged", b"x-consumer-id"),
        (b"x-consumer-plan: gold", b"x-consumer-plan"),
        (b"X-CONSUMER-ANYTHING: x", b"x-consumer-anything"),
        (b"X-Credential-Id: x", b"x-credential-id"),
        (b"Forwarded: for=1.2.3.4", b"forwarded"),
        (b"X-Real-IP: 1.2.3.4", b"x-real-ip"),
        (b"X-Forwarded-Server: x", b"x-forwarded-server"),
        (b"Keep-Alive: 5", b"keep-alive"),
        (b"Proxy-Connection: keep-alive", b"proxy-connection"),
        (b"Proxy-Authorization: Basic x", b"proxy-authorization"),
        (b"Trailer: X-A", b"trailer"),
        (b"Upgrade: websocket", b"upgrade"),
        (b"HTTP2-Settings: AA", b"http2-settings"),
        (b"Connection: keep-alive", b"connection"),
        (b"Expect: 100-continue", b"expect"),
        (b"X-Client-Cert: x", b"x-client-cert"),
    ],
)
def test_w02_w03_hop_by_hop_and_forged_fields_do_not_pass(line: bytes, name: bytes) -> None:
    assert one(sent(line + b"\r\n"), name) is None


def test_w02_what_connection_lists_is_removed_in_any_order_and_case() -> None:
    for extra in (
        b"Connection: x-note, Keep-Alive\r\nX-Note: 1\r\nX-Other: 2\r\n",
        b"X-NOTE: 1\r\nX-Other: 2\r\nConnection: X-Note\r\n",
    ):
        head = sent(extra)
        assert one(head, b"x-note") is None
        assert one(head, b"x-other") == b"2"


@pytest.mark.parametrize(
    ("extra", "peer", "expected"),
    [
        (
            b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x.test\r\n",
            "203.0.113.9",
            (b"203.0.113.9", b"http", b"api.test"),
        ),
        (
            b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x.test\r\n",
            "10.1.1.1",
            (b"1.2.3.4, 10.1.1.1", b"https", b"x.test"),
        ),
        (
            b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n",
            "10.1.1.1",
            (b"1.2.3.4, 5.6.7.8, 10.1.1.1", b"http", b"api.test"),
        ),
        (b"X-Forwarded-Proto: gopher\r\n", "10.1.1.1", (b"10.1.1.1", b"http", b"api.test")),
    ],
)
def test_w03_forwarded_fields_are_believed_from_trusted_proxies_only(
    extra: bytes, peer: str, expected: tuple[bytes, bytes, bytes]
) -> None:
    head = sent(extra, peer=peer)
    assert tuple(one(head, b"x-forwarded-" + part) for part in (b"for", b"proto", b"host")) == expected


def test_w04_via_is_appended_and_our_own_name_is_a_loop() -> None:
    assert one(sent(b"Via: 1.0 a\r\nVia: 1.1 b\r\n"), b"via") == b"1.0 a, 1.1 b, 1.1 faregate-test"
    with World() as world:
        upstream, answer = world.exchange_bytes(GET % b"Via: 1.1 a, 1.1 faregate-test\r\n")
        assert (upstream, answer[:12]) == (b"", b"HTTP/1.1 508")


def test_te_is_sent_anew_as_trailers_only() -> None:
    head = sent(b"TE: gzip;q=0.5, trailers\r\n")
    assert (one(head, b"te"), one(head, b"connection")) == (b"trailers", b"TE")
    assert one(sent(b"TE: gzip\r\n"), b"te") is None


@pytest.mark.parametrize(
    ("extra", "kept"),
    [
        (
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n",
            b"a=1",
        ),
        (b"traceparent: 00-zz\r\ntracestate: a=1\r\n", None),
        (
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" * 2
            + b"tracestate: a=1\r\n",
            None,
        ),
        pytest.param(b"tracestate: a=1\r\n", None),
    ],
)
def test_tracestate_goes_on_with_the_trace_it_belongs_to_only(extra: bytes, kept: bytes | None) -> None:
    assert one(sent(extra), b"tracestate") == kept


def test_fields_of_one_name_keep_their_order_whatever_was_remembered() -> None:
    """A proxy must not change the order of the field lines of one name (RFC 9110 section 5.3)."""
    sent(b"X-List: known-1\r\nX-Other: 1\r\n")
    head = sent(b"X-List: new-1\r\nX-List: known-1\r\n")
    assert [value for name, value in fields_of(head) if name == b"x-list"] == [b"new-1", b"known-1"]


def test_w03_the_order_of_forwarded_addresses_does_not_depend_on_what_was_remembered() -> None:
    """Else the address that limits and address lists judge would be another one for the same bytes."""
    sent(b"X-Forwarded-For: 198.51.100.1\r\nX-Other: 2\r\n", peer="10.1.1.1")
    head = sent(b"X-Forwarded-For: 198.51.100.2\r\nX-Forwarded-For: 198.51.100.1\r\n", peer="10.1.1.1")
    assert one(head, b"x-forwarded-for") == b"198.51.100.2, 198.51.100.1, 10.1.1.1"


CONSUMER = ReadyConsumer("acme", plan="standard")


@pytest.mark.parametrize(
    ("line", "used", "forward", "passes"),
    [
        (b"Authorization: Bearer t", b"authorization", False, False),
        (b"Authorization: Bearer t", b"authorization", True, True),
        (b"Authorization: Bearer t", b"x-api-key", False, True),
        (b"Authorization: Basic t", b"", False, True),
        (b"Authorization: Bearer fg_abc", b"x-api-key", False, False),
        (b"X-API-Key: fg_abc", b"authorization", False, False),
        (b"X-API-Key: other", b"authorization", False, True),
        (b"X-API-Key: fg_abc", b"x-api-key", True, True),
    ],
)
def test_the_credential_stays_here_unless_the_api_forwards_it(
    line: bytes, used: bytes, forward: bool, passes: bool
) -> None:
    step = identify(Identity(CONSUMER, "key_1"), used)

    def routes(upstream: object) -> list[ReadyRoute]:
        return [make_route("GET", "/v1/payments/{id}", upstream, step, forward_credential=forward)]

    head = sent(line + b"\r\n", routes=routes)
    assert (line in head) == passes
    assert (one(head, b"x-consumer-id"), one(head, b"x-consumer-plan"), one(head, b"x-credential-id")) == (
        b"acme",
        b"standard",
        b"key_1",
    )


@pytest.mark.parametrize(
    ("forwarded_for", "peer", "expected"),
    [
        (None, "203.0.113.9", "203.0.113.9"),
        (b"1.2.3.4", "10.0.0.1", "1.2.3.4"),
        (b"1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (b"6.6.6.6, 1.2.3.4, 10.0.0.2", "10.0.0.1", "1.2.3.4"),
        (b"10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"),
        (b"1.2.3.4, junk, 10.0.0.2", "10.0.0.1", "10.0.0.2"),
        (b"1.2.3.4:80", "10.0.0.1", "10.0.0.1"),
        (b"", "10.0.0.1", "10.0.0.1"),
        (b"caf\xe9", "10.0.0.1", "10.0.0.1"),
        (b"2001:db8::1, fd00::1", "10.0.0.1", "2001:db8::1"),
    ],
)
def test_the_caller_behind_proxies_is_the_nearest_address_that_is_none(
    forwarded_for: bytes | None, peer: str, expected: str
) -> None:
    assert address_behind(forwarded_for, peer, TRUSTED) == expected


@given(st.binary(max_size=40))
def test_no_forwarded_for_of_any_bytes_breaks_the_search(value: bytes) -> None:
    ipaddress.ip_address(address_behind(value, "10.0.0.1", TRUSTED))


def test_a_peer_without_an_address_is_not_trusted() -> None:
    assert not is_trusted("", TRUSTED)
    assert not is_trusted("10.0.0.1", ())
    assert is_trusted("10.0.0.1", TRUSTED)


def test_hash_keys() -> None:
    call = Call(0.0, 0.0)
    call.client_ip = "203.0.113.9"
    fields: Fields = parse_fields(b"Host: a\r\nX-Cart: c7\r\n\r\n", 128)
    assert hash_key("ip", call, fields) == hash_key("consumer", call, fields) == b"203.0.113.9"
    call.identity = Identity(CONSUMER, "key_1")
    assert hash_key("consumer", call, fields) == b"acme"
    assert hash_key("x-CART", call, fields) == b"c7"
    assert hash_key("X-Absent", call, fields) == b"203.0.113.9"


NAMES = st.from_regex(rb"X-[A-Za-z0-9-]{1,10}", fullmatch=True)
VALUES = st.binary(max_size=10).map(
    lambda data: bytes(byte for byte in data if byte >= 0x20 and byte != 0x7F).strip(b" ")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6, unique_by=lambda pair: pair[0].lower()))
def test_parse_forward_parse_is_stable(pairs: list[tuple[bytes, bytes]]) -> None:
    """Other fields arrive unchanged, and what we send is a head that we would take, and send on alike."""
    extra = b"".join(b"%b: %b\r\n" % pair for pair in pairs)
    with World() as world:
        first, answer = world.exchange_bytes(GET % extra)
    if not first:
        assert not answer.startswith(b"HTTP/1.1 2")
        return
    ours = (b"x-request-id", b"x-request-deadline", b"traceparent", b"x-forwarded-", b"x-consumer-", b"x-credential-", b"x-api-", b"x-real-ip", b"via", b"host",
            b"x-client-cert", b"x-anonymous-consumer", b"x-ssl-client-cert")  # fmt: skip
    wanted = sorted((name.lower(), value) for name, value in pairs if not name.lower().startswith(ours))
    assert sorted(pair for pair in fields_of(first) if not pair[0].startswith(ours)) == wanted
    with World() as next_gateway:
        next_gateway.plane.via = b"1.1 faregate-next"
        second, _ = next_gateway.exchange_bytes(first)
    assert sorted(pair for pair in fields_of(second) if not pair[0].startswith(ours)) == wanted
    assert second.split(b"\r\n")[0] == first.split(b"\r\n")[0]
    assert one(second, b"x-request-id") == one(first, b"x-request-id")
