"""Versions by header, their changes, shares and pins: what is compiled, and what is refused because it fits nothing else."""

import json
from pathlib import Path

import pytest

from faregate.model.diagnostics import Level
from faregate.snapshot.data import Version
from faregate.snapshot.versions import Brownout, Choice, Operation, Split
from tests.model.configs import UPSTREAM, check, compiled

ROUTES = """
      - match: GET /payments
      - {match: POST /payments, idempotency: optional}
"""


def text(versions: str, *, routes: str = ROUTES, authenticate: str = "[api_key]", more: str = "") -> str:
    return (
        f"{UPSTREAM}apis:\n  payments:\n    upstream: pay\n    authenticate: {authenticate}\n"
        f"    limits: [5/second]\n    versions: {versions}\n    routes: {routes}\n{more}"
    )


def by_header(versions: str, **settings: str) -> str:
    head = {"by": "header", "name": "Api-Version", **settings}
    return "{" + ", ".join([f"{key}: {value}" for key, value in head.items()] + [versions]) + "}"


def errors(folder: Path, files: str) -> list[tuple[str, str]]:
    found = check(folder, files)
    return [(one.code, one.path) for one in found if one.level is Level.ERROR]


TWO = "2026-11-01: {}, 2026-03-01: {}"


def test_versions_by_header_share_a_path_and_come_oldest_first(tmp_path: Path) -> None:
    snapshot = compiled(tmp_path, text(by_header(TWO, path="/api")))
    assert snapshot.versions == (
        Version("2026-03-01", "/api", choice=Choice("payments", "Api-Version", default=True, pinned=True)),
        Version("2026-11-01", "/api", choice=Choice("payments", "Api-Version", default=False, pinned=True)),
    )
    assert [(route.version, route.template) for route in snapshot.routes] == [
        (0, "/api/payments"), (0, "/api/payments"), (1, "/api/payments"), (1, "/api/payments"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("versions", "default"),
    [
        (by_header(TWO), "2026-03-01"),
        (
            by_header("2027-01-01: {}, 2026-11-01: {state: deprecated}, 2026-03-01: {state: retired}"),
            "2026-11-01",
        ),
        (by_header("2026-11-01: {}, 2026-03-01: {state: draft}"), "2026-11-01"),
        (by_header("beta: {}, alpha: {}"), "beta"),  # as written where they are no dates
        (by_header("2026-03-01.b: {}, 2026-03-01.a: {}"), "2026-03-01.a"),
        (by_header(TWO, default_version="2026-11-01"), "2026-11-01"),
        (by_header(TWO, default="2026-11-01"), "2026-11-01"),
    ],
)
def test_a_caller_who_says_nothing_gets_what_never_changes_by_itself(
    tmp_path: Path, versions: str, default: str
) -> None:
    found = [
        one.name for one in compiled(tmp_path, text(versions)).versions if one.choice and one.choice.default
    ]
    assert found == [default]


def test_pins_count_where_they_are_asked_for_and_somebody_is_identified(tmp_path: Path) -> None:
    for settings, pinned in (("[api_key]", True), ("[]", False)):
        routes = "[{match: GET /payments}]"
        made = compiled(tmp_path, text(by_header(TWO), authenticate=settings, routes=routes))
        assert {one.choice.pinned for one in made.versions if one.choice} == {pinned}


def test_a_consumers_pins_are_compiled(tmp_path: Path) -> None:
    more = "consumers: {acme: {pins: {payments: 2026-11-01}}}\n"
    assert compiled(tmp_path, text(by_header(TWO), more=more)).consumers[0].pins == (
        ("payments", "2026-11-01"),
    )


def test_the_life_of_a_version_is_compiled(tmp_path: Path) -> None:
    old = (
        "v1: {path: /v1, state: deprecated, sunset_at: 2027-06-30, retire: at_sunset, successor: v2, notice: 'https://a/b', "
        "brownouts: [{at: 2026-12-01T10:00:00Z, for: 10m, every: 7d}, {at: 2027-01-01, for: 1h}], split: {v2: 10%, v3: 0%}}"
    )
    version = compiled(tmp_path, text(f"{{{old}, v2: {{path: /v2}}, v3: {{path: /v3}}}}")).versions[0]
    assert version == Version(
        "v1", "/v1", "deprecated", sunset_at=1814313600, retired_at=1814313600, successor="/v2", notice="https://a/b",
        brownouts=(Brownout(1796119200, 600.0, 604800.0), Brownout(1798761600, 3600.0)), splits=(Split(1, 10),),
    )  # fmt: skip


CHANGES = {
    "2026-03-01": {},
    "2026-06-01": {"upstream": "other"},
    "2026-11-01": {
        "changes": [
            {
                "routes": "POST /payments",
                "request": [{"rename": {"at": "/amount", "to": "total"}}, {"set_default": {"at": "/a", "value": {"b": [1]}}}],
                "response": [{"unwrap": {"at": "/data/*/total", "key": "value"}}, {"rename_header": {"from": "X-A", "to": "X-B"}}],
            },
            {"response": [{"remove": "/x~1y"}]},
        ]
    },
    "2027-01-01": {
        "changes": [
            {"request": [{"set_default_header": {"name": "X-C", "value": "1"}}], "response": [{"remove_header": "X-D"}]},
            {"request": [{"move": {"from": "/a", "to": "/b"}}, {"wrap": {"at": "/c", "key": "d"}}]},
        ]
    },
}  # fmt: skip
MORE = "upstreams: {pay: {targets: ['http://127.0.0.1:1']}, other: {targets: ['http://127.0.0.1:2']}}\n"


def test_what_lies_between_a_version_and_the_newest_is_written_out_for_each_route(tmp_path: Path) -> None:
    versions = json.dumps({"by": "header", "name": "Api-Version", **CHANGES})
    snapshot = compiled(tmp_path, text(versions).replace(UPSTREAM, MORE))
    found = {
        (snapshot.versions[route.version].name, route.method): (route.request_changes, route.response_changes)
        for route in snapshot.routes
    }
    newest = (
        Operation("set_default_header", name="X-C", value=b"1"),
        Operation("move", ("a",), ("b",)),
        Operation("wrap", ("c",), name="d"),
    )
    own = (
        Operation("rename", ("amount",), name="total"),
        Operation("set_default", ("a",), value=b'{"b":[1]}'),
    )
    back = (
        Operation("remove_header", name="X-D"),
        Operation("remove", ("x/y",)),
        Operation("unwrap", ("data", "*", "total"), name="value"),
        Operation("rename_header", ("X-A",), name="X-B"),
    )
    assert found == {
        ("2026-03-01", "POST"): (own + newest, back),
        ("2026-03-01", "GET"): (newest, back[:2]),
        ("2026-06-01", "POST"): ((), ()),
        ("2026-06-01", "GET"): ((), ()),
        ("2026-11-01", "POST"): (newest, back[:1]),
        ("2026-11-01", "GET"): (newest, back[:1]),
        ("2027-01-01", "POST"): ((), ()),
        ("2027-01-01", "GET"): ((), ()),
    }
    assert snapshot.checks_bodies


V = "apis.payments.versions"
STEP = "2026-03-01: {}, 2026-11-01: {changes: [%s]}"
REQUEST = "{request: [%s]}"


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        (by_header(TWO).replace(", " + TWO, ""), [("no_versions", V)]),
        (by_header("a b: {}"), [("bad_name", f"{V}.a b")]),
        (by_header("pinned: {}"), [("bad_name", f"{V}.pinned")]),
        (by_header(TWO, name="Authorization"), [("bad_value", f"{V}.name")]),
        (by_header(TWO, name="X-Forwarded-Version"), [("bad_value", f"{V}.name")]),
        (by_header(TWO, name="X-Api-Version"), []),
        (by_header(TWO, default="newest"), [("unresolved_reference", f"{V}.default")]),
        (by_header(TWO, default_version="newest"), [("unresolved_reference", f"{V}.default_version")]),
        (
            by_header(TWO, default="2026-11-01", default_version="2026-11-01"),
            [("bad_value", f"{V}.default_version")],
        ),
        (by_header("2026-11-01: {path: /v1}"), [("unknown_key", f"{V}.2026-11-01.path")]),
        (by_header("2026-11-01: {successor: by}"), [("unresolved_reference", f"{V}.2026-11-01.successor")]),
        (by_header("2026-11-01: {changes: [{request: [{remove: /a}]}]}"), [("bad_value", f"{V}.2026-11-01.changes")]),
        (
            by_header("2026-03-01: {}, 2026-11-01: {upstream: pay, changes: [{}]}"),
            [("bad_value", f"{V}.2026-11-01.changes")],
        ),
        (by_header(STEP % "{routes: GET /payment}"), [("unresolved_reference", f"{V}.2026-11-01.changes[0].routes[0]")]),
        (by_header(STEP % "{routes: [GET /payments, GET /x]}"), [("unresolved_reference", f"{V}.2026-11-01.changes[0].routes[1]")]),
        ("{v1: {path: /v1}, v2: {path: /v2, changes: [{}]}}", [("bad_value", f"{V}.v2.changes")]),
        *[
            (by_header(STEP % (REQUEST % step)), [("bad_value", f"{V}.2026-11-01.changes[0].request[0]{place}")])
            for step, place in (
                ("{remove: /a, wrap: {at: /a, key: b}}", ""),
                ("{}", ""),
                ("{remove: a}", ".remove"),
                ("{remove: ''}", ".remove"),
                ("{remove: /a/*}", ".remove"),
                ("{remove: " + "/a" * 17 + "}", ".remove"),
                ("{rename: {at: /a, to: ''}}", ".rename.to"),
                ("{move: {from: /a, to: /a}}", ".move"),
                ("{move: {from: /a/b, to: /a}}", ".move"),
                ("{move: {from: /a/*/b, to: /c/*/b}}", ".move"),
                ("{set_default: {at: /a, value: 1.5}}", ".set_default"),
                ("{set_default: {at: /a, value: [{b: 0.1}]}}", ".set_default"),
                ("{remove_header: Content-Type}", ".remove_header"),
                ("{remove_header: Idempotency-Key}", ".remove_header"),
                ("{rename_header: {from: X-A, to: Host}}", ".rename_header.to"),
                ('{set_default_header: {name: X-A, value: "a\\r\\nb"}}', ".set_default_header.value"),
            )
        ],
        ("{v1: {path: /v1, split: {v1: 5%}}}", [("unresolved_reference", f"{V}.v1.split.v1")]),
        ("{v1: {path: /v1, split: {v2: 5%}}}", [("unresolved_reference", f"{V}.v1.split.v2")]),
        ("{v1: {path: /v1, split: {v2: 60%, v3: 60%}}, v2: {path: /v2}, v3: {path: /v3}}", [("bad_value", f"{V}.v1")]),
        ("{v1: {path: /v1, split: {v2: 5%}}, v2: {path: /v2, state: deprecated}}", [("bad_value", f"{V}.v1.split.v2")]),
        ("{v1: {path: /v1, split: {v2: 5%}}, v2: {path: /v2, split: {v3: 5%}}, v3: {path: /v3}}", [("bad_value", f"{V}.v1.split.v2")]),
        ("{v1: {path: /v1, state: retired, split: {v2: 5%}}, v2: {path: /v2}}", [("bad_value", f"{V}.v1.split.v2")]),
        (
            "{v1: {path: /v1, split: {v2: 5%}}, v2: {path: /v2, routes: [{match: POST /payments, idempotency: required}]}}",
            [("bad_value", f"{V}.v1.split.v2")],
        ),
        (
            "{v1: {path: /v1, split: {v2: 5%}}, v2: {path: /v2, routes: [{match: GET /payments, upgrade: websocket}]}}",
            [("bad_value", f"{V}.v1.split.v2")],
        ),
        (by_header("2026-03-01: {split: {2026-11-01: 5%}}, 2026-11-01: {}"), []),
        (
            by_header("2026-03-01: {split: {2026-11-01: 5%}}, 2026-11-01: {changes: [{request: [{remove: /a}]}]}"),
            [("bad_value", f"{V}.2026-03-01.split.2026-11-01")],
        ),
        ("{v1: {path: /v1, retire: at_sunset}}", [("bad_value", f"{V}.v1")]),
        ("{v1: {path: /v1, sunset_at: 2027-01-02, retired_at: 2027-01-01}}", [("bad_value", f"{V}.v1")]),
        ("{v1: {path: /v1, brownouts: [{at: 2027-01-02, for: 1h}]}}", [("bad_value", f"{V}.v1")]),
        ("{v1: {path: /v1, state: deprecated, brownouts: [{at: 2027-01-02, for: 1h, every: 1h}]}}", [("bad_value", f"{V}.v1.brownouts[0]")]),
        ("{v1: {path: /v1, state: deprecated, brownouts: [{at: soon, for: 1h}]}}", [("bad_value", f"{V}.v1.brownouts[0].at")]),
        ("{v1: {path: /v1, notice: 'https://a/>;'}}", [("bad_value", f"{V}.v1.notice")]),
    ],
)  # fmt: skip
def test_what_fits_nothing_else_is_refused(
    tmp_path: Path, versions: str, found: list[tuple[str, str]]
) -> None:
    assert errors(tmp_path, text(versions)) == found


