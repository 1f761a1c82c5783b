"""The wheel holds the whole package and nothing else, and says what it needs."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from faregate import VERSION
from tests.contract.tree import CHECKOUT, SOURCE, project

LEFT_OUT = {"__pycache__"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """Built by the declared backend from a copy, so that nothing is left in the checkout."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(CHECKOUT / name, copy)
    shutil.copytree(SOURCE, copy / "src" / "faregate", ignore=shutil.ignore_patterns(*LEFT_OUT))
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True, timeout=60)
    (path,) = (copy / "dist").glob("*.whl")
    assert path.name == f"faregate-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    files = {
        str(Path("faregate") / path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and not LEFT_OUT & set(path.parts)
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == files


def test_it_says_what_it_needs_and_offers_the_command(wheel: zipfile.ZipFile) -> None:
    folder = f"faregate-{VERSION}.dist-info"
    metadata = BytesParser().parsebytes(wheel.read(f"{folder}/METADATA"))
    needed = {
        str(Requirement(text)) for text in metadata.get_all("Requires-Dist") or [] if "extra" not in text
    }
    assert needed == {str(Requirement(text)) for text in project()["project"]["dependencies"]}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "faregate = faregate.__main__:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
