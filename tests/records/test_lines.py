"""A line has the promised members in their order, is valid JSON whatever comes in, and shows no secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.records.lines import FIELDS, LineRenderer
from faregate.records.metrics import CallMetrics
from faregate.records.suspicion import suspicious
from tests.records.calls import REQUEST_ID, TRACE_ID, make_call, make_route
from tests.records.vectors import ROWS, TEST_CARDS


def render(*calls) -> list[str]:
    batch = LineRenderer(CallMetrics()).render(calls)
    data = batch.data + b"".join(line.render() for line in batch.deferred)
    assert data.endswith(b"\n")
    assert data.isascii()
    lines = data.decode().splitlines()
    assert len(lines) == batch.lines == len(calls)
    return lines


def test_an_ordinary_call_has_exactly_these_members() -> None:
    assert json.loads(render(make_call())[0]) == {
        "time": "2026-11-23T02:49:02.500Z", "request_id": REQUEST_ID.decode(), "trace_id": TRACE_ID.decode(),
        "client_ip": "203.0.113.7", "consumer": "acme", "credential": "jwt:acme-id:acme-server", "api": "payments",
        "version": "v2", "route": "POST /payments", "method": "POST", "path": "/v2/payments", "status": 201,
        "outcome": "answered", "upstream": "payments", "target": "127.0.0.1:9001", "attempts": 1, "duration_us": 823,
        "upstream_us": 700, "gateway_us": 123, "request_bytes": 312, "response_bytes": 204, "revision": 7,
    }  # fmt: skip


REFUSED = {"attempts": 0, "upstream": "", "target_name": "", "status": 429, "outcome": "refused", "refusal": "rate_limited",
           "upstream_duration": 0.0, "reason": "window_full"}  # fmt: skip

SHAPES = {
    "answered": {},
    "refused": REFUSED,
    "no route": {**REFUSED, "route": None, "identity": None, "refusal": "no_route", "reason": ""},
    "malformed": {
        **REFUSED,
        "route": None,
        "identity": None,
        "method": b"",
        "path": "",
        "trace_id": b"",
        "request_id": b"",
    },
    "odd method": {"method": b"PURGE"},
    "gone": {"status": 0, "outcome": "client_gone"},
    "tls": {"tls": "TLSv1.3"},
    "keyed": {"idempotency": "replayed", "tls": "TLSv1.3"},
    "escapes": {"path": '/a"b\\c\n\u2028\x00/é'},
    "line break in an id": {"request_id": b"a\nb"},
    "bodies": {
        "route": make_route(bodies=True),
        "request_body": b"{}",
        "response_body": b"[]",
        "tls": "TLSv1.3",
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_members_stand_in_the_order_of_the_specification(shape: str) -> None:
    names = list(json.loads(render(make_call(**SHAPES[shape]))[0]))
    assert names == [name for name in FIELDS if name in names]
    assert {"time", "outcome", "duration_us", "gateway_us", "revision"} <= set(names)


def test_absent_members_are_left_out() -> None:
    record = json.loads(render(make_call(**SHAPES["malformed"]))[0])
    assert not {
        "consumer",
        "api",
        "method",
        "path",
        "trace_id",
        "request_id",
        "upstream",
        "attempts",
        "upstream_us",
    } & set(record)
    assert "status" not in json.loads(render(make_call(**SHAPES["gone"]))[0])


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "bodies"])
def test_both_renderers_agree(shape: str) -> None:
    call = make_call(**SHAPES[shape])
    quick = LineRenderer(CallMetrics()).render([call]).data
    careful = LineRenderer(CallMetrics()).render_one(call).data
    assert json.loads(quick) == json.loads(careful)


def test_time_is_when_the_call_began_not_when_it_stopped_waiting() -> None:
    record = json.loads(render(make_call(waited=1.25))[0])
    assert record["time"] == "2026-11-23T02:49:01.250Z"


def test_strange_text_keeps_the_line_one_json_object() -> None:
    call = make_call(**SHAPES["escapes"])
    assert json.loads(render(call)[0])["path"] == call.path


@pytest.mark.parametrize("card", TEST_CARDS)
@pytest.mark.parametrize(
    "field", ["path", "request_id", "trace_id", "reason", "method", "upstream", "target_name"]
)
def test_no_test_card_leaks_from_any_member(card: str, field: str) -> None:
    value: object = f"/x/{card}" if field in ("path", "reason", "upstream", "target_name") else card.encode()
    if field == "trace_id":
        value = card.encode().ljust(32, b"a")
    differences = {**(REFUSED if field == "reason" else {}), field: value}
    for call_list in ([make_call(**differences)], [make_call(), make_call(**differences), make_call()]):
        for line in render(*call_list):
            assert card not in line
            json.loads(line)


@pytest.mark.parametrize(
    "path",
    [row["given"]["text"] for row in ROWS if row["expect"].get("contains_pan")]
    + ["/fg_live_4f9a8b7c", "/eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "/a@example.com", "/GB82WEST12345698765432",
       "/110101199003071006", "/;cvv=123", "/4111 1111 1111 1111", "/bearer abcdef12", "/MzU2NjAwMjAyMDM2MDUwNQ"],
)  # fmt: skip
def test_text_that_masking_changes_is_found_suspicious(path: str) -> None:
    calls = [make_call(), make_call(path=path), make_call()]
    assert list(suspicious(calls)) == [1]
    assert path not in json.loads(render(*calls)[1])["path"]


def test_ordinary_traffic_is_not_suspicious() -> None:
    calls = [
        make_call(path=f"/v2/payments/pay_01HX5ZZKBKACTAV9WE{index:04d}/refunds") for index in range(300)
    ]
    assert not suspicious(calls)


@given(
    st.lists(
        st.tuples(
            st.text(max_size=20), st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=5)
        ),
        max_size=6,
    )
)
def test_any_bytes_from_outside_make_valid_lines(texts) -> None:
    calls = [
        make_call(path=path, request_id=rid, trace_id=trace, method=method)
        for path, rid, trace, method in texts
    ]
    batch = LineRenderer(CallMetrics()).render(calls)
    lines = batch.data.decode().split("\n")[:-1]
    assert len(lines) == len(calls)
    for line in lines:
        json.loads(line)


@pytest.mark.parametrize(
    ("audit", "differences", "recorded"),
    [
        ("off", {}, False),
        ("on", {}, True),
        ("required", {}, True),
        ("on", {"path": "/v2/cards/4111111111111111"}, True),
        ("on", {"refusal": "forbidden", "attempts": 0}, True),
        ("on", {"refusal": "unauthenticated", "identity": None, "attempts": 0}, False),
        ("on", {"identity": None}, True),
        ("on", {"route": None}, False),
    ],
)
def test_lines_of_routes_that_are_recorded_go_to_the_audit_tree_too(
    audit: str, differences: dict[str, object], recorded: bool
) -> None:
    call = make_call(route=make_route(audit=audit))
    for name, value in differences.items():
        setattr(call, name, value)
    renderer = LineRenderer(CallMetrics())
    for batch in (renderer.render([make_call(), call]), renderer.render_one(call)):
        own = batch.data.decode().splitlines(keepends=True)[-1]
        assert batch.audited == ((own,) if recorded else ())
        assert "4111111111111111" not in own


def test_the_record_of_a_call_with_bodies_is_its_line_without_them() -> None:
    call = make_call(route=make_route(bodies=True, audit="on"), request_body=b"{}")
    batch = LineRenderer(CallMetrics()).render([call])
    (line,) = batch.audited
    assert "request_body" not in json.loads(line)
    assert len(batch.deferred) == 1


def test_bodies_are_masked_in_their_members() -> None:
    call = make_call(
        route=make_route(bodies=True),
        request_body=b'{"pan":"4111111111111111","cvv":"123"}',
        request_bytes=38,
        request_content_type=b"application/json",
        response_body=b"x" * 100,
        response_bytes=70_000,
        response_content_type=b"text/plain",
    )
    record = json.loads(render(call)[0])
    assert record["request_body"] == '{"pan":"411111******1111","cvv":"***"}'
    assert record["response_body"]["withheld"] == "over_cap"
    assert record["response_body"]["length"] == 70_000
