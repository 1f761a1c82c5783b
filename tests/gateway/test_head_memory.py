"""What a connection, a worker or a field section remembers never changes what goes upstream (F32).

Connections keep the facts of their last field section, workers those of all recent ones, and a section what was made of it for
an identity and a route. Here every request of a mixed play gets the same upstream bytes as it would alone in a fresh worker.
"""

import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faregate.gateway.http1 import sections
from faregate.gateway.http1.request import Fields, parse_fields
from faregate.gateway.http1.sections import FieldsMemory
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import GatewayLimits
from tests.gateway.fakes import FakeTransport, World, make_route

FIELD_LINES = [
    b"Authorization: Bearer a", b"Authorization: Basic b", b"Authorization: Bearer fg_secret", b"X-API-Key: k1", b"X-API-Key: fg_k2",
    b"X-Forwarded-For: 198.51.100.7", b"X-Forwarded-For: 198.51.100.8, 10.0.0.1", b"X-Forwarded-Host: shop.test", b"X-Forwarded-Proto: https",
    b"X-Consumer-Id: forged", b"Via: 1.1 other", b"TE: trailers", b"traceparent: broken", b"tracestate: a=1",
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"X-Note: 1", b"x-note: 2", b"Content-Type: a/b",
    b"Connection: x-note", b"Connection: keep-alive", b"X-Request-Id: own-1", b"Content-Length: 0", b"Cookie: a=b",
    b"Idempotency-Key: k1", b"idempotency-key: k2", b'Idempotency-Key: "k 3"',
]  # fmt: skip
HEADS = st.builds(
    lambda method, path, host, lines: (
        b"%b %b HTTP/1.1\r\n%b\r\n"
        % (method, path, b"".join(line + b"\r\n" for line in [b"Host: " + host, *lines]))
    ),
    st.sampled_from([b"GET", b"HEAD"]),
    st.sampled_from(
        [b"/v1/open", b"/v1/acme", b"/v1/acme/orders", b"/v1/kept", b"/v1/%6fpen?a=%2f", b"/v1/other"]
    ),
    st.sampled_from([b"api.test", b"other.test:8080"]),
    st.lists(
        st.sampled_from(FIELD_LINES), max_size=5, unique_by=lambda line: line.partition(b":")[0].lower()
    ).map(tuple),
)
PEERS = st.sampled_from(["203.0.113.9", "203.0.113.10", "10.9.9.9"])  # the last one is a trusted proxy
ACME = ReadyConsumer("acme", plan="standard")
IDENTITIES = {
    b"Bearer a": Identity(ACME, "jwt:acme"),
    b"Basic b": Identity(ReadyConsumer("globex"), "jwt:globex"),
}


def recognise(call: Call) -> None:
    """As an authenticator would: another identity for another credential, and for none of ours nobody."""
    identity = IDENTITIES.get(call.authorization or b"")
    if identity is not None:
        call.identity, call.credential_used = identity, b"authorization"
    elif call.api_key is not None:
        call.identity, call.credential_used = Identity(ACME, "key"), b"x-api-key"


def routes(upstream: object) -> list[ReadyRoute]:
    made = [
        make_route(method, path, upstream, *steps, **changes)
        for method in ("GET", "HEAD")
        for path, steps, changes in (
            ("/v1/open", (), {}),
            ("/v1/acme", (recognise,), {}),
            ("/v1/acme/orders", (recognise,), {}),
            ("/v1/kept", (recognise,), {"forward_credential": True}),
        )
    ]
    made[4].upstream_headers = b"X-Api-Version: v9\r\n"
    return made


def world(**limits: int) -> World:
    return World(routes, trusted=("10.0.0.0/8",), limits=GatewayLimits(**limits))


