"""How an operation of the admin API is declared: by the head of a method, which is all that it is.

A parameter goes into the path where that has a place for it, else into the query of what reads (and where it
is marked ``Query``), else into the body; ``**said`` are headers. What is left out, or None, is not sent: the
manager's own defaults hold. ``Has`` and ``Of`` hang groups onto each other, so that the client is one tree,
from which its table of operations is read.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    cast,
    overload,
)

_MethodT = TypeVar("_MethodT", bound=Callable[..., Any])
_T = TypeVar("_T")
_GroupT = TypeVar("_GroupT", bound="Group")

Query: TypeAlias = Annotated[_T, "query"]
SAID: Final = "said"
DECLARED: Final = "declared"
"""The attribute of a method that holds its ``Declared``."""
_HEADERS: Final = {"reason": "x-faregate-reason"}
"""Those that are not named on the wire as in Python."""


class Reason(TypedDict, total=False):
    """Why; it stands in the revision and in the audit tree."""

    reason: str


class Match(TypedDict, total=False):
    """The state that a write is about. ``if_match``: as its ``etag`` says, or ``*`` for any;
    ``if_none_match="*"``: there is none yet.
    """

    if_match: str
    if_none_match: str


class Known(TypedDict, total=False):
    """The state that a write is about, where it always is. ``if_match``: as its ``etag`` says, or ``*``."""

    if_match: str


class Key(TypedDict, total=False):
    """What makes a repeat safe; made by the client unless told."""

    idempotency_key: str


class Write(Reason, Match, total=False):
    """What may be said with a write of what is, or is not yet."""


class Make(Reason, Key, total=False):
    """What may be said with the making of what the manager names."""


class Operation(NamedTuple):
    """What is known of an operation. ``reads``: it changes nothing, and may be sent again. ``in_path``,
    ``query``, ``headers``: its parameters; ``body``: the members of what it takes; ``once``: those of its
    answer that are shown there and nowhere else; ``summary``: what it does.
    """

    method: str
    path: str
    summary: str
    reads: bool
    in_path: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    once: tuple[str, ...] = ()


class Declared(NamedTuple):
    """An operation as its group has it: ``{one}``, ``{what}``, ``{whats}`` and ``{at}`` are the group's."""

    id: str
    operation: Operation
    names: Mapping[str, str]
    """Its parameters, and what they are called on the wire."""

    def of(self, one: str, what: str, at: str) -> tuple[str, Operation]:
        """Its id, and what it is in a group."""
        path = self.operation.path.replace("{at}", at)
        head, _, rest = what.partition(" ")
        summary = self.operation.summary.replace("{what}", what).replace("{whats}", f"{head}s {rest}".strip())
        in_path = tuple(re.findall(r"{(\w+)}", path))
        return self.id.replace("{one}", one), self.operation._replace(
            path=path, summary=summary, in_path=in_path
        )


class Asks(Protocol):
    """Who sends operations, by their ids."""

    def ask(self, operation: str, values: Mapping[str, object], body: object = None) -> Any: ...

    def each(self, operation: str, values: Mapping[str, object]) -> Iterator[Any]: ...


class Group:
    """Operations that belong together. ``one``: what begins their ids; ``at``: their path, of which
    ``values`` are known already.
    """

    def __init__(
        self, client: Asks, one: str = "", at: str = "", values: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        self._one = one
        self._at = at
        self._values = dict(values or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._at!r}, {self._values!r})"


class Has(Generic[_GroupT]):
    """A group that another one has. ``what``: what its operations are about in words, ``one`` unless told."""

    def __init__(self, group: type[_GroupT], one: str = "", at: str = "", what: str = "") -> None:
        self.group = group
        self.one = one
        self.at = at
        self.what = what or one

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Group, owner: type) -> _GroupT: ...
    def __get__(self, holder: Group | None, owner: type) -> Self | _GroupT:
        return self if holder is None else self.made(holder, {})

    def made(self, holder: Group, values: Mapping[str, str]) -> _GroupT:
        return self.group(holder._client, self.one, self.at, {**holder._values, **values})  # noqa: SLF001 - a tree


