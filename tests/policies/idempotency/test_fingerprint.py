"""Two requests are the same exactly when payments.md section 3.4 says so; its vectors are reproduced to the byte."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.policies.idempotency.step import fingerprint

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "fingerprint.json").read_text()
)["rows"]
BY_NAME = {row["name"]: row for row in ROWS}


def facts(row: dict[str, Any]) -> dict[str, Any]:
    known = row["given"]
    return {**facts(BY_NAME[known["same_as"]]), **known} if "same_as" in known else known


def made(known: dict[str, Any]) -> bytes:
    query = "&".join(f"{name}={value}" for name, value in known["query"])
    target = known["path"] + (f"?{query}" if query else "")
    return fingerprint(
        known["method"].encode(), known["path"], target.encode(), known["content_type"].encode(),
        known["api_version"], known["body"].encode(), tuple(known.get("pointers", ())),
    )  # fmt: skip


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "fingerprint" in row["expect"]], ids=lambda row: row["name"]
)
def test_the_vectors_are_reproduced(row: dict[str, Any]) -> None:
    expected = row["expect"]
    assert made(facts(row)).hex() == expected["fingerprint"]
    if "input" in expected:
        assert sha256(expected["input"].encode()).hexdigest() == expected["fingerprint"]


BASE: dict[str, Any] = {
    "method": b"POST", "path": "/v1/payments", "target": b"/v1/payments?a=1&b=2",
    "content_type": b"application/json", "version": "v1", "body": b'{"amount":1,"nonce":"x"}',
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"method": b"PUT"}, {"path": "/v1/refunds"}, {"target": b"/v1/payments?a=1&b=3"}, {"target": b"/v1/payments"},
        {"target": b"/v1/payments?a=1&b=2&"}, {"content_type": b"application/xml"}, {"version": "v2"}, {"body": b'{"amount":2,"nonce":"x"}'},
        {"body": b""}, {"target": b"/v1/payments?a=1&b"}, {"target": b"/v1/payments?a=1&B=2"},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_changes_what_is_asked_changes_it(change: dict[str, Any]) -> None:
    assert fingerprint(**{**BASE, **change}) != fingerprint(**BASE)


@pytest.mark.parametrize(
    "change",
    [{"target": b"/v1/payments?b=2&a=1"}, {"content_type": b" Application/JSON ; charset=utf-8"}],
    ids=str,
)
def test_the_order_of_the_query_and_parameters_of_the_type_do_not_count(change: dict[str, Any]) -> None:
    assert fingerprint(**{**BASE, **change}) == fingerprint(**BASE)


def covering(body: bytes, *pointers: str) -> bytes:
    return fingerprint(**{**BASE, "body": body}, covers=pointers)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (b'{"amount":1,"nonce":"x"}', b'{"nonce": "y", "amount": 1}', True),
        (b'{"amount":1}', b'{"amount":2}', False),
        (b'{"amount":1}', b'{"amount":"1"}', False),
        (b'{"amount":1}', b'{"amount":1.0}', True),
        (b'{"amount":100}', b'{"amount":1e2}', True),
        (b'{"amount":9007199254740993}', b'{"amount":9007199254740992}', False),
        (b'{"amount":{"b":1,"a":2}}', b'{"amount":{"a":2,"b":1}}', True),
        (b'{"amount":null}', b"{}", False),
        (b'{"x":1}', b'{"x":2}', True),
        (b'{"amount":1,"amount":2}', b'{"amount":2,"amount":1}', False),
        (b"amount=1", b"amount=2", False),
        (b"[1]", b"[2]", False),
        (b'{"amount":1}', b'["/amount",1]', False),
        (
            b'{"amount":' + b"[" * 900 + b"]" * 900 + b"}",
            b'{"amount":' + b"[" * 900 + b"]" * 900 + b"} ",
            False,
        ),
        (b'{"amount":' + b"9" * 5000 + b"}", b'{"amount":' + b"9" * 5000 + b"} ", False),
    ],
)
def test_of_chosen_values_only_those_count_and_what_cannot_be_read_counts_whole(
    first: bytes,
    second: bytes,
    same: bool,
) -> None:
    assert (covering(first, "/amount") == covering(second, "/amount")) is same


def test_values_cannot_slip_from_one_pointer_into_another() -> None:
    assert covering(b'{"a":"x","b":"y"}', "/a", "/b") != covering(b'{"a":"x\\",\\"y"}', "/a", "/b")
    assert covering(b'{"a":1}', "/a", "/b") != covering(b'{"b":1}', "/a", "/b")


@given(
    st.lists(st.sampled_from([b"a=1", b"a=2", b"b", b"b=", b"", b"=", b"a=1=2"]), max_size=6), st.randoms()
)
def test_any_order_of_the_same_pairs_is_the_same_query(pairs: list[bytes], random: Any) -> None:
    shuffled = pairs.copy()
    random.shuffle(shuffled)
    one, other = (b"/p?" + b"&".join(some) for some in (pairs, shuffled))
    assert fingerprint(**{**BASE, "target": one}) == fingerprint(**{**BASE, "target": other})
