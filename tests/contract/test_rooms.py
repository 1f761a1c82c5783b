"""The rooms keep to themselves (DESIGN section 3): the contracts in pyproject.toml hold, would notice, and forget nobody."""

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import grimp
import pytest

from tests.contract.tree import CHECKOUT, SOURCE, module_name, project, python_files

TOP = {"faregate", "faregate.__main__", "faregate.cli", "faregate.policies"}
"""On top of all rooms, or holding nothing that could be imported wrongly."""

NARROWER = [
    (
        "faregate.policies.*.settings",
        "faregate.model.*",
        {"faregate.model.values", "faregate.model.addresses"},
    ),
    ("faregate.compile.*", "faregate.stores.*", {"faregate.stores.certificates", "faregate.stores.jwk"}),
]
"""Of this room, these modules may import from that room only those named."""


def contracts() -> list[dict[str, list[str]]]:
    return project()["tool"]["importlinter"]["contracts"]


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("faregate", cache_dir=None)


def lint_imports(checkout: Path, source: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache", "--config", checkout / "pyproject.toml"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_contract_is_kept() -> None:
    done = lint_imports(CHECKOUT, CHECKOUT / "src")
    assert done.returncode == 0, done.stdout
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


PLANTED = {
    "kernel/units.py": "from faregate.snapshot import data",
    "compiled/modules.py": "from faregate.kernel import ids",
    "snapshot/data.py": "from faregate.stores import jwk",
    "stores/jwk.py": "from faregate.model import values",
    "records/writer.py": "from faregate.gateway import wheel",
    "policies/permit/step.py": "from faregate.policies.permit import settings",
    "policies/permit/settings.py": "from faregate.policies.permit import step",
    "gateway/wheel.py": "import pydantic",
    "model/paths.py": "from faregate.snapshot import data",
    "compile/walk.py": "from faregate.gateway import wheel",
    "manager/totals.py": "from faregate.gateway import wheel",
    "client/__init__.py": "from faregate.manager import heads",
    "demo/views.py": "from faregate.model import values",
}
"""One wrong import for each contract."""


def test_a_wrong_import_breaks_each_contract(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "src" / "faregate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for name, line in PLANTED.items():
        with (tmp_path / "src" / "faregate" / name).open("a") as module:
            module.write(f"\n{line}\n")
    done = lint_imports(tmp_path, tmp_path / "src")
    assert done.returncode == 1, done.stderr
    assert set(re.findall(r"^(.+) BROKEN$", done.stdout, re.MULTILINE)) == {
        contract["name"] for contract in contracts()
    }


@pytest.mark.parametrize("path", python_files("src"), ids=module_name)
def test_every_module_stands_under_a_contract(path: Path) -> None:
    module = module_name(path)
    sources = [source for contract in contracts() for source in contract["source_modules"]]
    held = any(fnmatchcase(module, source) or module.startswith(source + ".") for source in sources)
    top = module in TOP or module.startswith("faregate.cli.")
    empty = path.name == "__init__.py" and not re.search(
        r"^\s*(import|from) ", path.read_text(), re.MULTILINE
    )
    assert held or top or empty, f"name {module} in a contract of pyproject.toml"


@pytest.mark.parametrize(("importers", "room", "allowed"), NARROWER)
def test_some_may_use_only_a_part_of_a_room(importers: str, room: str, allowed: set[str]) -> None:
    modules = graph().modules
    imports = {
        (importer, imported)
        for importer in modules
        if fnmatchcase(importer, importers)
        for imported in graph().find_modules_directly_imported_by(importer)
        if fnmatchcase(imported, room)
    }
    assert {imported for _, imported in imports} == allowed


def test_the_running_worker_has_loaded_nothing_of_the_control_plane() -> None:
    code = (
        "import sys, faregate.gateway.worker_process, faregate.gateway.supervisor\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
        "print(*sorted(name for name in sys.modules if name.startswith('faregate.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    packages, modules = (set(line.split()) for line in done.stdout.splitlines())
    assert {"faregate", "asyncio", "httptools", "msgspec"} <= packages
    assert not packages & {
        "pydantic",
        "pydantic_core",
        "starlette",
        "uvicorn",
        "ruamel",
        "typer",
        "click",
        "rich",
        "flask",
    }
    rooms = {name.split(".")[1] for name in modules}
    assert rooms == {"gateway", "kernel", "policies", "records", "snapshot", "stores"}