def without_ids(head: bytes) -> bytes:
    head = re.sub(rb"X-Request-Id: [0-9a-f]{32}\r\n", b"", head)
    head = re.sub(rb"(traceparent: 00-0af7651916cd43dd8448eb211c80319c-)[0-9a-f]{16}", rb"\1", head)
    return re.sub(
        rb"traceparent: 00-(?!0af7651916cd43dd8448eb211c80319c)[0-9a-f]{32}-[0-9a-f]{16}-01\r\n", b"", head
    )


def sent_alone(request: bytes, peer: str, **limits: int) -> tuple[bytes, bytes]:
    with world(**limits) as fresh:
        upstream, answer = fresh.exchange_bytes(request, client=fresh.client(peer))
        return without_ids(upstream), answer[:12]


PLAYS = st.lists(st.tuples(st.integers(0, 2), HEADS), min_size=2, max_size=10)


@settings(max_examples=150, deadline=None)
@given(st.tuples(PEERS, PEERS, PEERS), PLAYS, st.lists(st.integers(0, 9), max_size=10))
def test_no_request_gets_the_facts_of_another(
    peers: tuple[str, str, str], play: list[tuple[int, bytes]], repeats: list[int]
) -> None:
    play = [*play, *(play[index % len(play)] for index in repeats)]
    with world() as shared:
        clients: dict[int, FakeTransport] = {}
        for number, head in play:
            client = clients.get(number)
            if client is None or client.is_closing() or client.ended:
                client = clients[number] = shared.client(peers[number])
            upstream, answer = shared.exchange_bytes(head, client=client)
            assert (without_ids(upstream), answer[:12]) == sent_alone(head, peers[number])


def memory_sizes(memory: FieldsMemory) -> tuple[int, int]:
    return len(memory._young), len(memory._old)


def test_the_memory_of_sections_is_bounded_and_gives_what_parsing_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sections, "SECTIONS_PER_GENERATION", 4)
    monkeypatch.setattr(sections, "SECTIONS_SEEN_MAX", 16)
    memory = FieldsMemory(65_536, 128)
    for number in itertools.chain(range(30), range(20, 30), range(5), [7] * 5, range(25, 30), range(25, 30)):
        raw = b"Host: a\r\nX-Note: %d\r\n\r\n" % number
        assert memory.recall(raw).passed == parse_fields(raw, 128).passed
        assert max(memory_sizes(memory)) <= 4
        assert len(memory._seen) <= 16
        assert memory.known == memory._young.get
    assert memory.recall(raw) is memory.recall(raw)
    before = memory_sizes(memory)
    for _ in range(3):
        memory.recall(b"Host: a\r\nX-Long: %b\r\n\r\n" % (b"a" * sections.SECTION_BYTES_LEARNED_MAX))
        with pytest.raises(Refusal):
            memory.recall(b"X-Note: 1\r\n\r\n")
    assert memory_sizes(memory) == before


def test_f16_a_section_refused_for_its_number_of_fields_stays_refused() -> None:
    memory = FieldsMemory(65_536, 3)
    for _ in range(3):
        with pytest.raises(Refusal):
            memory.recall(b"Host: a\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n")


@given(st.binary(max_size=60))
@example(b"Host: a\r\n\r\n")
def test_arbitrary_sections_are_refused_or_read_the_same_twice(raw: bytes) -> None:
    section = raw.replace(b"\r\n\r\n", b"") + b"\r\n\r\n"
    memory = FieldsMemory(65_536, 128)

    def outcome() -> object:
        try:
            return memory.recall(section).passed
        except Refusal as refusal:
            return refusal.code, refusal.reason

    first = outcome()
    assert outcome() == first


GET = b"GET %b HTTP/1.1\r\nHost: api.test\r\nX-Note: " + b"a" * 300 + b"\r\n\r\n"


