"""Writes the methods and forms of ``faregate.client`` from the admin API's OpenAPI document, so that the client
cannot lack an operation nor have one of its own.

A module a tag under ``client/operations``, with the operations and the forms that no other tag has; forms of
several tags in ``forms.py``, the table of all operations in ``table.py``. ``python -m tests.client.writing``
writes them and removes what is no longer; a test holds them.
"""

import builtins
import keyword
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

from faregate.manager.admin.app import create_admin

Node = dict[str, Any]

FOLDER: Final = Path(__file__).parents[2] / "src" / "faregate" / "client" / "operations"
METHODS: Final = ("get", "put", "post", "patch", "delete")
_WIDTH: Final = 106
_TYPES: Final = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


class Operation:
    """One operation of the document."""

    def __init__(self, method: str, path: str, node: Node) -> None:
        self.id: str = node["operationId"]
        self.method = method.upper()
        self.path = path
        self.tag: str = node.get("tags", ["other"])[0]
        self.summary: str = node.get("summary", self.id)
        parameters = node.get("parameters", [])
        self.in_path = re.findall(r"{(\w+)}", path)
        self.parameters = {one["name"]: one for one in parameters}
        self.query = [one["name"] for one in parameters if one["in"] == "query"]
        self.headers = [one["name"] for one in parameters if one["in"] == "header"]
        body = node.get("requestBody", {})
        self.body: Node | None = body.get("content", {}).get("application/json", {}).get("schema")
        self.body_required = bool(body.get("required"))
        good = [(int(status), one) for status, one in node["responses"].items() if status.startswith("2")]
        shown = [
            one["content"] for status, one in sorted(good) if status in {200, 201} and one.get("content")
        ]
        self.answer: Node | None = shown[0].get("application/json", {}).get("schema") if shown else None
        need = node.get("x-faregate-need", "")
        self.reads = self.method == "GET" or need == "see"

    def schemas(self) -> list[Node]:
        nodes = [self.parameters[name]["schema"] for name in (*self.in_path, *self.query)]
        return [*nodes, *(one for one in (self.body, self.answer) if one is not None)]


def operations(document: Node) -> list[Operation]:
    return [
        Operation(method, path, ways[method])
        for path, ways in document["paths"].items()
        for method in METHODS
        if method in ways
    ]


def referred(node: Any) -> set[str]:
    """The names of the forms that a schema refers to."""
    if isinstance(node, dict):
        own = {node["$ref"].rpartition("/")[2]} if "$ref" in node else set()
        return own.union(*(referred(one) for one in node.values()))
    return set().union(*(referred(one) for one in node)) if isinstance(node, list) else set()


def kind(node: Node) -> str:
    """The Python type of a schema."""
    if "$ref" in node:
        return str(node["$ref"]).rpartition("/")[2]
    if "const" in node:
        return f"Literal[{node['const']!r}]"
    if "enum" in node:
        return f"Literal[{', '.join(repr(one) for one in node['enum'])}]"
    several = node.get("anyOf") or node.get("oneOf")
    if several:
        return " | ".join(dict.fromkeys(kind(one) for one in several))
    if node.get("type") == "array":
        return f"list[{kind(node.get('items', {}))}]"
    if node.get("type") == "object":
        inner = node.get("additionalProperties", True)
        return f"dict[str, {'Any' if isinstance(inner, bool) else kind(inner)}]"
    return _TYPES.get(str(node.get("type")), "Any")


def _text(words: str, indent: str) -> list[str]:
    """A docstring."""
    lines = textwrap.wrap(" ".join(words.split()).replace("\\", "\\\\"), _WIDTH - len(indent) - 6)
    if len(lines) == 1:
        return [f'{indent}"""{lines[0]}"""']
    return [f'{indent}"""{lines[0]}', *(f"{indent}{line}" for line in lines[1:]), f'{indent}"""']


def form(name: str, node: Node) -> list[str]:
    """A ``TypedDict``."""
    if "properties" not in node:
        return [f"{name}: TypeAlias = {kind(node)}"]
    lines = [
        f"class {name}(TypedDict):",
        *_text(node.get("description", "As the admin API has it."), "    "),
        "",
    ]
    required = set(node.get("required", []))
    for member, one in node["properties"].items():
        told = kind(one) if member in required else f"NotRequired[{kind(one)}]"
        lines.append(f"    {member}: {told}")
        if one.get("description"):
            lines += _text(one["description"], "    ")
    return lines if node["properties"] else [*lines, "    pass"]


def argument(name: str) -> str:
    """What a parameter is called in Python."""
    plain = name.lower().removeprefix("x-faregate-").replace("-", "_")
    taken = keyword.iskeyword(plain) or hasattr(builtins, plain) or plain in {"answer", "body", "self"}
    return f"{plain}_" if taken else plain


def _default(one: Node) -> tuple[str, str]:
    """Type and default of a query parameter; None: not sent."""
    told = kind({**one["schema"]})
    if one.get("required"):
        return told, ""
    return (told if told.endswith("| None") else f"{told} | None"), " = None"


