"""Carries a message's body and headers from one version's form into another's.

Numbers pass as the text they are: nothing is read as a float, no digit is lost. A body to which no operation
applies stays as it is, byte for byte; a changed one is written compactly. Pure functions; that the body is
whole, and what its length becomes, is the gateway's affair.
"""

import json
from collections.abc import Iterator, Sequence
from copy import copy
from typing import Final, TypeAlias

import msgspec

from faregate.kernel.strict_json import DoubledError
from faregate.snapshot.data import Route
from faregate.snapshot.versions import Operation

Tree: TypeAlias = "str | bool | msgspec.Raw | list[Tree] | dict[str, Tree] | None"
"""A JSON value whose numbers are their own text."""

BODY_BYTES_MAX: Final = 1 << 20
"""Of a body that is to be changed."""
MADE_BYTES_MAX: Final = 4 << 20
"""Of a changed one: defaults in the items of a list can make it longer."""
EACH: Final = "*"


def _once(pairs: "list[tuple[str, Tree]]") -> "dict[str, Tree]":
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DoubledError("a member stands twice")
    return members


def _text(number: str) -> msgspec.Raw:
    return msgspec.Raw(number.encode("ascii"))


def _no_number(word: str) -> "Tree":
    raise ValueError(f"{word} is no JSON")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_text, parse_int=_text, parse_constant=_no_number
)


def changed_body(text: bytes, operations: Sequence[Operation]) -> bytes:
    """``text``, one JSON value, with ``operations`` applied in turn; itself when none applied.

    Raises ``ValueError`` where it is no JSON value with unique members, is nested too deep, or would become
    too long; its text may quote the body: do not log it.
    """
    try:
        tree: Tree = _decoder.decode(text.decode())
        applied = [_APPLY[operation.kind](tree, operation) for operation in operations]
        if not any(applied):
            return text
        made = msgspec.json.encode(tree)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if len(made) > MADE_BYTES_MAX:
        raise ValueError("too long when changed")
    return made


def changed_lines(lines: list[bytes], operations: Sequence[Operation]) -> list[bytes]:
    """Field lines, each ended by CRLF, with ``operations`` applied in turn; the list itself when none
    applied.
    """
    for operation in operations:
        lines = _changed_lines(lines, operation)
    return lines


def _changed_lines(lines: list[bytes], operation: Operation) -> list[bytes]:
    kind, new = operation.kind, operation.name.encode("ascii")
    old = operation.at[0].encode("ascii").lower() if kind == "rename_header" else new.lower()
    there = [line.partition(b":")[0].lower() == old for line in lines]
    if kind == "set_default_header":
        return lines if any(there) else [*lines, b"%b: %b\r\n" % (new, operation.value)]
    if not any(there):
        return lines
    if kind == "remove_header":
        return [line for line, named in zip(lines, there, strict=True) if not named]
    if any(line.partition(b":")[0].lower() == new.lower() for line in lines):
        return lines  # the new name is taken
    return [new + line[len(old) :] if named else line for line, named in zip(lines, there, strict=True)]


# one operation on a body; True: it changed something


def _rename(tree: Tree, operation: Operation) -> bool:
    changed = False
    last, name = operation.at[-1], operation.name
    for parent in _objects(tree, operation.at[:-1]):
        if last in parent and name not in parent:
            members = [(name if key == last else key, value) for key, value in parent.items()]
            parent.clear()
            parent.update(members)
            changed = True
    return changed


def _move(tree: Tree, operation: Operation) -> bool:
    source, to = operation.at, operation.to
    shared = 0
    while source[shared] == to[shared]:
        shared += 1
    changed = False
    for base in _objects(tree, source[:shared]):
        for parent in list(_objects(base, source[shared:-1])):
            if source[-1] in parent and _put(base, to[shared:], parent[source[-1]]):
                del parent[source[-1]]
                changed = True
    return changed


