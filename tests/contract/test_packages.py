"""What an installation brings: few packages, free licences, exactly the locked versions, and a quick start."""

import re
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from faregate import VERSION
from tests.contract.tree import CHECKOUT, project

CORE_PACKAGES_MAX = 45
"""libraries.md, first paragraph."""
LICENCES = re.compile(r"(MIT|MIT-0|BSD(-[23]-Clause)?|Apache(-2\.0)?|PSF-2\.0|ISC)")
LOCKS = {name: CHECKOUT / "requirements" / f"{name}.lock" for name in ("run", "dev", "bench")}
VERSION_SECONDS_MAX = 0.150
"""SPEC section 7."""

CLASSIFIERS = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "Apache Software License": "Apache",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
}


def core() -> set[str]:
    """Every package that ``pip install faregate`` installs on this Python, faregate itself included."""
    found: set[str] = set()
    waiting = [Requirement("faregate")]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found.add(name)
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed)
    return found


def licence(package: str) -> str:
    """An SPDX expression, or the nearest that the older metadata allow."""
    metadata = distribution(package).metadata
    expression = metadata.get("License-Expression")
    if expression is not None:
        return expression
    endings = [
        text.rpartition(" :: ")[2]
        for text in metadata.get_all("Classifier") or []
        if text.startswith("License")
    ]
    return " OR ".join(CLASSIFIERS.get(ending, ending) for ending in endings) or "unknown"


def is_free(expression: str) -> bool:
    """Whether a licence of each part of the expression is one of ours."""
    return all(
        any(LICENCES.fullmatch(choice.strip("() ")) for choice in part.split(" OR "))
        for part in expression.split(" AND ")
    )


def locked(name: str) -> dict[str, str]:
    """Package -> version in one lock file, as far as it is meant for this machine."""
    pins = re.findall(r"^([a-z0-9-]+==[^\\]+)", LOCKS[name].read_text(), re.MULTILINE)
    requirements = [Requirement(pin) for pin in pins]
    return {
        requirement.name: next(iter(requirement.specifier)).version
        for requirement in requirements
        if requirement.marker is None or requirement.marker.evaluate()
    }


def declared() -> dict[str, list[str]]:
    """Lock file -> the requirements that pyproject.toml wants in it."""
    tree = project()
    extras, groups = tree["project"]["optional-dependencies"], tree["dependency-groups"]
    return {
        "run": [*tree["project"]["dependencies"], *extras["demo"], *groups["build"]],
        "dev": groups["dev"],
        "bench": groups["bench"],
    }


def test_the_core_is_small() -> None:
    assert {"faregate", "uvloop", "pydantic-core"} <= core()
    assert len(core()) <= CORE_PACKAGES_MAX


@pytest.mark.parametrize("package", sorted(core()))
def test_core_licences_are_free(package: str) -> None:
    assert is_free(licence(package)), licence(package)


@pytest.mark.parametrize(
    ("expression", "free"),
    [
        ("MIT", True),
        ("Apache-2.0 OR BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND MPL-2.0", False),
        ("LGPL-3.0-or-later", False),
        ("unknown", False),
    ],
)
def test_licence_expressions_are_judged_by_their_parts(expression: str, free: bool) -> None:
    assert is_free(expression) is free


@pytest.mark.parametrize(
    ("lock", "requirement"), [(lock, text) for lock, texts in declared().items() for text in texts]
)
def test_the_lock_holds_what_is_declared(lock: str, requirement: str) -> None:
    wanted = Requirement(requirement)
    version = locked(lock).get(canonicalize_name(wanted.name))
    assert version is not None, "run scripts/lock.sh"
    assert wanted.specifier.contains(version), "run scripts/lock.sh"


def test_the_lock_holds_the_whole_core_and_each_version_once() -> None:
    assert core() - {"faregate"} <= locked("run").keys()
    for lower, higher in (("run", "dev"), ("run", "bench"), ("dev", "bench")):
        shared = locked(lower).keys() & locked(higher).keys()
        assert {name: locked(lower)[name] for name in shared} == {
            name: locked(higher)[name] for name in shared
        }


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_has_hashes_and_names_no_index(name: str) -> None:
    text = LOCKS[name].read_text()
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) >= len(locked(name)) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text)


def test_this_environment_has_the_locked_versions() -> None:
    """Else the tests would judge other libraries than those that are shipped with the lock."""
    wanted = locked("run") | locked("dev")
    del wanted["setuptools"]  # only builds
    different = {
        name: (distribution(name).version, version)
        for name, version in wanted.items()
        if distribution(name).version != version
    }
    assert not different, "make environment"


def test_the_build_group_is_what_the_build_requires() -> None:
    assert project()["dependency-groups"]["build"] == project()["build-system"]["requires"]


def test_the_version_is_told_at_once() -> None:
    program = Path(sys.executable).with_name("faregate")
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
        seconds.append(time.perf_counter() - began)
        assert done.stdout == f"faregate {VERSION}\n"
    assert min(seconds) < VERSION_SECONDS_MAX, "whatever else the machine does"
