"""Where the checkout's files are, for the tests that hold its rules."""

import tomllib
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "src" / "faregate"


def project() -> dict[str, Any]:
    """What pyproject.toml says."""
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def python_files(*folders: str) -> list[Path]:
    """Every Python file under these folders of the checkout, sorted."""
    return sorted(path for folder in folders for path in (CHECKOUT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    """``faregate.kernel.units`` for its file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
