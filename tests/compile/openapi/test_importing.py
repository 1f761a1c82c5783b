"""What an import makes passes `check` and validates; what it could not map is told."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from faregate.cli.app import main
from faregate.compile.openapi.document import Document, DocumentError
from faregate.compile.openapi.importing import imported

VECTORS: Final = Path(__file__).parents[2] / "vectors/openapi"


def made(paths: dict[str, Any], **more: object) -> tuple[Any, list[str]]:
    document: Any = {"openapi": "3.1.0", "info": {"title": "T", "version": "1.2"}, "paths": paths, **more}
    return imported(Document(document), name="pay", file="spec.yaml")


@pytest.mark.parametrize("name", ["payments.yaml", "transfers.json"])
def test_what_is_made_passes_check(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "faregate.yaml"
    assert (
        main(
            [
                "import",
                "openapi",
                str(VECTORS / name),
                "--out",
                str(out),
                "--upstream",
                "http://127.0.0.1:9001",
            ]
        )
        == 0
    )
    assert main(["check", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one for one in found if one["level"] == "error"] == []
    assert main(["import", "openapi", str(VECTORS / name), "--out", str(out)]) == 1  # it exists


def test_scopes_schemes_keys_and_versions_are_mapped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "openapi", str(VECTORS / "payments.yaml"), "--name", "payments", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    api = told["configuration"]["apis"]["payments"]
    assert api["authenticate"] == ["jwt", "api_key"]
    assert api["versions"] == {"v2": {"path": "/v2", "state": "active"}}
    assert api["validate"] == {"request": True, "response": "off"}
    assert api["routes"][1:] == [
        {"match": "POST /payments", "require": "payments:write", "idempotency": "required"},
        {"match": "GET /payments/{payment_id}", "require": "payments:read"},
        {"match": "POST /payments/{payment_id}/refunds", "require": ["payments:write", "refunds:write"]},
    ]
    assert any("issuers" in note for note in told["notes"])


def test_public_operations_are_an_api_of_their_own() -> None:
    keyed: Any = {"security": [{"k": []}], "responses": {}}
    schemes = {"securitySchemes": {"k": {"type": "apiKey", "in": "header", "name": "X-Key"}}}
    tree, notes = made({"/a": {"post": keyed}, "/b": {"get": {"responses": {}}}}, components=schemes)
    assert {name: (api["authenticate"], api["routes"]) for name, api in tree["apis"].items()} == {
        "pay": (["api_key"], [{"match": "POST /a", "require": "pay:write"}]),
        "pay-public": ([], [{"match": "GET /b"}]),
    }
    assert any("X-Key" in note for note in notes)
    assert tree["apis"]["pay"]["versions"] == {"1.2": {"path": "/", "state": "active"}}


@pytest.mark.parametrize(
    ("operation", "path", "told"),
    [
        ({"callbacks": {}}, "/a", "callbacks"),
        ({}, "/a/{b}.json", "not mapped"),
        ({"parameters": [{"name": "Idempotency-Key", "in": "header", "required": True}]}, "/a", "known"),
        (
            {"parameters": [{"name": "a", "in": "query", "schema": {"pattern": "(?=a)"}}]},
            "/a",
            "not validated",
        ),
        (
            {"parameters": [{"name": "a", "in": "query", "style": "deepObject", "schema": {}}]},
            "/a",
            "not checked",
        ),
        ({"security": [{"b": []}]}, "/a", "api_key stands in"),
        ({"security": [{"b": []}]}, "/a", "(http) is not mapped"),
        ({"security": [{"b": []}, {"b": ["x y"]}]}, "/a", "left out"),
    ],
)
def test_what_cannot_be_mapped_is_told(operation: dict[str, Any], path: str, told: str) -> None:
    schemes = {"securitySchemes": {"b": {"type": "http", "scheme": "basic"}}}
    _, notes = made({path: {"post": operation}, "/other": {"get": {}}}, components=schemes)
    assert any(told in note for note in notes), notes


def test_what_is_no_document_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DocumentError):
        made({})
    (tmp_path / "a.yaml").write_text("swagger: '2.0'\npaths: {}\n")
    assert main(["import", "openapi", str(tmp_path / "a.yaml")]) == 1
    assert "Swagger 2.0" in capsys.readouterr().err
    assert main(["import", "openapi", str(tmp_path / "none.yaml")]) == 1
    assert main(["import", "openapi", str(VECTORS / "payments.yaml"), "--upstream", "nonsense"]) == 2
    capsys.readouterr()
    for name in ("Re funds", "-x", "x" * 125):
        assert main(["import", "openapi", str(VECTORS / "payments.yaml"), "--name", name]) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert "is not a name; expected 1 to 128 letters" in told.err


def test_diff_has_its_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = VECTORS / "payments.yaml"
    less = tmp_path / "less.yaml"
    less.write_text(old.read_text().replace("[open, captured, refunded]", "[open, captured]"))
    more = tmp_path / "more.yaml"
    more.write_text(
        old.read_text().replace(
            "metadata: {type: object,", "hint: {type: string}\n            metadata: {type: object,"
        )
    )
    assert main(["api", "diff", str(old), str(old)]) == 0
    assert main(["api", "diff", str(old), str(more)]) == 0
    assert "property_added" in capsys.readouterr().out
    assert main(["api", "diff", str(old), str(less)]) == 2
    shown = capsys.readouterr().out
    assert 'lost: {"const":"refunded"}' in shown
    assert main(["api", "diff", str(old), str(less), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["breaking"] == 1
    assert main(["api", "diff", str(old), str(tmp_path / "none.yaml")]) == 1


def test_nothing_of_a_document_is_a_line_or_a_command_of_its_own() -> None:
    odd = "/a/{b}.\n\x1b[2J"
    _, notes = made({odd: {"get": {}}, "/c": {"get": {}}})
    assert notes
    assert all(note.isprintable() for note in notes)
