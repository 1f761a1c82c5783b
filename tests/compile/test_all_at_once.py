"""Errors of every kind come together, sorted, each with the name that was probably meant."""

from hashlib import sha256
from pathlib import Path

import pytest

from faregate.compile import compile_config
from faregate.model.report import SHOWN_MAX, as_text, summary
from tests.model.configs import API, PLAN, UPSTREAM, brief, check, loaded

MANY = """\
gatway: {}
gateway:
  store: postgresql://host/db
  workers: many
  limits: {header_byte: 64KiB, body: 5}
plans:
  gold: {limits: [5/sec], concurency: 5}
consumers:
  acme:
    plan: golf
    credentials:
      - jwt: {issuer: acme, subject: x}
      - apikey: {}
apis:
  payments:
    upstream: pay
    authenticate: [jwtt]
    versions: {v1: {path: v1, successor: v2, state: old}}
    routes:
      - match: FETCH /payments
      - match: POST /payments
      - match: POST /payments
"""


def test_every_kind_of_error_is_reported_in_one_run(tmp_path: Path) -> None:
    found = check(tmp_path, MANY)
    assert [(d.code, d.path, d.nearest) for d in found] == [
        ("unknown_key", "gatway", "gateway"),
        ("wrong_type", "gateway.workers", ""),
        ("unknown_key", "gateway.limits.header_byte", "header_bytes"),
        ("wrong_type", "gateway.limits.body", ""),
        ("bad_value", "plans.gold.limits[0]", ""),
        ("unknown_key", "plans.gold.concurency", "concurrency"),
        ("unresolved_reference", "consumers.acme.plan", "gold"),
        ("unresolved_reference", "consumers.acme.credentials[0].jwt.issuer", ""),
        ("unknown_key", "consumers.acme.credentials[1].apikey", "api_key"),
        ("unresolved_reference", "apis.payments.upstream", ""),
        ("bad_value", "apis.payments.authenticate[0]", "jwt"),
        ("bad_value", "apis.payments.versions.v1.path", ""),
        ("unresolved_reference", "apis.payments.versions.v1.successor", ""),
        ("bad_value", "apis.payments.versions.v1.state", ""),
        ("bad_value", "apis.payments.routes[0].match", ""),
    ]


def test_diagnostics_come_sorted_by_file_line_and_column(tmp_path: Path) -> None:
    found = check(
        tmp_path,
        {
            "faregate.yaml": MANY.replace("gatway: {}", "include: [z.yaml, b.yaml]"),
            "z.yaml": "a: 1\n",
            "b.yaml": "b: 1\n",
        },
    )
    places = [(d.file, d.line, d.column) for d in found]
    assert places == sorted(places)
    assert len({file for file, _, _ in places}) == 3


def test_the_text_form_has_place_line_caret_expectation_and_nearest_name(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, UPSTREAM + PLAN + "consumers:\n  acme: {plan: standrad}\n" + API)
    _, diagnostics = compile_config(configuration, 1)
    assert as_text(diagnostics, configuration.tree.sources) == (
        f"{tmp_path}/faregate.yaml:4:16: unresolved_reference: no plan is named `standrad`\n"
        "      acme: {plan: standrad}\n"
        "                   ^\n"
        "    expected one of standard\n"
        "    did you mean `standard`?\n"
    )


def test_text_is_bounded_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    configuration = loaded(
        tmp_path, "consumers:\n" + "".join(f"  c{n}: {{plan: none}}\n" for n in range(SHOWN_MAX + 7))
    )
    _, diagnostics = compile_config(configuration, 1)
    assert len(diagnostics) == SHOWN_MAX + 7
    text = as_text(diagnostics, configuration.tree.sources)
    assert text.endswith("... and 7 more\n")
    assert text.count("unresolved_reference") == SHOWN_MAX
    assert summary(diagnostics) == f"{SHOWN_MAX + 7} errors"


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (
            "      - match: GET /payments/{id}\n      - match: GET /payments/new\n      - match: GET /payments/{rest...}\n",
            [],
        ),
        ("      - match: PUT /payments\n", []),
        (
            "      - match: GET /payments/{id}\n      - match: GET /payments/{key}\n",
            [("route_conflict", 10, 16)],
        ),
        ("      - match: GET /{a...}\n      - match: GET /{b...}\n", [("route_conflict", 10, 16)]),
    ],
)
def test_only_routes_of_one_method_and_shape_conflict(tmp_path: Path, extra: str, found: list) -> None:
    assert brief(check(tmp_path, UPSTREAM + API + extra)) == found


def test_routes_of_two_apis_can_conflict(tmp_path: Path) -> None:
    second = API.replace("apis:\n", "").replace("payments:", "other:")
    assert brief(check(tmp_path, UPSTREAM + API + second)) == [("route_conflict", 14, 16)]


def test_two_versions_on_one_path_conflict_once_not_once_a_route(tmp_path: Path) -> None:
    text = (
        UPSTREAM
        + API.replace("{path: /v1}", "{path: /v1}, v2: {path: /v1}")
        + "      - match: PUT /payments\n"
    )
    assert brief(check(tmp_path, text)) == [("route_conflict", 6, 44)]


def test_warnings_are_shown_beside_an_error_of_shape(tmp_path: Path) -> None:
    everybody = sha256(b"changeme").hexdigest()
    text = (
        "gateway: {listen: [{address: 0.0.0.0:8080}], workerz: 1}\n"
        "plans: {a: {limts: []}, b: {}}\n"
        f"consumers: {{x: {{credentials: [{{api_key: {{id: k, sha256: {everybody}}}}}]}}}}\n"
    )
    codes = {one.code for one in check(tmp_path, text)}
    assert codes == {"unknown_key", "no_limits", "open_listener", "sample_credential"}


def test_a_permission_that_a_broken_consumer_may_hold_is_not_told_of(tmp_path: Path) -> None:
    text = UPSTREAM + API.replace("GET /payments", "GET /payments\n        require: [a:read]")
    broken = "consumers: {x: {credentials: [{api_key: {}}], permissions: [a:read]}}\n"
    assert "ungranted_permission" in {one.code for one in check(tmp_path, text + "plans: {a: {limts: []}}\n")}
    assert "ungranted_permission" not in {one.code for one in check(tmp_path, text + broken)}
