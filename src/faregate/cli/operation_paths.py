"""Paths of the admin API as ``faregate config`` takes them, and writes to them."""

import json as json_text
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from faregate.cli.errors import CommandError
from faregate.cli.managing import Where, connected
from faregate.client import OPERATIONS

if TYPE_CHECKING:
    from faregate.client import Client, Operation

ROOTS: Final = ("issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials")


def operation_at(method: str, path: str, *, listing: bool = False) -> tuple[str, dict[str, object]]:
    """The operation at a path, and the values of its parameters. Raises CommandError."""
    steps = [step for step in path.split("/") if step]
    for name, one in OPERATIONS.items():
        if one.method == method and name.endswith("_list") == listing:
            values = _match(one, steps)
            if values is not None:
                return name, values
    if not steps or steps[0] not in ROOTS:
        raise CommandError(f"{path!r} begins with none of {', '.join(ROOTS)}", 2)
    verbs = [verb for verb, other in (("PUT", "put"), ("DELETE", "delete")) if _exists(verb, steps) and other]
    hint = "" if verbs else "; such as plans/gold, apis/payments/versions/v2, upstreams/web/targets/HOST:PORT"
    raise CommandError(f"{method.lower() if not listing else 'list'} does not go with {path!r}{hint}", 2)


def _exists(method: str, steps: list[str]) -> bool:
    return any(one.method == method and _match(one, steps) is not None for one in OPERATIONS.values())


def _match(operation: "Operation", steps: list[str]) -> dict[str, object] | None:
    parts = operation.path.strip("/").split("/")
    if len(parts) != len(steps) or parts[0] not in ROOTS or parts[0] != steps[0]:
        return None
    values: dict[str, object] = {}
    for part, step in zip(parts, steps, strict=True):
        if part.startswith("{"):
            values[part.strip("{}")] = step
        elif part != step:
            return None
    return values


def content_of(text: str) -> object:
    """What ``text`` says: YAML or JSON, a file's or standard input's. Raises CommandError."""
    from faregate.model.yaml_text import YamlText

    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{text[1:] or 'standard input'} cannot be read: {error}") from None
    read = YamlText(text)
    if read.errors:
        first = read.errors[0]
        raise CommandError(f"line {first.line}, column {first.column}: {first.message}", 2)
    return read.value


def condition(client: "Client", path: str, *, etag: str, create: bool) -> Mapping[str, object]:
    """The state that a write is about: the one named, none yet, or the present one."""
    from faregate.client import Refused

    if create:
        return {"if-none-match": "*"}
    if etag:
        return {"if-match": etag}
    holder = path.removesuffix("/state").rpartition("/versions/")[0] if path.endswith("/state") else path
    operation, values = operation_at("GET", holder)
    try:
        return {"if-match": client.ask(operation, values)["etag"]}
    except Refused as refused:
        if refused.status != 404:
            raise
        return {"if-none-match": "*"}


def write(  # noqa: PLR0913 - what a write is made of
    where: Where,
    method: str,
    path: str,
    content: object,
    *,
    team: str | None,
    etag: str,
    create: bool,
    reason: str,
    json: bool,
) -> None:
    """Sends it and says what came of it. Raises CommandError."""
    operation, values = operation_at(method, path)
    known = OPERATIONS[operation]
    body: Any = {"spec": content} if "spec" in known.body else content
    if team is not None:
        if "team" not in known.body:
            raise CommandError(f"--team: {path} has none of its own", 2)
        body["team"] = team
    with connected(where) as client:
        named: dict[str, object] = {**values, "x-faregate-reason": reason}
        if "if-match" in known.headers:
            named |= condition(client, path, etag=etag, create=create)
        told = client.ask(operation, {name: value for name, value in named.items() if value}, body)
        revision, published = client.told.revision, client.told.published
    if json:
        print(json_text.dumps(told))
    elif not revision:
        print("no changes")
    else:
        print(f"{path}: revision {revision}" + ("" if published else ", not running everywhere yet"))


def shown_path(template: str, values: Mapping[str, object]) -> str:
    """A path with its parameters filled in."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(str(value), safe=""))
    return template
