"""Reads plain values of the command line without pydantic, which typer would import for the first of them.

That is a tenth of a second of every command, and stays in the memory of those that go on: the supervisor of
``faregate run`` above all. Text, numbers without bounds and paths are what nearly all values are; whatever
else comes, and whatever is wrong, is left to typer's own reading, so that its words stay the same. typer asks
each parameter for its reader (``get_runtime_param``, since 0.29); should it ask otherwise one day, values are
read as well, only slower: a test sees that.
"""

import os
from pathlib import Path

from typer import Context
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption


class PlainReader:
    """Reads what is plain, and leaves the rest to the reader that typer makes for a parameter."""

    def coerce(self, value: object, param: TyperOption | TyperArgument, ctx: Context) -> object:
        """The value as the command takes it. Raises what typer raises."""
        if value is None:
            return () if param.multiple or param.nargs == -1 else None
        if _is_plain(value, param):
            return Path(value) if isinstance(value, str) and param.type_descriptor.is_path else value
        return type(param).get_runtime_param(param).coerce(value, param, ctx)


def read_plainly(command: TyperCommand | TyperGroup) -> None:
    """Has the parameters of ``command`` itself read by a ``PlainReader``, ``--help`` among them."""
    for parameter in command.get_params(Context(command)):
        if isinstance(parameter, TyperOption | TyperArgument):
            parameter.get_runtime_param = PlainReader  # type: ignore[method-assign, assignment]  # typer makes the parameters


def _is_plain(value: object, param: TyperOption | TyperArgument) -> bool:
    declared = param.type_descriptor
    info = declared.parameter_info
    if info.parser is not None or param.multiple or param.nargs != 1:
        return False
    if declared.is_path:
        asks = info.exists or info.writable or info.resolve_path or info.allow_dash or info.path_type
        whatever = info.file_okay and info.dir_okay and not asks
        return isinstance(value, str | Path) and whatever and not _is_unreadable(value)
    return type(value) is declared.annotation and not declared.is_ranged and isinstance(value, str | int)


def _is_unreadable(path: str | Path) -> bool:
    return os.path.lexists(path) and not os.access(path, os.R_OK)
