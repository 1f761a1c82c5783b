"""The files keep the house rules that a program can see (DESIGN section 5), and the commands are where the docs say."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import APART
from tests.contract.tree import CHECKOUT, SOURCE, project, python_files

LINES_MAX = 400
DOCSTRING_LINES_MAX = 10
FILES = python_files("src", "scripts", "benchmarks", "tests")
MAKE = (CHECKOUT / "Makefile").read_text()


def name(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_no_file_is_longer_than_one_reads_in_a_sitting(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= LINES_MAX, "a sign to split"


@pytest.mark.parametrize("path", python_files("src", "scripts", "benchmarks"), ids=name)
def test_a_module_begins_by_saying_why_it_exists(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    if path.name in {"__init__.py", "__main__.py"} and not path.read_text().strip():
        return  # a folder without words of its own
    assert text is not None
    assert sum(bool(line) for line in text.splitlines()) <= DOCSTRING_LINES_MAX


@pytest.mark.parametrize("path", [*FILES, CHECKOUT / "Makefile"], ids=name)
def test_nothing_is_left_for_later(path: Path) -> None:
    later = "TO" + "DO|FIX" + "ME|XX" + "X"
    assert not re.search(rf"\b({later})\b", path.read_text())


POLICIES = sorted(
    folder.name
    for folder in (SOURCE / "policies").iterdir()
    if (folder / "step.py").exists() or (folder / "settings.py").exists()
)


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_all_alike(policy: str) -> None:
    assert (SOURCE / "policies" / policy / "settings.py").exists()
    assert (SOURCE / "policies" / policy / "step.py").exists()
    assert (CHECKOUT / "docs" / "policies" / f"{policy}.md").exists()


def test_no_page_describes_a_policy_that_is_gone() -> None:
    assert {page.stem for page in (CHECKOUT / "docs" / "policies").glob("*.md")} - {"index"} == set(POLICIES)


@pytest.mark.parametrize(
    "file", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"]
)
def test_the_files_that_people_look_for_are_there(file: str) -> None:
    assert (CHECKOUT / file).read_text().strip()


TARGETS = set(re.findall(r"^([a-z]+):", MAKE, re.MULTILINE))


@pytest.mark.parametrize(
    "page", [*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / ".ci" / "run"], ids=name
)
def test_every_make_command_that_is_written_down_exists(page: Path) -> None:
    written = set(re.findall(r"^(?:\$ )?make ([a-z]+)|`make ([a-z]+)", page.read_text(), re.MULTILINE))
    assert {first or second for first, second in written} <= TARGETS


def test_every_target_is_phony_and_explained() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == TARGETS == set(re.findall(r"^([a-z]+):.*## \w", MAKE, re.MULTILINE))


def test_make_test_leaves_no_folder_out() -> None:
    planned = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
        env={"PATH": os.environ["PATH"]},
    ).stdout
    folders = {
        f"tests/{folder.name}" for folder in (CHECKOUT / "tests").iterdir() if list(folder.glob("test_*.py"))
    }
    unmarked = " ".join(line for line in planned.splitlines() if '"not proof or beside"' in line)
    assert folders == {word for word in unmarked.split() if word in folders}
    assert '-m "proof and not (beside or paired)" tests' in planned
    assert not list((CHECKOUT / "tests").glob("test_*.py")), "tests live in folders"


def test_every_marker_is_run_by_one_of_the_parts() -> None:
    """Another that selects would need a line of its own in the Makefile; ``apart`` only says where a test may run."""
    markers = {text.partition(":")[0] for text in project()["tool"]["pytest"]["ini_options"]["markers"]}
    assert markers == {"proof", "beside", "paired", "apart"}
    assert '-m "not proof or beside"' in MAKE
    assert '-m "proof and paired" $(PAIRS)' in MAKE
    assert '-m "proof and not (beside or paired)" $(PROOFS)' in MAKE
    assert "FAREGATE_PROOF=long $(PYTEST) -m proof $(PROOFS)" in MAKE, "all of them"


@pytest.mark.parametrize("path", [CHECKOUT / ".ci" / "run", *(CHECKOUT / "scripts").glob("*.sh")], ids=name)
def test_scripts_can_be_run_by_any_shell(path: Path) -> None:
    assert path.read_text().startswith("#!/bin/sh\n")
    assert os.access(path, os.X_OK)
    subprocess.run(["sh", "-n", path], check=True, timeout=10)


def test_no_registry_or_machine_is_written_into_the_project() -> None:
    own = [CHECKOUT / "Makefile", CHECKOUT / "pyproject.toml", *(CHECKOUT / "scripts").iterdir()]
    for path in own:
        if path.is_file():
            assert not re.search(
                r"https?://|(?<!no-emit-)index-url|/root/|/home/|/work/", path.read_text()
            ), name(path)


def test_whole_files_are_marked_apart_where_the_scheduler_looks_for_it() -> None:
    marked = [path for path in python_files("tests") if "mark.apart" in path.read_text()]
    assert len(marked) > 5
    for path in marked:
        if path.name.startswith("test_") and path != Path(__file__):
            assert APART.search(path.read_text()), path
            assert path.read_text().count("mark.apart") == 1, path
