"""Has setuptools compile the C files of one extension side by side: it knows no way of its own.

Half a minute less on two cores. Where its inside differs from what is known here, it goes on one by one.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any


def install() -> None:
    """Puts our loop in the place of setuptools' own, for this process."""
    compiler: Any = import_module("setuptools._distutils.ccompiler").CCompiler
    if not all(hasattr(compiler, name) for name in ("_setup_compile", "_get_cc_args", "_compile")):
        return
    compiler.compile = _compile


def _compile(  # noqa: PLR0913, PLR0917 - setuptools' own signature
    self: Any,
    sources: Sequence[str],
    output_dir: str | None = None,
    macros: Any = None,
    include_dirs: Any = None,
    debug: bool = False,  # noqa: FBT001, FBT002
    extra_preargs: Any = None,
    extra_postargs: Any = None,
    depends: Any = None,
) -> list[str]:
    macros, objects, extra, options, build = self._setup_compile(
        output_dir, macros, include_dirs, sources, depends, extra_postargs
    )
    arguments = self._get_cc_args(options, debug, extra_preargs)

    def one(name: str) -> None:
        source, extension = build[name]
        self._compile(name, source, extension, arguments, extra, options)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for done in [pool.submit(one, name) for name in objects if name in build]:
            done.result()
    return list(objects)
