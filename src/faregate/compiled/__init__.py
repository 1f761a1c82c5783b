"""The data plane's modules in compiled form, where somebody has compiled them.

mypyc turns typed Python into extension modules that do the same with about half the instructions (decision
0010). They are built by ``python -m faregate.compiled``, once per version and interpreter, into the Python
installation or virtual environment that Faregate runs from; nothing else of Faregate knows of them. A worker
asks for them before it imports anything (``install``); each build is named by a digest of the sources, so a
changed source can never meet its old compiled form: without a build that fits, the sources run as they are.
A worker's start waits for this module, so it imports little: ``importlib.abc`` alone would be 10 ms.
"""

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent.parent
_ROOMS: Final = ("gateway", "kernel", "policies", "records", "snapshot", "stores")
"""Whose sources decide what is compiled: constants of one module may be written into another."""
OFF: Final = "off"
_SUFFIX: Final = importlib.machinery.EXTENSION_SUFFIXES[0]
"""How this interpreter's extension modules end: ``.cpython-311-x86_64-linux-gnu.so``, say."""
SWITCH: Final = "FAREGATE_COMPILED"
"""The environment variable that, set to ``off``, has the sources run as they are."""


def home() -> Path:
    """Where builds lie: beside the packages that this interpreter trusts already."""
    return Path(sys.prefix) / "lib" / "faregate-compiled"


def build_name() -> str:
    """The name of the build that fits these sources on this interpreter. Reads about 180 files: 5 ms."""
    digest = sha256(_SUFFIX.encode())
    for room in _ROOMS:
        for source in sorted((PACKAGE / room).rglob("*.py")):
            text = source.read_bytes()
            digest.update(b"%s %d\n" % (str(source.relative_to(PACKAGE)).encode(), len(text)))
            digest.update(text)
    return digest.hexdigest()[:24]


def extensions(build: Path) -> dict[str, Path]:
    """The modules of a build by their full names."""
    return {
        ".".join(file.relative_to(build).parts)[: -len(_SUFFIX)]: file for file in build.rglob(f"*{_SUFFIX}")
    }


class _Finder:
    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the finder's signature
        target: ModuleType | None = None,  # noqa: ARG002 - the same
    ) -> importlib.machinery.ModuleSpec | None:
        file = self._modules.get(fullname)
        return None if file is None else importlib.util.spec_from_file_location(fullname, file)


def install() -> int:
    """Has the modules imported from now on come from the build that fits; returns how many it holds, 0 when
    there is none or it is switched off.
    """
    if os.environ.get(SWITCH, "").lower() == OFF:
        return 0
    build = home() / build_name()
    modules = extensions(build) if build.is_dir() else {}
    if modules:
        sys.meta_path.insert(0, _Finder(modules))
    return len(modules)