def test_f16_a_longer_target_before_a_remembered_section_is_still_held_against_the_limit() -> None:
    short, long = GET % b"/v1/open", GET % (b"/v1/open?" + b"q" * 300)
    assert sent_alone(long, "203.0.113.9", header_bytes=512)[1] == b"HTTP/1.1 431"
    with world(header_bytes=512) as shared:
        client = shared.client()
        assert shared.exchange_bytes(short, client=client)[1][:12] == b"HTTP/1.1 200"
        assert shared.exchange_bytes(long, client=client)[1][:12] == b"HTTP/1.1 431"
    with world(header_bytes=512) as shared:
        for _ in range(3):  # on connections of their own: the worker knows the section
            assert shared.exchange_bytes(short, client=shared.client())[1][:12] == b"HTTP/1.1 200"
        assert shared.exchange_bytes(long, client=shared.client())[1][:12] == b"HTTP/1.1 431"


CREDENTIAL_LINES = [
    b"X-API-Key: k1", b"x-api-key: k2", b"X-Api-Key:k3", b"X-API-Key:  k4", b"X-API-Key: a b", b"X-API-Key: " + b"k" * 257,
    b"X-API-Key: \xe9", b"Authorization: Bearer t.o-k~1=", b"authorization: Bearer t2", b"Authorization: Bearer a,b",
    b"Authorization: Basic YTpi", b"X-API-Key: k5\r\n folded", b"Connection: x-api-key", b"Connection: close, authorization",
    b"Transfer-Encoding: chunked", b"Content-Type: a/b", b"Expect: 100-continue", b"X-Forwarded-For: 198.51.100.7", b"TE: trailers",
    b"X-Forwarded-Host: h", b"X-Forwarded-Proto: https", b"X-Request-Id: r", b"traceparent: t", b"tracestate: a=b", b"Upgrade: x",
    b"Idempotency-Key: k1", b"idempotency-key: k2", b"Idempotency-Key:k3", b"Idempotency-Key: a b", b"Idempotency-Key: ",
    b"Idempotency-Key: " + b"k" * 257, b"Idempotency-Key: \xe9", b"Connection: idempotency-key", b"X-Note: Idempotency-Key: k4",
    b"Host: b", b"Content-Length: 3", b"Via: 1.1 x", b"X-Note: X-API-Key: k6", b"X-Long: " + b"a" * 5000,
]  # fmt: skip


FACTS = set(Fields.__annotations__) - {"prepared", "base", "passed", "before", "after"}


def facts_of(parse: Callable[[bytes], Fields], section: bytes) -> object:
    try:
        fields = parse(section)
        apart = [] if fields.base is None else [b"Idempotency-Key: %b\r\n" % fields.idempotency_key]
        lines = [b"Host: %b\r\n" % fields.host, *fields.lines]
        assert fields.passed == b"".join(lines)
        told = sorted(line.replace(b"idempotency-key: ", b"Idempotency-Key: ") for line in [*lines, *apart])
        return told, {name: getattr(fields, name) for name in (*FACTS, "raw")}
    except Refusal as refusal:
        return refusal.code, refusal.reason