def method(one: Operation) -> list[str]:
    arguments = [
        "self",
        *(f"{argument(name)}: {kind(one.parameters[name]['schema'])}" for name in one.in_path),
    ]
    if one.body is not None:
        arguments.append(f"body: {kind(one.body)}" + ("" if one.body_required else " | None = None"))
    named = []
    for name in one.query:
        told, default = _default(one.parameters[name])
        named.append(f"{argument(name)}: {told}{default}")
    named += [f'{argument(name)}: str = ""' for name in one.headers]
    if named:
        arguments += ["*", *named]
    answer = "None" if one.answer is None else kind(one.answer)
    sent = [repr(one.id)]
    if one.in_path:
        values = ", ".join(argument(name) for name in one.in_path)
        sent.append(f"({values},)" if len(one.in_path) == 1 else f"({values})")
    for word, names in (("query", one.query), ("headers", one.headers)):
        if names:
            sent.append(word + "={" + ", ".join(f"{name!r}: {argument(name)}" for name in names) + "}")
    if one.body is not None:
        sent.append("body=body")
    call = f"self._ask({', '.join(sent)})"
    many = len(arguments) - ("*" in arguments) > 6
    head = f"    def {one.id}({', '.join(arguments)}) -> {answer}:"
    if many:
        head = f"    def {one.id}(  # noqa: PLR0913 - as the operation\n        {', '.join(arguments)}\n    ) -> {answer}:"
    lines = [head, *_text(f"{one.summary.rstrip('.')}: `{one.method} {one.path}`.", "        ")]
    if one.answer is None:
        return [*lines, f"        {call}"]
    return [*lines, f"        answer: {answer} = {call}", "        return answer"]


def _head(words: str, body: str, imports: list[str]) -> str:
    typing = [
        name
        for name in ("Any", "Final", "Literal", "NamedTuple", "NotRequired", "TypeAlias", "TypedDict")
        if re.search(rf"\b{name}\b", body)
    ]
    lines = [f'"""{words}\n\nMade by ``python -m tests.client.writing`` from the OpenAPI document.\n"""', ""]
    if typing:
        lines += [f"from typing import {', '.join(typing)}", ""]
    return "\n".join([*lines, *imports, "", body])


def rendered(document: Node) -> dict[str, str]:
    """Every module by its name."""
    every = operations(document)
    schemas: dict[str, Node] = document["components"]["schemas"]
    users: dict[str, set[str]] = {}
    for one in every:
        names, waiting = set[str](), set().union(*(referred(node) for node in one.schemas()), set())
        while waiting:
            name = waiting.pop()
            names.add(name)
            waiting |= referred(schemas[name]) - names
        for name in names:
            users.setdefault(name, set()).add(one.tag)
    shared = sorted(name for name, tags in users.items() if len(tags) > 1)
    found: dict[str, str] = {}
    forms = _forms([name for name in schemas if name in shared], schemas)
    found["forms"] = _head("Forms that several kinds of operations have.", forms, [])
    tags = list(dict.fromkeys(one.tag for one in every))
    for tag in tags:
        own = [name for name in schemas if users.get(name) == {tag}]
        body = _forms(own, schemas) + f"\n\nclass {_class(tag)}(Asking):\n"
        body += "".join(_text(f"Operations on {tag}.", "    ")) + "\n\n"
        body += "\n\n".join("\n".join(method(one)) for one in every if one.tag == tag)
        used = [name for name in shared if re.search(rf"\b{name}\b", body)]
        imports = ["from faregate.client.asking import Asking"]
        if used:
            imports.append(f"from faregate.client.operations.forms import {', '.join(used)}")
        found[_module(tag)] = _head(f"Operations on {tag}, and their forms.", body, imports)
    found["table"] = _head(
        "Every operation of the admin API, by its id.",
        _table(every),
        ["from faregate.client.operation import Operation"],
    )
    found["__init__"] = _all(tags)
    return {name: _formatted(text) for name, text in found.items()}


def _class(tag: str) -> str:
    return "".join(word.capitalize() for word in re.split(r"\W+", tag)) + "Operations"


def _module(tag: str) -> str:
    return re.sub(r"\W+", "_", tag).lower()


def _forms(names: list[str], schemas: dict[str, Node]) -> str:
    """Each behind those that it refers to."""
    placed: list[str] = []

    def place(name: str) -> None:
        if name not in placed:
            for other in sorted(referred(schemas[name])):
                if other in names and other != name:
                    place(other)
            placed.append(name)

    for name in names:
        place(name)
    return "\n\n".join("\n".join(form(name, schemas[name])) for name in placed)


def _table(every: list[Operation]) -> str:
    lines = []
    for one in every:
        more = [
            f"{word}={tuple(names)!r}"
            for word, names in (("in_path", one.in_path), ("query", one.query), ("headers", one.headers))
            if names
        ]
        if one.body is not None:
            more.append(f"body={kind(one.body)!r}")
        values = ", ".join([repr(one.method), repr(one.path), repr(one.summary), f"reads={one.reads}", *more])
        lines.append(f"    {one.id!r}: Operation({values}),")
    listed = "\n".join(lines)
    return f"# fmt: off\n# ruff: noqa: E501 - a row a line\nOPERATIONS: Final[dict[str, Operation]] = {{\n{listed}\n}}\n"


def _all(tags: list[str]) -> str:
    lines = [f"from faregate.client.operations.{_module(tag)} import {_class(tag)}" for tag in tags]
    classes = ", ".join(_class(tag) for tag in tags)
    words = "Every operation of the admin API, as methods."
    lines += ["", f"class Operations({classes}):", f'    """{words}"""']
    return _head(words, "\n".join(lines), [])


def _formatted(text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--fix-only", "--select", "I,Q,UP", "--quiet"], ["format", "--quiet"]):
        done = subprocess.run(
            [ruff, *arguments, "--no-cache", "--stdin-filename", "src/faregate/client/operations/x.py", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=FOLDER.parents[3],
        )
        text = done.stdout
    return text


def main() -> None:
    """Writes all of them."""
    texts = rendered(create_admin(None).openapi())
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.py"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        (FOLDER / f"{name}.py").write_text(text)


if __name__ == "__main__":
    main()
