"""How the C files are put together, each in exactly one unit, and that setuptools really does it."""

import subprocess
import sys
from pathlib import Path

import pytest

from faregate.compiled.__main__ import missing
from faregate.compiled.parallel import MANY, gathered


def test_every_file_is_in_one_unit_and_the_units_are_even(tmp_path: Path) -> None:
    sources = [tmp_path / f"{number}.c" for number in range(40)]
    for number, source in enumerate(sources):
        source.write_text("/" * (number + 1) * 100)
    units = [Path(name) for name in gathered(sources, 8)]
    lines = [unit.read_text().splitlines() for unit in units]
    assert sorted(line for unit in lines for line in unit) == sorted(f'#include "{file}"' for file in sources)
    sizes = [sum(len(Path(line.split('"')[1]).read_text()) for line in unit) for unit in lines]
    assert max(sizes) - min(sizes) <= 4000


def test_setuptools_compiles_this_way(tmp_path: Path) -> None:
    """It kept the classes of its compilers elsewhere once, and compiled one by one with nobody the wiser."""
    if lacking := missing():
        pytest.skip(lacking)
    names = [f"part{number}" for number in range(MANY - 1)]
    for name in names:
        (tmp_path / f"{name}.c").write_text(f"int {name}(void) {{ return 0; }}\n")
    (tmp_path / "whole.c").write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "whole", NULL, -1, NULL};\n'
        "PyMODINIT_FUNC PyInit_whole(void) { return PyModule_Create(&module); }\n"
    )
    (tmp_path / "setup.py").write_text(
        "from faregate.compiled import parallel\n"
        "from setuptools import Extension, setup\n"
        f"sources = [name + '.c' for name in {[*names, 'whole']}]\n"
        "setup(name='whole', packages=[], py_modules=[], cmdclass={'build_ext': parallel.command()},\n"
        "      ext_modules=[Extension('whole', sources)])\n"
    )
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", "built"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in tmp_path.rglob("*.o")} == {
        path.with_suffix(".o").name for path in tmp_path.glob("together_*.c")
    }
    assert list((tmp_path / "built").glob("whole*"))
