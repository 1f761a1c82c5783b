"""Compiles the data plane: ``python -m faregate.compiled``. Needs mypy with setuptools (the extra
``compiled``), a C compiler and the headers of this Python; takes about a minute of CPU, once.

It ends with status 0 when a build that fits is in place, 3 when something that it needs is missing (the
gateway then runs as it is written), 1 when compiling failed.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Final

from faregate.compiled import PACKAGE, build_name, extensions, home
from faregate.compiled.modules import MODULES

DONE, FAILED, IMPOSSIBLE = 0, 1, 3
_TIMEOUT_S: Final = 900
_SETUP: Final = """\
from faregate.compiled import parallel
from mypyc.build import mypycify
from setuptools import setup

paths = {paths!r}
setup(
    name="faregate-compiled", packages=[], py_modules=[], cmdclass={{"build_ext": parallel.command()}},
    ext_modules=mypycify(
        ["--ignore-missing-imports", "--follow-imports=silent", *paths],
        opt_level="2", debug_level="0", multi_file=True))
"""


def missing() -> str:
    """What stands in the way of compiling, or nothing."""
    for module in ("mypyc", "setuptools"):
        if importlib.util.find_spec(module) is None:
            return f"the Python package that holds `{module}` (pip install 'faregate[compiled]')"
    compiler = str(sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(os.environ.get("CC", compiler).split()[0]) is None:
        return f"a C compiler ({compiler}; on Debian: apt-get install gcc)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "the headers of this Python (on Debian: apt-get install python3-dev)"
    return ""


def compile_into(folder: Path) -> None:
    """Builds the extension modules in ``folder``. Raises ``subprocess.CalledProcessError`` with the
    compiler's words.
    """
    shutil.copytree(PACKAGE, folder / "faregate", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    paths = [f"faregate/{module.replace('.', '/')}.py" for module in MODULES]
    (folder / "setup.py").write_text(_SETUP.format(paths=paths))
    cores = str(len(os.sched_getaffinity(0)))
    subprocess.run(  # noqa: S603 - our own file
        [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", "built", "--parallel", cores],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_TIMEOUT_S,
        text=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
    )


def main() -> int:
    """The program; returns its exit status."""
    name = build_name()
    place = home() / name
    if extensions(place):
        return DONE
    lacking = missing()
    if lacking:
        _say(f"the data plane runs as it is written; to compile it, add {lacking}")
        return IMPOSSIBLE
    began = time.monotonic()
    try:
        home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home(), prefix=".making-") as made:
            compile_into(Path(made))
            with contextlib.suppress(FileExistsError):
                (Path(made) / "built").rename(place)
        for other in home().iterdir():
            if other.name != name and not other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)
    except (OSError, subprocess.SubprocessError) as error:
        words = error.output if isinstance(error, subprocess.CalledProcessError) else str(error)
        _say(f"failed; the data plane runs as it is written: {words}")
        return FAILED
    _say(f"{len(MODULES)} modules of the data plane, {time.monotonic() - began:.0f} s")
    return DONE


def _say(text: str) -> None:
    print(f"compiled: {text}", flush=True)  # noqa: T201 - a program's voice


if __name__ == "__main__":
    sys.exit(main())
