"""What changed between two OpenAPI documents, and which of it breaks callers.

A caller breaks when what it sends is no longer taken, or when it is told what it was not promised. What
cannot be told for sure counts as breaking. Pure: documents in, changes out; what schemas allow is compared in
``diff_schemas``. Paths are compared by shape: the name of a path parameter is nobody's promise.
"""

from typing import NamedTuple

from faregate.compile.openapi.diff_schemas import Told, compare_schemas
from faregate.compile.openapi.document import Document, Node, step
from faregate.compile.openapi.operations import Operation, base_paths, comparable, operations
from faregate.model.diagnostics import Value


class Change(NamedTuple):
    """``kind``: one of a closed list of words; ``operation``: ``POST /payments``, or empty for the whole;
    ``pointer``: the place, in the newer document, or in the older where the newer has none; ``value``: the
    place in a value, ``*`` for each item or member; ``lost``: a schema of what breaks, where it can be said.
    """

    breaking: bool
    kind: str
    operation: str
    pointer: str
    value: str
    message: str
    lost: str = ""

    def as_json(self) -> dict[str, object]:
        return self._asdict()


def compare(old: Document, new: Document) -> list[Change]:
    """Every change, the breaking ones first, then by the order of the documents. Raises ``DocumentError``."""
    before = {(one.method, comparable(one.path)): one for one in operations(old)}
    after = {(one.method, comparable(one.path)): one for one in operations(new)}
    changes: list[Change] = []
    for key, operation in before.items():
        other = after.get(key)
        if other is None:
            label = f"{operation.method} {operation.path}"
            paths = {path for _, path in after}
            what = "the method" if key[1] in paths else "the path"
            changes.append(
                Change(True, "operation_removed", label, operation.pointer, "", f"{what} is gone")  # noqa: FBT003
            )
        else:
            changes += _Pair(old, new, operation, other).changes()
    for key, operation in after.items():
        if key not in before:
            label = f"{operation.method} {operation.path}"
            changes.append(Change(False, "operation_added", label, operation.pointer, "", "it is new"))  # noqa: FBT003
    if base_paths(old) != base_paths(new):
        message = f"base paths were {_quoted(base_paths(old))} and are {_quoted(base_paths(new))}"
        changes.append(Change(False, "servers_changed", "", "/servers", "", message))  # noqa: FBT003
    return sorted(changes, key=lambda change: not change.breaking)


