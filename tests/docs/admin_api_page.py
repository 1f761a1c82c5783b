"""Writes docs/reference/admin_api.md from the admin API's OpenAPI document, so that the page cannot disagree with the program.

``python -m tests.docs.admin_api_page`` writes the page; a test holds it.
"""

from pathlib import Path
from typing import Any, Final

from faregate.manager.admin.app import create_admin

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "admin_api.md"
Node = dict[str, Any]

NEEDS: Final = {
    "see": "viewer, or any role",
    "write": "operator or owner",
    "decide": "approver or owner",
    "own": "owner, for everything",
    "audit": "auditor or owner, for everything",
    "self": "whoever asks, about themselves; owners about others",
    "nobody": "nobody need be known",
}

HEAD: Final = """\
# Admin API

<!-- Written by `python -m tests.docs.admin_api_page` from the program's OpenAPI document; edits here are lost. -->

The manager listens on `gateway.manager.address` and takes JSON alone. `GET /openapi.json` is this page for programs.
Requests carry `Authorization: Bearer fgm_...`; the machine's own token is `<data>/manager.token`. Everything that can be done
here the command line does too, and the reverse.

- **Conditions.** A write says which state it means: `If-Match` with the `ETag` that was read (`*`: whatever it is), or
  `If-None-Match: *` for something new. Without: 428, but for a PUT that makes something new. When somebody else was faster: 412
  with `diff`. The writes that take no condition say why below.
- **Repeats.** `Idempotency-Key` on making or rolling a key: a repeat within a day gets the first answer, its secret included, and
  `Idempotent-Replayed: true`; another request under the same key gets 422. The answer is kept, sealed, in the transaction of the
  act, for the credential that asked. A key that is none gets 400 `idempotency_key_invalid`.
- **Revisions.** `Faregate-Revision` names the revision that a write made, `Faregate-Published` says whether the workers of this
  machine run it by now. `X-Faregate-Reason` stands in the revision and in the audit tree.
- **Waiting.** 202 with `change_request`: it waits for a second person or for its hour.
- **Lists.** `size` (1 to 1,000), `offset` from the page before; `next` is the path of the following page, absent at the end.
- **Refusals.** `application/problem+json` as everywhere (RFC 9457). Without a credential 401 `credential_missing`, with any that is not
  accepted one and the same 401 `credential_invalid`. What does not fit gets 422 with `diagnostics`, as `faregate check` words them: `path`, `code`, `message`, `expected`, `nearest`. A body with a name twice in one object, or that is not JSON, gets 400. What may not be seen answers as what is not there.
- **Looking into the audit tree** is itself a record of it. `GET /audit/{seq}` answers the proof that `faregate audit verify
  --proof` checks; it reads the whole tree.
- **Bounds.** `/calls` looks at 64 MiB of the log, `/audit` at 32 MiB of the tree for one page; `early` and `offset` say where it
  ended. Tools run in a process of their own, 30 seconds and 2 GiB each, two at a time.
- **Bodies.** 64 MiB at most, 64 KiB without a credential that is accepted, 128 MiB of all requests at one moment (then 503 with
  `Retry-After`). What an audit record has no room for is cut at `…`; its `digest` and `changes` stand for the whole.
- **Contracts.** OpenAPI documents of active versions are compared within 10 seconds and 16 MiB; what cannot be judged so is refused
  with 409 `breaking_change` unless it is forced.

"""


def page() -> str:
    document = create_admin(None).openapi()
    tags: dict[str, list[tuple[str, str, Node]]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tags.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    parts = [HEAD, "## Who may do what\n\n| need | roles |\n| --- | --- |\n"]
    parts += [f"| {need} | {roles} |\n" for need, roles in NEEDS.items()]
    for tag, operations in tags.items():
        parts.append(f"\n## {tag}\n\n| operation | | need | condition |\n| --- | --- | --- | --- |\n")
        parts += [_row(*one) for one in operations]
        for _, _, operation in operations:
            parts += _body(operation, document["components"]["schemas"])
    return "".join(parts)


def _row(method: str, path: str, operation: Node) -> str:
    names = {one["name"] for one in operation.get("parameters", ())}
    condition = "`If-Match`" if "if-match" in names else operation.get("x-faregate-condition", "")
    if "idempotency-key" in names:
        condition += "; `Idempotency-Key`" if "Idempotency-Key" not in condition else ""
    return (
        f"| `{method} {path}`<br>`{operation['operationId']}` | {operation['summary']} "
        f"| {operation['x-faregate-need']} | {condition} |\n"
    )


def _body(operation: Node, schemas: Node) -> list[str]:
    sent = operation.get("requestBody")
    if sent is None:
        return []
    name = sent["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    schema = schemas[name]
    lines = [
        f"\n`{operation['operationId']}` takes {_sentence(schema)}\n\n| member | type | |\n| --- | --- | --- |\n"
    ]
    required = set(schema.get("required", ()))
    for member, told in schema.get("properties", {}).items():
        needed = "required. " if member in required else ""
        lines.append(f"| `{member}` | {_type(told)} | {needed}{_words(told)} |\n")
    return lines


def _sentence(schema: Node) -> str:
    told = " ".join(str(schema.get("description", "")).split())
    return f"({told})" if told else "these members:"


def _words(told: Node) -> str:
    words = " ".join(str(told.get("description", "")).split())
    default = told.get("default")
    return words + (f" Default `{default}`." if default not in (None, "", [], {}) else "")


def _type(told: Node) -> str:
    if "$ref" in told:
        return str(told["$ref"].rpartition("/")[2])
    if "const" in told:
        return f"`{told['const']}`"
    if "enum" in told:
        return ", ".join(f"`{one}`" for one in told["enum"])
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(_type(one) for one in told["anyOf"]))
    kind = str(told.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(told.get('items', {}))}"
    bounds = [f"{told[name]}" for name in ("minimum", "maximum") if name in told]
    return f"{kind} {' to '.join(bounds)}" if len(bounds) == 2 else kind


if __name__ == "__main__":
    PAGE.write_text(page())
