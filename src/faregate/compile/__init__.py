"""From the declared configuration to the snapshot that workers run.

``compile_config`` is loaded when it is asked for: with all declared forms it takes a third of a second, which
what asks this room for less does without.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faregate.compile.compiler import compile_config

__all__ = ["compile_config"]


def __getattr__(name: str) -> object:
    if name == "compile_config":
        from faregate.compile.compiler import compile_config  # noqa: PLC0415 - what this function is for

        return compile_config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