class _Pair:
    """One operation as it was and as it is."""

    def __init__(self, old: Document, new: Document, before: Operation, after: Operation) -> None:
        self._old, self._new = old, new
        self._before, self._after = before, after
        self._label = f"{after.method} {after.path}"
        self._found: list[Change] = []

    def changes(self) -> list[Change]:
        self._parameters()
        self._request_body()
        self._responses()
        self._security()
        if self._after.node.get("deprecated") is True and self._before.node.get("deprecated") is not True:
            self._add("operation_deprecated", self._after.pointer, "it is deprecated now", breaking=False)
        return self._found

    def _add(self, kind: str, pointer: str, message: str, *, breaking: bool = True) -> None:
        self._found.append(Change(breaking, kind, self._label, pointer, "", message))

    # what callers send

    def _parameters(self) -> None:
        before, after = _by_place(self._before), _by_place(self._after)
        for key, (node, pointer) in after.items():
            name, required = f"{node['in']} parameter {node['name']}", node.get("required") is True
            known = before.get(key)
            if known is None:
                message = f"the {name} is {'demanded' if required else 'understood'} now"
                self._add("parameter_added", pointer, message, breaking=required)
                continue
            if required and known[0].get("required") is not True:
                self._add("parameter_required", pointer, f"the {name} was optional and is demanded now")
            elif not required and known[0].get("required") is True:
                self._add("parameter_optional", pointer, f"the {name} is optional now", breaking=False)
            if any(known[0].get(word) != node.get(word) for word in ("style", "explode")):
                self._add("parameter_style", pointer, f"the {name} is written in another way")
            self._schemas(
                _schema_of(known[0]), _schema_of(node), known[1], pointer, f"the {name}", request=True
            )
        for key, (node, pointer) in before.items():
            if key not in after:
                name = f"{node['in']} parameter {node['name']}"
                self._add("parameter_removed", pointer, f"the {name} is no longer understood")

    def _request_body(self) -> None:
        before, after = self._before.node.get("requestBody"), self._after.node.get("requestBody")
        place = self._after.pointer + "/requestBody"
        if before is None and after is None:
            return
        if after is None:
            self._add("body_removed", self._before.pointer + "/requestBody", "a body is no longer taken")
            return
        node, pointer = self._new.node(after, place)
        required = node.get("required") is True
        if before is None:
            message = f"a body is {'demanded' if required else 'taken'} now"
            self._add("body_added", pointer, message, breaking=required)
            return
        known, known_at = self._old.node(before, self._before.pointer + "/requestBody")
        if required and known.get("required") is not True:
            self._add("body_required", pointer, "the body was optional and is demanded now")
        self._contents(known, known_at, node, pointer, "the request's body", request=True)

    # what callers get

    def _responses(self) -> None:
        before, after = self._statuses(self._old, self._before), self._statuses(self._new, self._after)
        for status, (node, pointer) in before.items():
            other = after.get(status)
            if other is None:
                self._add("response_removed", pointer, f"the answer {status} is no longer described")
                continue
            self._contents(node, pointer, *other, f"the answer {status}", request=False)
            self._headers(node, pointer, other[0], f"the answer {status}")
        for status, (_, pointer) in after.items():
            if status not in before:
                message = f"the answer {status} is described now"
                self._add("response_added", pointer, message, breaking=False)

    @staticmethod
    def _statuses(document: Document, operation: Operation) -> dict[str, tuple[Node, str]]:
        responses = operation.node.get("responses")
        return {
            status.upper(): document.node(value, f"{operation.pointer}/responses{step(status)}")
            for status, value in (responses.items() if isinstance(responses, dict) else ())
            if not status.startswith("x-")
        }

    def _headers(self, before: Node, pointer: str, after: Node, whose: str) -> None:
        headers, others = before.get("headers"), after.get("headers")
        names = {name.lower() for name in others} if isinstance(others, dict) else set()
        for name in headers if isinstance(headers, dict) else ():
            if name.lower() not in names:
                message = f"{whose} no longer has the header {name}"
                self._add("header_removed", f"{pointer}/headers{step(name)}", message)

    # both

    def _contents(  # noqa: PLR0913 - two of each
        self, before: Node, before_at: str, after: Node, after_at: str, whose: str, *, request: bool
    ) -> None:
        known, found = _by_media(before), _by_media(after)
        for media, value in known.items():
            at = f"{before_at}/content{step(media)}"
            if media not in found:
                self._add("media_removed", at, f"{whose} is no longer of the type {media}")
                continue
            self._schemas(
                _schema(self._old, value, at),
                _schema(self._new, found[media], f"{after_at}/content{step(media)}"),
                at + "/schema",
                f"{after_at}/content{step(media)}/schema",
                f"{whose} ({media})",
                request=request,
            )
        for media in found:
            if media not in known:
                message = f"{whose} may be of the type {media} now"
                self._add("media_added", f"{after_at}/content{step(media)}", message, breaking=False)

    def _schemas(  # noqa: PLR0913 - two of each
        self, before: Value, after: Value, before_at: str, after_at: str, whose: str, *, request: bool
    ) -> None:
        told = compare_schemas((self._old, before, before_at), (self._new, after, after_at), request=request)
        self._found += [self._change(one, after_at, whose) for one in told]

    def _change(self, told: Told, pointer: str, whose: str) -> Change:
        where = f"{whose}, at {told.value}" if told.value else whose
        return Change(
            told.breaking, told.kind, self._label, pointer, told.value, f"{where}: {told.message}", told.lost
        )

    # who may call

    def _security(self) -> None:
        before, after = _alternatives(self._old, self._before), _alternatives(self._new, self._after)
        pointer = self._after.pointer
        for one in before:
            if not any(_suffices(one, other) for other in after):
                told = " with ".join(_scheme(*item) for item in one.items()) or "no credential"
                self._add("security_tightened", pointer, f"{told} no longer suffices")
            for name in one:
                if _definition(self._old, name) != _definition(self._new, name):
                    self._add("security_changed", pointer, f"the security scheme {name} is another now")
        for one in after:
            if not any(_suffices(other, one) and _suffices(one, other) for other in before):
                told = " with ".join(_scheme(*item) for item in one.items()) or "no credential"
                self._add("security_added", pointer, f"{told} suffices now", breaking=False)


def _by_place(operation: Operation) -> dict[tuple[str, str], tuple[Node, str]]:
    """Parameters by where they stand: those of the path by their segment, as their names may change."""
    segments = operation.path.split("/")
    found = {}
    for node, pointer in operation.parameters:
        place, name = str(node["in"]), str(node["name"])
        if place == "path":
            held = [str(index) for index, segment in enumerate(segments) if "{" + name + "}" in segment]
            name = held[0] if held else name
        found[place, name.lower() if place == "header" else name] = (node, pointer)
    return found


def _schema_of(parameter: Node) -> Value:
    content = parameter.get("content")
    if isinstance(content, dict):
        for value in content.values():
            return value.get("schema", {}) if isinstance(value, dict) else {}
    return parameter.get("schema", {})


def _schema(document: Document, value: Value, pointer: str) -> Value:
    return document.node(value, pointer)[0].get("schema", {})


def _by_media(node: Node) -> dict[str, Value]:
    content = node.get("content")
    return dict(content) if isinstance(content, dict) else {}


def _alternatives(document: Document, operation: Operation) -> list[dict[str, frozenset[str]]]:
    """What suffices, each a set of schemes with their scopes; an empty one is no credential at all."""
    listed = operation.node.get("security", document.value.get("security"))
    found = [
        {
            name: frozenset(map(str, scopes)) if isinstance(scopes, list) else frozenset()
            for name, scopes in one.items()
        }
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
    ]
    return found or [{}]


def _suffices(held: dict[str, frozenset[str]], asked: dict[str, frozenset[str]]) -> bool:
    return all(name in held and scopes <= held[name] for name, scopes in asked.items())


def _definition(document: Document, name: str) -> Value:
    components = document.value.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, dict) else None
    found = schemes.get(name) if isinstance(schemes, dict) else None
    if not isinstance(found, dict):
        return found
    return {word: found.get(word) for word in ("type", "in", "name", "scheme")}


def _scheme(name: str, scopes: frozenset[str]) -> str:
    return f"{name} ({', '.join(sorted(scopes))})" if scopes else name


def _quoted(paths: list[str]) -> str:
    return ", ".join(f"`{path or '/'}`" for path in paths)
