"""What the documentation points to exists: pages, files, commands, options, policies, decisions."""

import re
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
from typer.models import ArgumentInfo

from faregate import policies
from faregate.cli.app import COMMANDS, available_commands
from faregate.compile.available import NOT_AVAILABLE
from faregate.model.diagnostics import CODES
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, prose, section, sections

SOURCE = ROOT / "src" / "faregate"
COMMANDS_PAGE = DOCS / "reference" / "commands.md"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
USERS_FILES = {
    "faregate.yaml",
    "changed.yaml",
    "bad.yaml",
    "faregate.schema.json",
    "jwks.json",
    "acme.jwks.json",
    "peppers.json",
    "base.json",
    "managed.jsonl",
    "openapi.yaml",
}
"""Names of files that the reader has, not we."""


def by_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    broken = [
        link for link in links
        if not link.startswith(("https://", "#")) and not (page.parent / link.partition("#")[0]).exists()
    ]  # fmt: skip
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_file_named_exists(page: Path) -> None:
    named = re.findall(r"`([\w./<>-]+\.(?:py|md|yaml|toml|json))`", prose(page))
    missing = [name for name in named if not _exists(name) and not (page.parent / name).exists()]
    assert missing == []


def _exists(name: str) -> bool:
    if (
        "<" in name
        or "NNNN" in name  # a pattern of names
        or name.rpartition("/")[2] in USERS_FILES
        or (ROOT / name).exists()
        or (SOURCE / name).exists()
    ):
        return True
    return any(SOURCE.rglob(name))


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_command_named_is_a_command(page: Path) -> None:
    code = [block.text for block in blocks("", "sh", "console", "ini") if block.page == page]
    code += re.findall(r"`([^`\n]+)`", prose(page))
    named = {
        word
        for text in code
        for word in re.findall(r"(?:^|\$ |[ /(])faregate ([a-z]+)\b", text, re.MULTILINE)
    }
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=by_page)
def test_every_module_run_with_python_exists(page: Path) -> None:
    modules = set(re.findall(r"python3? -m ([\w.]+)", page.read_text("utf-8"))) - {"pip", "venv", "pytest"}
    for module in modules:
        path = (
            ROOT / "src" / module.replace(".", "/")
            if module.startswith("faregate")
            else ROOT / module.replace(".", "/")
        )
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    scripts = re.findall(r"python3? (benchmarks/\w+\.py)", page.read_text("utf-8"))
    assert all((ROOT / script).exists() for script in scripts)


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    assert set(sections(COMMANDS_PAGE)) == {f"faregate {name}" for name in COMMANDS}


@pytest.mark.parametrize("name", available_commands())
def test_every_option_of_a_command_stands_in_its_section(name: str) -> None:
    text = section(COMMANDS_PAGE, f"faregate {name}")
    module = import_module(f"faregate.cli.{name}")
    functions = (
        [one.callback for one in module.commands.registered_commands]
        if hasattr(module, "commands")
        else [module.command]
    )
    taken = [one for function in functions for one in signature(function).parameters.values()]
    parameters = {one.name for one in taken}
    typed = {
        one.name
        for one in taken
        if any(isinstance(note, ArgumentInfo) for note in getattr(one.annotation, "__metadata__", ()))
    }
    other = {"directory": "dir", "lasts": "for"}
    named = {other.get(one, one).replace("_", "-") for one in parameters - typed}
    named -= {"context"}
    if name == "schema":
        named -= {"json"}  # accepted like everywhere, changes nothing
    assert named <= set(re.findall(r"--([a-z-]+)", text))
    assert ("FILE" in text) == ("file" in parameters or "config" in parameters)


def test_every_diagnostic_is_listed_with_its_meaning() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*) \|$", section(COMMANDS_PAGE, "faregate check"), re.MULTILINE
    )
    assert {code: (level, meaning) for code, level, meaning in rows} == {
        code: (level.value, meaning) for code, (level, meaning) in CODES.items()
    }


def test_every_policy_has_a_page() -> None:
    folders = {path.parent.name for path in Path(policies.__file__).parent.glob("*/step.py")}
    pages = {page.stem for page in (DOCS / "policies").glob("*.md")}
    assert folders == pages


def test_every_page_is_reached_from_the_index() -> None:
    reached = {
        (DOCS / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", (DOCS / "index.md").read_text())
    }
    assert {page for page in DOCS.rglob("*.md") if page.name != "index.md"} <= reached


def test_decisions_are_numbered_without_a_gap_and_all_alike() -> None:
    assert [page.name[:4] for page in DECISIONS] == [
        f"{number:04d}" for number in range(1, len(DECISIONS) + 1)
    ]
    for page in DECISIONS:
        assert page.read_text().startswith(f"# {page.name[:4]} ")
        assert sections(page) == ["Context", "Decision", "Consequences"], page.name


def test_the_decision_about_refused_parts_lists_them_all() -> None:
    text = (DOCS / "decisions" / "0009-refused-not-ignored.md").read_text()
    rows = [row for row in text.splitlines() if row.startswith("| `")]
    for missing in NOT_AVAILABLE:
        assert any(missing.what in row and missing.meanwhile in row for row in rows), missing.what
    assert len(rows) == len({(row.what, row.meanwhile) for row in NOT_AVAILABLE})


def test_the_architecture_names_every_room() -> None:
    text = section(ROOT / "ARCHITECTURE.md", "Rooms")
    for room in (path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()):
        assert f"`{room}/" in text, room
