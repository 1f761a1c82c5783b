"""What a compilation says besides the snapshot: the files it read, and where the data may lie."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from faregate.compile.data_places import data_folders
from tests.model.configs import write


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("gateway:\n  data: /var/lib/faregate\n", "/var/lib/faregate"),
        ("gateway: {workers: 1, data: data, listen: [", "data"),
        ('gateway: {"data": "my data"}', None),
        ('{"gateway": {"data": "d"}}', "d"),
        ("# data: old\ngateway:\n  data: 'new'\n", "new"),
        ("gateway:\n  data: ${DATA}\n", None),
        ("{ not: [yaml", None),
    ],
)
def test_the_data_folder_is_found_in_files_that_are_broken(
    tmp_path: Path, text: str, named: str | None
) -> None:
    file = tmp_path / "faregate.yaml"
    file.write_text(text)
    found = data_folders(file)
    assert found[-1] == str(tmp_path / "faregate-data")
    assert found[:-1] == ([str(tmp_path / named)] if named is not None else [])


def test_what_the_tree_says_comes_first_and_a_missing_file_has_the_default(tmp_path: Path) -> None:
    tree = {"gateway": {"data": "told"}}
    assert data_folders(tmp_path / "absent.yaml", tree) == [
        str(tmp_path / "told"),
        str(tmp_path / "faregate-data"),
    ]


def report_of(folder: Path, file: Path) -> tuple[int, dict[str, object]]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "faregate.compile", str(file)),
            *("--out", str(folder / "out"), "--revision", "1", "--report", str(folder / "told")),
        ],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, json.loads((folder / "told").read_text())


def test_every_file_that_was_read_is_named_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("plans: {standard: {concurrency: 5}}\n")
    (tmp_path / "secret").write_text("s" * 32)
    file = write(
        tmp_path,
        "include: [more.yaml]\n"
        "issuers: {a: {issuer: 'https://a', audience: p, algorithms: [HS256], secret: '${file:secret}'}}\n",
    )
    _, report = report_of(tmp_path, file)
    assert set(map(str, report["files"])) == {  # type: ignore[call-overload]
        str(file),
        str(tmp_path / "more.yaml"),
        str(tmp_path / "secret"),
    }


def test_a_broken_file_is_reported_with_what_was_read_of_it(tmp_path: Path) -> None:
    file = tmp_path / "faregate.yaml"
    file.write_text("gateway: {data: d}\nplan: {\n")
    status, report = report_of(tmp_path, file)
    assert status == 1
    assert list(report["files"]) == [str(file)]  # type: ignore[call-overload]
    assert report["data"] == [str(tmp_path / "d"), str(tmp_path / "faregate-data")]
    assert "bad_yaml" in str(report["diagnostics"])
    assert "faregate.yaml:2:" in str(report["text"])
