"""From a normalised path and a method to a route, at a cost that does not grow with the number of routes.

A tree of path segments: literal beats ``{name}`` beats ``{rest...}`` at each segment, whatever the order of
the file (SPEC section 2). Each node is reached by one path only, so a search visits a node at most once and
stops at the depth of the configured templates, however long the caller's path is.
"""

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

RouteT = TypeVar("RouteT")
_NONE: Final[dict[bytes, "_Node[Any]"]] = {}
"""What all nodes without literals below them share: one object that is in the cache. Never written to."""

_NO_CHOICES: Final[dict[bytes, object]] = {}
"""As ``_NONE``, of endpoints."""


class Endpoint(Generic[RouteT]):
    """The routes of one template by method, and the ``Allow`` value for all others. ``choices``: what settles
    the route, for methods that none of ``methods`` has.
    """

    __slots__ = ("allow", "choices", "methods")

    def __init__(self) -> None:
        self.methods: dict[bytes, RouteT] = {}
        self.choices: dict[bytes, object] = _NO_CHOICES
        self.allow = b""


class _Node(Generic[RouteT]):
    __slots__ = ("endpoint", "literals", "parameter", "rest")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node[RouteT]] = _NONE
        self.parameter: _Node[RouteT] | None = None
        self.rest: Endpoint[RouteT] | None = None
        self.endpoint: Endpoint[RouteT] | None = None


class Router(Generic[RouteT]):
    """Built once per snapshot from ``(method, template, route)``; templates are absolute paths, already
    validated. ``nodes``: all but the root, so that a large tree can be freed piece by piece.
    """

    __slots__ = ("_fixed", "_root", "nodes")

    def __init__(self, routes: Iterable[tuple[str, str, RouteT]]) -> None:
        self._root: _Node[RouteT] = _Node()
        self.nodes: list[object] = []
        self._fixed: dict[bytes, Endpoint[RouteT]] = {}
        for method, template, route in routes:
            self.add(method, template, route)

    def add(self, method: str, template: str, route: RouteT) -> None:
        """One route more, before the first ``find``."""
        endpoint = self._endpoint(template)
        name = method.encode()
        endpoint.methods[name] = route
        if endpoint.allow:
            endpoint.allow = b", ".join(sorted((*endpoint.methods, *endpoint.choices)))
        else:
            endpoint.allow = name

    def add_choice(self, method: str, template: str, choice: object) -> None:
        """What settles the route of a call to ``template``, where none stands; before the first ``find``."""
        endpoint = self._endpoint(template)
        if not endpoint.choices:
            endpoint.choices = {}
        endpoint.choices[method.encode()] = choice
        endpoint.allow = b", ".join(sorted((*endpoint.methods, *endpoint.choices)))

    def find(self, path: bytes) -> Endpoint[RouteT] | None:
        """The endpoint that ``path`` names, or None."""
        found = self._fixed.get(path)
        if found is not None:
            return found
        return _search(self._root, path.split(b"/"), 1)

    def _endpoint(self, template: str) -> Endpoint[RouteT]:
        node = self._root
        path = template.encode()
        for segment in path.split(b"/")[1:]:
            if segment[:1] != b"{":
                below = node.literals.get(segment)
                if below is None:
                    if node.literals is _NONE:
                        node.literals = {}
                    below = node.literals[segment] = _Node()
                    self.nodes.append(below)
                node = below
            elif segment.endswith(b"...}"):
                if node.rest is None:
                    node.rest = Endpoint()
                return node.rest
            else:
                if node.parameter is None:
                    node.parameter = _Node()
                    self.nodes.append(node.parameter)
                node = node.parameter
        if node.endpoint is None:
            node.endpoint = Endpoint()
        if b"{" not in path:
            # A wholly literal template beats every other, so one look-up settles it.
            self._fixed[path] = node.endpoint
        return node.endpoint


def _search(node: _Node[RouteT], segments: list[bytes], at: int) -> Endpoint[RouteT] | None:
    """Walks down, trying literal, then parameter, then rest; an empty segment matches a literal only."""
    last = len(segments)
    while at < last:
        segment = segments[at]
        literal = node.literals.get(segment)
        if literal is not None:
            if node.parameter is None and node.rest is None:
                node = literal
                at += 1
                continue
            found = _search(literal, segments, at + 1)
            if found is not None:
                return found
        parameter = node.parameter
        if parameter is not None and segment:
            if node.rest is None:
                node = parameter
                at += 1
                continue
            found = _search(parameter, segments, at + 1)
            if found is not None:
                return found
        return node.rest if segment else None
    return node.endpoint