@example([[b"X-API-Key: k1", b"Idempotency-Key: k1", b"Idempotency-Key: k1", b"X-API-Key: k1"]], 128)
@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(CREDENTIAL_LINES), max_size=4), min_size=1, max_size=4),
    st.integers(2, 128),
)
def test_callers_who_differ_in_their_credential_share_all_but_that(
    plays: list[list[bytes]], most: int
) -> None:
    memory = FieldsMemory(65_536, most)
    for lines in plays * 3:
        section = b"".join(line + b"\r\n" for line in [b"Host: a", *lines]) + b"\r\n"
        assert facts_of(memory.recall, section) == facts_of(lambda raw: parse_fields(raw, most), section)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(CREDENTIAL_LINES), max_size=4),
    st.sampled_from([b"k1", b'"k 2"', b"a,b", b"", b"\xe9", b"k" * 256, b"k" * 257]),
    st.integers(0, 4),
    st.integers(2, 128),
)
def test_a_section_that_is_known_but_for_its_idempotency_key_is_read_as_a_parser_would(
    lines: list[bytes], key: bytes, at: int, most: int
) -> None:
    memory = FieldsMemory(65_536, most)
    lines = [b"Host: a", *lines]
    for _ in range(2):
        facts_of(memory.recall, b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    lines.insert(min(at, len(lines)), b"Idempotency-Key: " + key)
    section = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    found = memory.keyed(section)
    if found is not None:
        assert facts_of(lambda _: found, section) == facts_of(lambda raw: parse_fields(raw, most), section)


KEYS = [
    b"k1",
    b"k22",
    b'"k 2"',
    b"a,b",
    b"",
    b"\xe9",
    b"k" * 256,
    b"k" * 257,
    b"k\r\nX-A: 1",
    b"k\r\n\r\nGET / HTTP/1.1",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(CREDENTIAL_LINES), max_size=3),
    st.lists(st.sampled_from(KEYS), min_size=2, max_size=6),
    st.integers(0, 4),
    st.sampled_from([b"", b"X-A: 2", b"Idempotency-Key: k1"]),
)
def test_a_section_that_differs_from_the_last_by_its_key_is_read_as_a_parser_would(
    lines: list[bytes], keys: list[bytes], at: int, further: bytes
) -> None:
    memory = FieldsMemory(65_536, 128)
    lines = [b"Host: a", *lines]
    place = min(at, len(lines))

    def section_of(key: bytes, more: bytes = b"") -> bytes:
        told = [*lines[:place], b"Idempotency-Key: " + key, *lines[place:], *([more] if more else [])]
        return b"".join(line + b"\r\n" for line in told) + b"\r\n"

    try:
        last = memory.recall(section_of(b"first"))
    except Refusal:
        return
    for key in keys:
        for more in (b"", further):
            section = section_of(key, more)
            ends = section.find(b"\r\n\r\n") + 4
            found = sections.keyed_anew(last, b"POST / HTTP/1.1\r\n" + section + b"{}", 17)
            if found is not None:
                assert facts_of(lambda _, found=found: found, b"") == facts_of(
                    lambda raw: parse_fields(raw, 128), section[:ends]
                )
                last = found


def test_the_next_key_of_a_connection_is_known_without_a_look_up() -> None:
    memory = FieldsMemory(65_536, 128)
    head = b"Host: a\r\nA: 1\r\nidempotency-key: %b\r\nB: 2\r\n\r\n"
    for _ in range(3):
        last = memory.recall(head % b"first")
    for key in (b"other", b"a-longer-one", b"k"):
        found = sections.keyed_anew(last, b"POST / HTTP/1.1\r\n" + head % key + b"{}", 17)
        assert found is not None
        assert (found.idempotency_key, found.raw, found.base) == (key, head % key, last.base)
        last = found


def test_a_key_is_read_apart_only_where_no_limit_could_be_passed_by() -> None:
    plain, keyed = b"Host: a\r\nA: 1\r\n\r\n", b"Host: a\r\nA: 1\r\nIdempotency-Key: k\r\n\r\n"
    for header_bytes, lines, known in ((65_536, 3, True), (65_536, 2, False), (8_192, 3, False)):
        memory = FieldsMemory(header_bytes, lines)
        for _ in range(2):
            memory.recall(plain)
        assert (memory.keyed(keyed) is not None) == known


def test_a_section_with_another_credential_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, parsed = FieldsMemory(65_536, 128), []
    monkeypatch.setattr(
        sections, "parse_fields", lambda raw, most: parsed.append(raw) or parse_fields(raw, most)
    )
    for number in range(20):
        for line in (b"X-API-Key: k%d", b"Authorization: Bearer t%d"):
            memory.recall(b"Host: a\r\n" + line % number + b"\r\nAccept: */*\r\n\r\n")
    assert len(parsed) == 2, "the first as a whole, then once what all have in common"