def _put(base: "dict[str, Tree]", steps: tuple[str, ...], value: Tree) -> bool:
    """Puts ``value`` where nothing stands yet; objects on the way are made, unless something else stands
    there.
    """
    known = base
    for at, step in enumerate(steps[:-1]):
        below = known.get(step)
        if step not in known:
            for name in reversed(steps[at + 1 :]):
                value = {name: value}
            known[step] = value
            return True
        if not isinstance(below, dict):
            return False
        known = below
    if steps[-1] in known:
        return False
    known[steps[-1]] = value
    return True


def _remove(tree: Tree, operation: Operation) -> bool:
    parents = [parent for parent in _objects(tree, operation.at[:-1]) if operation.at[-1] in parent]
    for parent in parents:
        del parent[operation.at[-1]]
    return bool(parents)


def _set_default(tree: Tree, operation: Operation) -> bool:
    last = operation.at[-1]
    parents = [parent for parent in _objects(tree, operation.at[:-1]) if last not in parent]
    for parent in parents:
        parent[last] = msgspec.Raw(operation.value)
    return bool(parents)


def _wrap(tree: Tree, operation: Operation) -> bool:
    last = operation.at[-1]
    parents = [parent for parent in _objects(tree, operation.at[:-1]) if last in parent]
    for parent in parents:
        parent[last] = {operation.name: parent[last]}
    return bool(parents)


def _unwrap(tree: Tree, operation: Operation) -> bool:
    changed = False
    last = operation.at[-1]
    for parent in _objects(tree, operation.at[:-1]):
        wrapped = parent.get(last)
        if isinstance(wrapped, dict) and operation.name in wrapped:
            parent[last] = wrapped[operation.name]
            changed = True
    return changed


_APPLY: Final = {
    "rename": _rename,
    "move": _move,
    "remove": _remove,
    "set_default": _set_default,
    "wrap": _wrap,
    "unwrap": _unwrap,
}


def _objects(tree: Tree, steps: tuple[str, ...]) -> "Iterator[dict[str, Tree]]":
    """The objects that ``steps`` lead to; ``*`` is each item of a list, a number one of them."""
    if not steps:
        if isinstance(tree, dict):
            yield tree
        return
    step, rest = steps[0], steps[1:]
    if isinstance(tree, dict):
        if step in tree:
            yield from _objects(tree[step], rest)
    elif isinstance(tree, list):
        if step == EACH:
            for item in tree:
                yield from _objects(item, rest)
        elif step.isascii() and step.isdigit() and int(step[:9]) < len(tree):
            yield from _objects(tree[int(step[:9])], rest)


class Carried:
    """What is changed of a route's calls: what its upstream gets, and what its callers get back.

    ``old_path``, ``new_path``: what targets begin with, and what comes in its place.
    """

    __slots__ = (
        "new_path",
        "old_path",
        "request_body",
        "request_headers",
        "response_body",
        "response_headers",
    )

    def __init__(self, route: Route) -> None:
        self.request_body = _of_bodies(route.request_changes)
        self.request_headers = _of_headers(route.request_changes)
        self.response_body = _of_bodies(route.response_changes)
        self.response_headers = _of_headers(route.response_changes)
        self.old_path = b""
        self.new_path = b""

    def moved(self, old_path: bytes, new_path: bytes) -> "Carried":
        """The same, with another path for the target; ``/`` is none."""
        made = copy(self)
        if old_path != new_path:
            made.old_path = b"" if old_path == b"/" else old_path
            made.new_path = b"" if new_path == b"/" else new_path
        return made

    def target(self, target: bytes) -> bytes:
        """The request's target as the upstream gets it; one that begins otherwise stays."""
        if self.old_path == self.new_path or not target.startswith(self.old_path):
            return target
        rest = target[len(self.old_path) :]
        return self.new_path + (rest if rest[:1] == b"/" or self.new_path else b"/" + rest)


def _of_bodies(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    return tuple(one for one in operations if one.kind in _APPLY)


def _of_headers(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    return tuple(one for one in operations if one.kind not in _APPLY)


def is_json(content_type: bytes) -> bool:
    """Whether a body of this type is changed: ``application/json``, whatever parameters follow."""
    return content_type.partition(b";")[0].strip(b" \t").lower() == b"application/json"
