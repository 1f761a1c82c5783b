"""A class below a compiled one must be compiled itself: mypyc refuses to make anything of it otherwise, at the first call."""

import ast
import importlib
import inspect
from pathlib import Path

from faregate.compiled import PACKAGE
from faregate.compiled.modules import MODULES


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imported(tree: ast.Module) -> dict[str, str]:
    """Names that a module has from others of ours, with the module they come from."""
    return {
        (alias.asname or alias.name): node.module.removeprefix("faregate.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("faregate.")
        for alias in node.names
    }


def is_exempt(module: str, name: str) -> bool:
    """Exceptions and records are ordinary classes to mypyc, and so is what it cannot see through."""
    found = getattr(importlib.import_module(f"faregate.{module}"), name)
    return (
        not inspect.isclass(found)
        or issubclass(found, (BaseException, tuple))
        or getattr(found, "_is_protocol", False)
    )


def test_no_interpreted_class_has_a_compiled_base() -> None:
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        module = module_of(path)
        if module in MODULES:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = imported(tree)
        wrong += [
            f"{module}.{node.name}({base.id})"
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name)
            and names.get(base.id) in MODULES
            and not is_exempt(names[base.id], base.id)
        ]
    assert wrong == []