@pytest.mark.parametrize(
    ("pins", "found"),
    [
        ("payment: 2026-11-01", [("unresolved_reference", "consumers.a.pins.payment")]),
        ("payments: 2026-11-02", [("unresolved_reference", "consumers.a.pins.payments")]),
    ],
)
def test_a_pin_leads_to_a_version(tmp_path: Path, pins: str, found: list[tuple[str, str]]) -> None:
    assert errors(tmp_path, text(by_header(TWO), more=f"consumers: {{a: {{pins: {{{pins}}}}}}}\n")) == found


@pytest.mark.parametrize("versions", ["{v1: {path: /v1}}", by_header(TWO, default="2026-11-01")])
def test_a_pin_that_would_not_count_is_refused(tmp_path: Path, versions: str) -> None:
    more = "consumers: {a: {pins: {payments: v1}}}\n"
    assert errors(tmp_path, text(versions, more=more)) == [("bad_value", "consumers.a.pins.payments")]


@pytest.mark.parametrize(
    ("routes", "found"),
    [
        ("[{match: GET /payments, upgrade: websocket}]", "apis.payments.routes[0].upgrade"),
        ("[{match: POST /payments, body: 2MiB, idempotency: off}]", "apis.payments.routes[0].body"),
        (
            "[{match: POST /payments, idempotency: {resolve: {query: 'GET /p?k={key}', answer: query}}}]",
            "apis.payments.routes[0].idempotency.resolve.answer",
        ),
    ],
)
def test_a_route_must_bear_being_changed(tmp_path: Path, routes: str, found: str) -> None:
    versions = by_header(STEP % "{request: [{remove: /a}], response: [{remove: /b}]}")
    assert errors(tmp_path, text(versions, routes=routes)) == [("bad_value", found)]


def test_routes_conflict_within_a_version_and_with_other_apis_but_not_between_versions(
    tmp_path: Path,
) -> None:
    own = "2026-03-01: {}, 2026-11-01: {routes: [{match: GET /payments}, {match: GET /payments}]}"
    place = f"{V}.2026-11-01.routes[1].match"
    assert errors(tmp_path, text(by_header(own))) == [("route_conflict", place)]
    other = "  other: {upstream: pay, authenticate: [api_key], versions: {v1: {path: /payments}}, routes: [{match: GET /}]}\n"
    assert errors(tmp_path, text(by_header(TWO), more=other)) == [
        ("route_conflict", "apis.other.routes[0].match")
    ]
