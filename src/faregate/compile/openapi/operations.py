"""The operations of a document: each method on each path, with its parameters, and how paths are compared.

A path is known by its shape (``model.paths``), so that ``/payments/{id}`` and ``/payments/{payment_id}`` are
one. Base paths come from ``servers``.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from faregate.compile.openapi.document import Document, DocumentError, Node, step
from faregate.model.diagnostics import Value
from faregate.model.paths import METHODS

_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
PARAMETERS_MAX: Final = 256


class Operation(NamedTuple):
    """``path``: as written; ``parameters``: those of the path and its own, references resolved, each with its
    pointer.
    """

    method: str
    path: str
    node: Node
    pointer: str
    parameters: tuple[tuple[Node, str], ...]


def operations(document: Document) -> Iterator[Operation]:
    """Every operation, in the order of the document. Raises ``DocumentError``."""
    paths = document.value["paths"]
    assert isinstance(paths, dict)
    for path, item in paths.items():
        if path.startswith("x-"):
            continue
        if not path.startswith("/"):
            raise DocumentError("a path that does not begin with /", "/paths" + step(path))
        node, pointer = document.node(item, "/paths" + step(path))
        shared = _parameters(document, node, pointer)
        for method in METHODS:
            member = node.get(method.lower())
            if member is None:
                continue
            own, place = document.node(member, pointer + step(method.lower()))
            parameters = shared | _parameters(document, own, place)
            yield Operation(method, path, own, place, tuple(parameters.values()))


def _parameters(document: Document, node: Node, pointer: str) -> dict[tuple[str, str], tuple[Node, str]]:
    listed = node.get("parameters", [])
    if not isinstance(listed, list) or len(listed) > PARAMETERS_MAX:
        raise DocumentError("`parameters` is no list, or too long", pointer)
    found = {}
    for index, value in enumerate(listed):
        one, place = document.node(value, f"{pointer}/parameters/{index}")
        name, where = one.get("name"), one.get("in")
        if not isinstance(name, str) or not isinstance(where, str):
            raise DocumentError("a parameter without `name` or `in`", place)
        found[where, name.lower() if where == "header" else name] = (one, place)
    return found


def base_paths(document: Document) -> list[str]:
    """The paths of the servers' URLs, without a slash at the end; one empty path where none is named."""
    found = []
    servers = document.value.get("servers")
    for server in servers if isinstance(servers, list) else []:
        if isinstance(server, dict) and isinstance(server.get("url"), str):
            path = split_url(_filled(str(server["url"]), server.get("variables"))).path
            found.append("/" + path.strip("/") if path.strip("/") else "")
    return list(dict.fromkeys(found)) or [""]


def split_url(url: str) -> SplitResult:
    """The parts of ``url``; none of what is no URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _filled(url: str, variables: Value) -> str:
    """A server's URL with the default of each of its variables."""
    known = variables if isinstance(variables, dict) else {}

    def default(match: re.Match[str]) -> str:
        variable = known.get(match[1])
        return str(variable.get("default", "")) if isinstance(variable, dict) else ""

    return _VARIABLE.sub(default, url)


def comparable(path: str) -> str:
    """``path`` without the names of its parameters."""
    return _VARIABLE.sub(lambda match: "{...}" if match[1].endswith("...") else "{}", path)