class Of(Has[_GroupT]):
    """A group of something that is named: ``client.routes("payments")``."""

    @overload  # type: ignore[override]  # a group of many is called with a name first
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Group, owner: type) -> Callable[[str], _GroupT]: ...
    def __get__(self, holder: Group | None, owner: type) -> Self | Callable[[str], _GroupT]:
        last = re.findall(r"{(\w+)}", self.at)[-1]
        return self if holder is None else lambda name: self.made(holder, {last: name})


def operation(
    id: str,  # noqa: A002 - as the document calls it
    method: str,
    path: str,
    *,
    reads: bool = False,
    once: tuple[str, ...] = (),
) -> Callable[[_MethodT], _MethodT]:
    """The operation ``id``, asked for by calling the method. ``reads``: although it is no GET."""
    bare = Operation(method, path, "", reads or method == "GET", once=once)
    return lambda function: _asking(function, _declared(function, id, bare), lists=False)


def listing(id: str, path: str) -> Callable[[_MethodT], _MethodT]:  # noqa: A002 - likewise
    """The operation ``id``, which lists: all of it, page after page, as it is iterated.

    A parameter ``size`` says how many a page has.
    """
    bare = Operation("GET", path, "", reads=True)
    return lambda function: _asking(function, _declared(function, id, bare), lists=True)


def _asking(function: _MethodT, declared: Declared, *, lists: bool) -> _MethodT:
    @wraps(function)
    def call(self: Group, *args: object, **kwargs: object) -> Any:
        name, values, body = _told(self, declared, function, args, kwargs)
        return self._client.each(name, values) if lists else self._client.ask(name, values, body)

    setattr(call, DECLARED, declared)
    return cast("_MethodT", call)


def _declared(function: Callable[..., Any], id: str, bare: Operation) -> Declared:  # noqa: A002 - likewise
    """What the function's head says of the operation."""
    annotations = function.__annotations__
    names: dict[str, str] = {}
    places: dict[str, list[str]] = {"path": [], "query": [], "header": [], "body": []}
    for name in [one for one in annotations if one not in {"self", "return", SAID}]:
        names[name] = wire = name.rstrip("_")
        if f"{{{wire}}}" in bare.path:
            place = "path"
        elif bare.method in {"GET", "DELETE"} or "query" in getattr(annotations[name], "__metadata__", ()):
            place = "query"
        else:
            place = "body"
        places[place].append(wire)
    if SAID in annotations:
        (said,) = annotations[SAID].__args__
        names |= {name: _HEADERS.get(name, name.replace("_", "-")) for name in said.__annotations__}
        places["header"] = [names[name] for name in said.__annotations__]
    if "size" in names:
        places["query"].append("offset")  # whoever iterates needs none
    told = bare._replace(
        summary=" ".join((function.__doc__ or "").partition("\n\n")[0].split()).removesuffix("."),
        query=tuple(places["query"]),
        headers=tuple(places["header"]),
        body=tuple(places["body"]),
    )
    return Declared(id, told, names)


def _told(
    group: Group,
    declared: Declared,
    function: Callable[..., Any],
    args: tuple[object, ...],
    kwargs: dict[str, object],
) -> tuple[str, dict[str, object], dict[str, object] | None]:
    """The operation's id, its parameters and its body, as called. Raises TypeError."""
    values: dict[str, object] = dict(group._values)  # noqa: SLF001 - its own
    body: dict[str, object] = {}
    given = dict(_signature(function).bind(group, *args, **kwargs).arguments)
    said = given.pop(SAID, {})
    for name, value in [*list(given.items())[1:], *said.items()]:
        if name not in declared.names:
            raise TypeError(f"{function.__qualname__}() got an unexpected keyword argument {name!r}")
        wire = declared.names[name]
        if value is not None:
            (body if wire in declared.operation.body and name not in said else values)[wire] = value
    return declared.id.replace("{one}", group._one), values, body or None  # noqa: SLF001 - likewise


_signature: Final = cache(inspect.signature)
