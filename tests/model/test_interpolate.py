"""References are filled from environment and files, and what they bring is never shown."""

from pathlib import Path

import pytest

from faregate.model.diagnostics import Findings
from faregate.model.interpolate import FILE_BYTES_MAX, Interpolated, Interpolation
from tests.model.configs import API, PLAN, UPSTREAM, check, compiled

ENVIRONMENT = {"ONE": "1", "EMPTY": "", "NESTED": "${ONE}", "WORD": "word"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${WORD}", "word"),
        ("a-${WORD}-${ONE}", "a-word-1"),
        ("$${WORD}", "${WORD}"),
        ("$$${WORD}", "$${WORD}"),
        ("$${${WORD}", "${word"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${ONE}"),
        ("$WORD", "$WORD"),
        ("100$", "100$"),
        ("${file:inner/value}", "from a file"),
        ("${file: inner/value}", "from a file"),
        ("<${file:inner/crlf}>", "<line>"),
    ],
)
def test_references_are_filled(tmp_path: Path, written: str, value: str) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/value").write_text("from a file\n")
    (tmp_path / "inner/crlf").write_bytes(b"line\r\n")
    findings = Findings()
    assert Interpolation(tmp_path, ENVIRONMENT, findings).apply({"key": [written]}) == {"key": [value]}
    assert findings.pending == []


def test_only_filled_text_is_marked(tmp_path: Path) -> None:
    value = Interpolation(tmp_path, ENVIRONMENT, Findings()).apply(["${WORD}", "$${WORD}", "plain"])
    assert [type(member) for member in value] == [Interpolated, str, str]


@pytest.mark.parametrize(
    "written",
    [
        "${MISSING}",
        "x${MISSING}y",
        "${file:missing}",
        "${file:}",
        "${file:big}",
        "${file:binary}",
        "${}",
        "${a b}",
        "${WORD",
        "${file:/\0}",
    ],
)
def test_what_cannot_be_filled_is_reported_once_and_only_as_that(tmp_path: Path, written: str) -> None:
    (tmp_path / "big").write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    findings = Findings()
    Interpolation(tmp_path, ENVIRONMENT, findings).apply({"key": written})
    assert [(finding.code, finding.path) for finding in findings.pending] == [("secret_missing", ("key",))]


def test_a_missing_value_causes_no_second_error(tmp_path: Path) -> None:
    text = 'consumers: {a: {plan: "${X}", credentials: [{api_key: {id: k, sha256: "${X}"}}, {api_key: {id: l, sha256: "${X}"}}]}}\n'
    assert {diagnostic.code for diagnostic in check(tmp_path, text)} == {"secret_missing"}


def test_numbers_and_flags_may_come_from_the_environment(tmp_path: Path) -> None:
    text = f'gateway: {{listen: [{{address: "127.0.0.1:${{PORT}}"}}], workers: "${{WORKERS}}"}}\n{UPSTREAM}{PLAN}{API}    forward_credential: ${{FORWARD}}\n'
    snapshot = compiled(tmp_path, text, PORT="8111", WORKERS="3", FORWARD="true")
    assert (
        snapshot.gateway.listen[0].port,
        snapshot.gateway.workers,
        snapshot.routes[0].forward_credential,
    ) == (8111, 3, True)


@pytest.mark.parametrize("workers", ["03", "3.0", "four", "", "-1", "65"])
def test_text_from_the_environment_is_not_bent_into_a_number(tmp_path: Path, workers: str) -> None:
    diagnostics = check(tmp_path, 'gateway: {workers: "${WORKERS}"}\n', WORKERS=workers)
    assert [diagnostic.path for diagnostic in diagnostics] == ["gateway.workers"]


def test_files_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    files = {
        "faregate.yaml": f"include: [parts/*.yaml]\n{PLAN}",
        "parts/one.yaml": 'consumers: {a: {plan: "${file:plan.txt}"}}\n',
        "parts/plan.txt": "standard\n",
    }
    assert compiled(tmp_path, files).consumers[0].plan == "standard"
