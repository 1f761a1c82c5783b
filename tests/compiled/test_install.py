"""A compiled form is used when one fits the sources, byte for byte and interpreter for interpreter; never otherwise."""

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate import compiled
from faregate.compiled import __main__ as making
from faregate.compiled.modules import MODULES

SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))


@pytest.fixture(autouse=True)
def same_finders() -> Iterator[None]:
    before = list(sys.meta_path)
    yield
    sys.meta_path[:] = before


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    return tmp_path


def lay(prefix: Path, name: str) -> None:
    file = prefix / "lib" / "faregate-compiled" / name / "faregate" / "gateway" / f"wheel{SUFFIX}"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")


def test_every_module_of_the_list_exists() -> None:
    for module in MODULES:
        assert importlib.util.find_spec(f"faregate.{module}") is not None, module
    assert list(MODULES) == sorted(set(MODULES))


def test_without_a_build_the_sources_run(prefix: Path) -> None:
    lay(prefix, "f" * 24)  # of other sources
    assert compiled.install() == 0


def test_the_build_that_fits_is_used(prefix: Path) -> None:
    lay(prefix, compiled.build_name())
    assert compiled.install() == 1
    finder = sys.meta_path[0]
    found = finder.find_spec("faregate.gateway.wheel", None)
    assert found is not None
    assert found.origin is not None
    assert found.origin.endswith(SUFFIX)
    assert finder.find_spec("faregate.gateway.pool", None) is None


def test_the_switch_turns_it_off(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(prefix, compiled.build_name())
    monkeypatch.setenv(compiled.SWITCH, "OFF")
    assert compiled.install() == 0


def test_one_changed_byte_of_a_source_asks_for_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "faregate"
    shutil.copytree(compiled.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = compiled.build_name()
    monkeypatch.setattr(compiled, "PACKAGE", copy)
    assert compiled.build_name() == before
    source = copy / "kernel" / "ids.py"
    source.write_bytes(source.read_bytes() + b"#")
    assert compiled.build_name() != before


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler-here")
    assert making.missing().startswith("a C compiler")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "faregate[compiled]" in making.missing()


def test_without_a_compiler_it_says_so_and_leaves_nothing(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler-here")
    assert making.main() == making.IMPOSSIBLE
    assert "runs as it is written" in capsys.readouterr().out
    assert not (prefix / "lib").exists()
