"""Which operation a route is, and what is told where a document cannot be used or does not describe a route."""

import json
from pathlib import Path
from shutil import copy
from typing import Final

import pytest

from faregate.model.diagnostics import Level
from faregate.snapshot.data import Snapshot
from faregate.snapshot.encoded import decode, decode_outline, encode
from tests.model.configs import UPSTREAM, check, compiled

VECTORS: Final = Path(__file__).parents[2] / "vectors/openapi"
LIMITS: Final = '    limits: ["100/second"]\n'


def config(
    versions: str, *routes: str, api: str = "openapi: payments.yaml\n    validate: {request: true}"
) -> str:
    listed = "".join(f"      - {{{route}}}\n" for route in routes)
    return (
        UPSTREAM
        + "apis:\n  payments:\n    upstream: pay\n    authenticate: []\n"
        + LIMITS
        + f"    {api}\n    versions: {versions}\n    routes:\n{listed}"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for one in VECTORS.iterdir():
        copy(one, tmp_path)
    return tmp_path


def told(folder: Path, text: str, level: Level = Level.ERROR) -> list[tuple[str, str]]:
    return [(one.code, one.path) for one in check(folder, text) if one.level is level]


def test_operations_are_found_by_the_whole_path_or_that_within_the_version(folder: Path) -> None:
    for versions in ("{v2: {path: /v2}}", "{v9: {path: /elsewhere}}"):
        made = compiled(folder, config(versions, 'match: "GET /payments/{id}"', "match: POST /payments"))
        read, write = (route.validation for route in made.routes)
        assert read is not None
        assert write is not None
        assert [(one.place, one.name, one.segment) for one in read.parameters] == [
            ("path", "payment_id", 3),
        ]
        assert write.bodies is not None
        assert [body.media for body in write.bodies] == [
            "application/json",
            "application/x-www-form-urlencoded",
        ]
        assert (write.body_required, write.response, write.answers) == (True, "off", ())
    whole = config("{v1: {path: /}}", 'match: "POST /v2/payments"')
    assert compiled(folder, whole).routes[0].validation is not None


def test_api_version_and_route_each_have_a_say(folder: Path) -> None:
    routes = ("match: GET /payments", 'match: "GET /payments/{id}", validate: off')
    versions = "{v2: {path: /v2}, v3: {path: /v3, validate: {request: false, response: log}}, v4: {path: /v4, validate: off}}"
    made = compiled(folder, config(versions, *routes))
    said = [one.validation and (one.validation.request, one.validation.response) for one in made.routes]
    assert said == [(True, "off"), None, (False, "log"), None, None, None]
    assert (made.checks_bodies, made.holds_bodies) == (True, True)
    assert decode(encode(made)) == made
    assert decode_outline(encode(made)).holds_bodies


def test_a_version_has_its_own_document_and_a_document_may_be_written_in_place(folder: Path) -> None:
    inline = (
        "{openapi: 3.1.0, paths: {/ping: {get: {parameters: "
        "[{name: n, in: query, schema: {type: integer}}], responses: {}}}}}"
    )
    versions = f"{{v1: {{path: /v1, openapi: {inline}, routes: [{{match: GET /ping}}]}}, v2: {{path: /v2}}}}"
    made = compiled(folder, config(versions, "match: GET /payments"))
    assert [
        [one.name for one in route.validation.parameters] for route in made.routes if route.validation
    ] == [
        ["n"],
        ["accept-language", "limit", "status", "created", "live", "filter"],
    ]


def test_without_validate_nothing_is_read_nor_checked(folder: Path) -> None:
    made = compiled(folder, config("{v1: {path: /v1}}", "match: GET /x", api="openapi: missing.yaml"))
    assert (made.routes[0].validation, made.checks_bodies) == (None, False)


ONE: Final = "{v1: {path: /v1}}"
ROUTE: Final = "apis.payments.routes[0]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (config(ONE, "match: GET /elsewhere"), [("no_operation", f"{ROUTE}.match")]),
        (config(ONE, "match: GET /payments", api="validate: {request: true}"), [("missing_key", f"{ROUTE}.match")]),
        (config(ONE, "match: POST /payments, body: 2MiB"), [("bad_value", f"{ROUTE}.match")]),
        (config(ONE, "match: GET /payments", api="openapi: none.yaml\n    validate: {}"), [("bad_openapi", "apis.payments.openapi")]),
        (config(ONE, "match: GET /payments", api="openapi: [a]"), [("wrong_type", "apis.payments.openapi")]),
        (config(ONE, "match: GET /payments", api="openapi: {swagger: '2.0'}\n    validate: {}"),
         [("bad_openapi", "apis.payments.openapi")]),
        (config(ONE, "match: GET /a", api="openapi: {openapi: 3.1.0, paths: {/a: {get: {parameters: [{name: a, in: query, "
                "schema: {pattern: '(?=a)'}}]}}}}\n    validate: {}"), [("bad_openapi", "apis.payments.openapi")]),
        (config(ONE, "match: GET /a", api="openapi: {openapi: 3.1.0, paths: {/a: {get: {parameters: [{name: a, in: query, "
                "schema: {$ref: 'http://evil.example/x'}}]}}}}\n    validate: {}"), [("bad_openapi", "apis.payments.openapi")]),
        (config(ONE, "match: GET /payments", api="openapi: payments.yaml\n    validate: {requests: true}"),
         [("unknown_key", "apis.payments.validate.requests")]),
    ],
)  # fmt: skip
def test_what_is_an_error(folder: Path, text: str, expected: list[tuple[str, str]]) -> None:
    assert told(folder, text) == expected


def test_the_patterns_of_a_configuration_are_bounded(folder: Path) -> None:
    names = [f"p{number}" for number in range(70)]
    parameters = [
        {
            "name": name,
            "in": "query",
            "schema": {"type": "string", "title": name, "pattern": f"^{name}.{{1,900}}$"},
        }
        for name in names
    ]
    document = {"openapi": "3.1.0", "paths": {"/a": {"get": {"parameters": parameters}}}}
    (folder / "many.json").write_text(json.dumps(document))
    text = config(ONE, "match: GET /a", api="openapi: many.json\n    validate: {}")
    assert told(folder, text) == [("bad_openapi", "apis.payments.openapi")]
    document["paths"]["/a"]["get"]["parameters"] = parameters[:20]  # type: ignore[index]
    (folder / "many.json").write_text(json.dumps(document))
    assert told(folder, text) == []


def test_what_is_not_checked_is_a_warning(folder: Path) -> None:
    text = config(
        "{v1: {path: /banking}}",
        'match: "GET /transfers/{id}"',
        api="openapi: transfers.json\n    validate: {}",
    )
    assert ("not_validated", "apis.payments.openapi") in told(folder, text, Level.WARNING)
    assert isinstance(compiled(folder, text), Snapshot)
