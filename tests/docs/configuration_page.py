"""Writes docs/reference/configuration.md from the published JSON Schema, so that the page cannot disagree with the
program.

Types, bounds, defaults and required keys come from the schema, which comes from the declared forms; what this
release refuses comes from ``compile.available``. Only what a key means is written here, where the schema does
not say it. ``python -m tests.docs.configuration_page`` writes the page; a test holds it.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from faregate.compile.available import NOT_AVAILABLE
from faregate.model.schema import configuration_schema

Node: TypeAlias = dict[str, Any]
"""A part of the JSON Schema."""

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"

MEANINGS: Final = {
    "include": "Files to merge, relative to this one; patterns allowed. A name defined twice is an error.",
    "gateway.listen": "Addresses that callers connect to.",
    "gateway.listen[].address": "Where to listen; port 0 takes a free one.",
    "gateway.listen[].tls": "TLS of this listener; left out: in clear.",
    "gateway.listen[].tls.certificates": "One of them answers, by the name that is asked for; the first one for any other.",
    "gateway.listen[].tls.certificates[].chain": "The certificate and those that sign it, in this order (PEM).",
    "gateway.listen[].tls.certificates[].key": "Its private key (PEM), without passphrase.",
    "gateway.listen[].tls.client_certificates": "Whether callers are asked for certificates of their own.",
    "gateway.listen[].tls.client_certificates.mode": "`required`: nobody connects without a good one.",
    "gateway.listen[].tls.client_certificates.ca": "Who may sign them (PEM); needed unless `mode: none`.",
    "gateway.listen[].tls.client_certificates.crl": "Revocation lists (PEM), one for each authority; left out: none is looked at.",
    "gateway.manager": "Where metrics, health and readiness are served; `off` for nowhere.",
    "gateway.manager.address": "Where the manager listens.",
    "gateway.store": "Where revisions and consumers are kept.",
    "gateway.shared": "Where the state of several machines is shared.",
    "gateway.ledger": "Where what became of calls with an idempotency key is kept. A text alone is its `store`.",
    "gateway.ledger.store": "`embedded`, Redis or PostgreSQL; left out: where `shared` is.",
    "gateway.ledger.disk": "What an embedded ledger may fill.",
    "gateway.ledger.accept_loss": "Whether a store that may lose what it was told is used all the same.",
    "gateway.ledger.lookup_key": "Hides callers' keys from a shared store; never to be changed.",
    "gateway.ledger.keys": "Seal stored answers in a shared store; the last one seals, all open.",
    "gateway.ledger.keys[].id": "By which answers name their key.",
    "gateway.trusted_proxies": "Whose `X-Forwarded-*` is believed.",
    "gateway.limits": "Bounds on what one caller may send.",
    "gateway.limits.header_bytes": "A whole header section.",
    "gateway.limits.body": "A request body, where the route says nothing else.",
    "gateway.limits.header_timeout": "From a new connection, or a header section's first byte, to the section's last.",
    "gateway.limits.body_timeout": "From the header section to the last byte of the body.",
    "gateway.limits.idle_timeout": "A kept connection between two requests.",
    "gateway.limits.connections": "Connections of all callers, over all workers of the machine; in each, never more than half its descriptors.",
    "gateway.limits.connections_per_address": "Of them, those of one address, over all workers; trusted proxies are not counted.",
    "gateway.limits.calls": "Calls in progress in one worker.",
    "gateway.limits.memory": "Of all workers together; `auto`: three quarters of what the machine or its control group has.",
    "issuers.<name>.jwks": "The public keys; this or `secret`.",
    "issuers.<name>.secret": "The shared secret of `HS*` tokens; this or `jwks`.",
    "issuers.<name>.algorithms": "Accepted signature algorithms; must fit the kind of key.",
    "issuers.<name>.leeway": "How far clocks may differ, for `exp`, `nbf` and `iat`.",
    "issuers.<name>.tls": "Trust for fetching the key set from a URL.",
    "upstreams.<name>.targets": "The servers. A text alone is a target's `url`.",
    "upstreams.<name>.timeouts": "How long a target may take.",
    "upstreams.<name>.timeouts.connect": "To open a connection.",
    "upstreams.<name>.timeouts.first_byte": "From the request's last byte to the answer's first.",
    "upstreams.<name>.timeouts.idle": "Between two pieces of an answer.",
    "upstreams.<name>.timeouts.total": "From the last check to the answer's last byte, connecting included.",
    "upstreams.<name>.timeouts.stream_idle": "`idle` of `text/event-stream` answers.",
    "upstreams.<name>.timeouts.stream_total": "The longest `text/event-stream` answer.",
    "upstreams.<name>.health": "How illness is noticed.",
    "upstreams.<name>.health.active": "Checks that the gateway makes itself; none when left out.",
    "upstreams.<name>.health.active.every": "Between two checks of one target by one worker.",
    "upstreams.<name>.health.active.timeout": "How long one check may take.",
    "upstreams.<name>.health.passive": "Failures of real calls take a target out for a while.",
    "upstreams.<name>.health.passive.within": "The time in which the failures count.",
    "upstreams.<name>.health.passive.eject_for": "How long a target stays out the first time.",
    "upstreams.<name>.health.passive.max_ejected": "The most targets out at once.",
    "upstreams.<name>.health.breaker": "A target whose calls mostly fail is taken out, even the last one.",
    "upstreams.<name>.health.breaker.ratio": "The part of failed calls that opens it.",
    "upstreams.<name>.health.breaker.within": "The window in which calls are counted.",
    "upstreams.<name>.health.breaker.open_for": "How long it is open before a few calls are tried.",
    "upstreams.<name>.retry": "Further targets tried when nothing was sent.",
    "upstreams.<name>.retry.on": "When another target is tried.",
    "upstreams.<name>.connections": "Connections to one target from one worker.",
    "upstreams.<name>.concurrency": "Calls in progress at one target from one worker; `adaptive`: as many as its latency bears.",
    "upstreams.<name>.protocol": "What the targets speak; `h2`: HTTP/2 alone, for gRPC above all.",
    "upstreams.<name>.forward_idempotency_key": "Whether the header with the caller's key goes on to the targets.",
    "upstreams.<name>.tls": "TLS towards `https://` targets, which are verified unless this says otherwise.",
    "upstreams.<name>.tls.ca": "Authorities that may have signed the servers' certificates, in PEM form; left out: the system's.",
    "upstreams.<name>.tls.certificate": "The gateway's own certificate, with its chain, for servers that ask for one.",
    "upstreams.<name>.tls.key": "Its key; left out when it stands in the same file.",
    "upstreams.<name>.tls.server_name": "The name that is asked for and checked; left out: the target's host.",
    "upstreams.<name>.tls.verify": "Whether certificates are checked at all; `false` is warned about and shown in the metrics.",
    "plans.<name>.limits": "Rates of each consumer, all of which hold.",
    "consumers.<name>.plan": "Its plan.",
    "consumers.<name>.permissions": "What it may do.",
    "consumers.<name>.credentials": "What proves it; each a mapping with one key.",
    "consumers.<name>.credentials[].jwt": "Tokens of an issuer.",
    "consumers.<name>.credentials[].jwt.issuer": "The issuer's name.",
    "consumers.<name>.credentials[].jwt.subject": "The value of the issuer's `consumer_claim`.",
    "consumers.<name>.credentials[].api_key": "A key sent in `X-API-Key` or as a bearer token.",
    "consumers.<name>.credentials[].api_key.id": "Its id, for logs and `X-Credential-Id`.",
    "consumers.<name>.credentials[].api_key.sha256": "SHA-256 of the whole key.",
    "consumers.<name>.credentials[].api_key.expires": "The day on which it ends (UTC); left out: never.",
    "consumers.<name>.credentials[].mtls": "A client certificate: `sha256`, or `subject` and `ca`.",
    "consumers.<name>.credentials[].mtls.sha256": "SHA-256 of the certificate (DER).",
    "consumers.<name>.credentials[].mtls.subject": "Its whole subject (RFC 4514), in this order.",
    "consumers.<name>.credentials[].mtls.ca": "Who must have signed it: a file, or the name without ending of a listener's `ca`.",
    "consumers.<name>.allow_ips": "Addresses it may call from; left out: any.",
    "consumers.<name>.state": "A suspended consumer gets 403.",
    "apis.<name>.upstream": "Where its calls go, unless a version says otherwise.",
    "apis.<name>.versions": "Its versions by name.",
    "apis.<name>.routes": "Routes of every version that has none of its own.",
    "apis.<name>.limits": "Rates of each consumer over the whole API.",
    "apis.<name>.forward_credential": "Whether the upstream gets the caller's credential.",
    "apis.<name>.versions.<name>.path": "Path that all its routes begin with.",
    "apis.<name>.versions.<name>.state": "Where it is in its life.",
    "apis.<name>.versions.<name>.deprecated_at": "The day told in `Deprecation`.",
    "apis.<name>.versions.<name>.sunset_at": "The day told in `Sunset`; not before `deprecated_at`.",
    "apis.<name>.versions.<name>.successor": "The version told in `Link`.",
    "apis.<name>.versions.<name>.preview": "Consumers who may call it while it is a draft.",
    "apis.<name>.versions.<name>.routes": "Its own routes, in place of the API's.",
    "apis.<name>.versions.<name>.upstream": "Its own upstream.",
    "apis.<name>.routes[].match": "Method and path template.",
    "apis.<name>.routes[].idempotency": "Whether a repeated call runs once.",
    "apis.<name>.routes[].idempotency.required": "Whether a call without a key is refused.",
    "apis.<name>.routes[].idempotency.key": "Where the key stands; left out: in `Idempotency-Key`.",
    "apis.<name>.routes[].idempotency.key.header": "In this header.",
    "apis.<name>.routes[].idempotency.key.json": "At these places of the JSON body; several values make one key.",
    "apis.<name>.routes[].idempotency.key.form": "In these fields of the form.",
    "apis.<name>.routes[].idempotency.keep": "How long an answer is kept; after that a repeat runs again.",
    "apis.<name>.routes[].idempotency.store_answers": "`success`: 4xx free the key, 5xx leave the outcome unknown.",
    "apis.<name>.routes[].idempotency.wait": "How long a repeat waits for a call on its way; left out: not at all.",
    "apis.<name>.routes[].idempotency.no_verdict": "Statuses that leave open whether the call ran.",
    "apis.<name>.routes[].idempotency.not_run": "Statuses that say that it did not, and free the key.",
    "apis.<name>.routes[].idempotency.in_progress": "An answer that says that the call still runs.",
    "apis.<name>.routes[].idempotency.in_progress.status": "One of these.",
    "apis.<name>.routes[].idempotency.in_progress.json": "Where the value stands.",
    "apis.<name>.routes[].idempotency.in_progress.values": "One of these; left out: anything but null or empty.",
    "apis.<name>.routes[].idempotency.fingerprint": "What tells one request from another; left out: the whole body.",
    "apis.<name>.routes[].idempotency.fingerprint.json": "Values that count.",
    "apis.<name>.routes[].idempotency.keep_headers": "Further fields of answers to store.",
    "apis.<name>.routes[].idempotency.resolve": "The query that settles a call whose outcome is not known. A text alone is its `query`.",
    "apis.<name>.routes[].idempotency.resolve.body": "The body of a POST query, JSON or a form.",
    "apis.<name>.routes[].idempotency.resolve.upstream": "Whom to ask; left out: the route's own.",
    "apis.<name>.routes[].idempotency.resolve.done": "Answers that say that it ran, one suffices; left out: 200 with JSON that is not empty.",
    "apis.<name>.routes[].idempotency.resolve.done.status": "One of these.",
    "apis.<name>.routes[].idempotency.resolve.done.json": "Where the value stands.",
    "apis.<name>.routes[].idempotency.resolve.done.values": "One of these; left out: anything but null or empty.",
    "apis.<name>.routes[].idempotency.resolve.released": "Answers that say that it never ran, one suffices.",
    "apis.<name>.routes[].idempotency.resolve.released.status": "One of these.",
    "apis.<name>.routes[].idempotency.resolve.released.json": "Where the value stands.",
    "apis.<name>.routes[].idempotency.resolve.released.values": "One of these; left out: anything but null or empty.",
    "apis.<name>.routes[].idempotency.resolve.settling": "How long after the call a 404 says that it never ran; left out: never.",
    "apis.<name>.routes[].idempotency.resolve.answer": "`query`: the query's answer becomes the stored one.",
    "apis.<name>.routes[].limits": "Rates of each consumer on this route.",
    "apis.<name>.routes[].body": "The largest body; left out: `gateway.limits.body`.",
    "apis.<name>.routes[].priority": "Who is refused first under overload.",
    "apis.<name>.routes[].log": "Bodies in the access log, always masked.",
    "apis.<name>.routes[].log.request_body": "The request's body.",
    "apis.<name>.routes[].log.response_body": "The answer's body.",
    "apis.<name>.routes[].forward_credential": "As the API's, for this route.",
    "apis.<name>.routes[].upgrade": "Whether the route takes WebSockets; only on `GET`.",
    "apis.<name>.routes[].upgrade.protocol": "The only one there is.",
    "apis.<name>.routes[].upgrade.origins": "Whose pages may open one; `*` for all. A call without `Origin` passes.",
    "apis.<name>.routes[].upgrade.idle": "Without a byte from either side.",
    "apis.<name>.routes[].upgrade.lifetime": "The longest that one may last.",
}

DEFAULTS: Final = {
    "gateway.listen": "`[{address: 127.0.0.1:8080}]`",
    "gateway.manager": "`{address: 127.0.0.1:9090}`",
    "gateway.workers": "`auto`",
    "upstreams.<name>.retry.on": "`[connect_failure]`",
    "apis.<name>.routes[].idempotency.no_verdict": "`[408, 425, 502, 503, 504]`",
    "apis.<name>.routes[].idempotency.not_run": "`[401, 429]`",
}
"""Defaults that the schema cannot carry; a test compares them with the program."""

ABOUT: Final = {"gateway.manager": "Where metrics, health and readiness are served."}
"""Said of a mapping in place of the schema's words, which speak of later releases too."""

OMITTED: Final = ("$schema",)
INTRODUCTION: Final = """\
# Configuration

Every key, with its type and default. This page is written by `python -m tests.docs.configuration_page` from the schema
that `faregate schema` prints; do not edit it.

- Durations are `250ms 5s 2m 1h 30d`, sizes `512B 64KiB 2MiB 1GiB`, rates `100/second`, `10/second burst 20`, `2000/minute`,
  `1000000/month`.
- Any value may hold `${ENV_NAME}` or `${file:path}`; `$${` stands for `${`. Paths are relative to the file they stand in.
- Text is text: `NO`, `010`, `12:30:45` and `2026-10-01` are not turned into anything else.
- Names are 1 to 128 letters, digits and `_ . @ + -`, beginning with a letter, a digit or `_`.
- An unknown key is an error, and so is a key without a value. `faregate check FILE` reports all errors at once.
- What a key marked *not in this release* asks for is refused with the diagnostic `not_available`.
"""


class Row(NamedTuple):
    """One key of one table."""

    path: str
    key: str
    type: str
    default: str
    meaning: str


class Table(NamedTuple):
    """One mapping of the configuration."""

    path: str
    about: str
    rows: list[Row]


def tables() -> list[Table]:
    """All mappings in the order of the configuration, each once."""
    found: list[Table] = []
    _collect("", configuration_schema(), found)
    return found


def page() -> str:
    """The page's whole text."""
    parts = [INTRODUCTION]
    for table in tables():
        title = f"`{table.path}`" if table.path else "The file"
        about = f"\n{table.about}\n" if table.about else ""
        lines = [f"| `{row.key}` | {row.type} | {row.default} | {row.meaning} |" for row in table.rows]
        parts.append(
            f"## {title}\n{about}\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
            + "\n".join(lines)
            + "\n"
        )
    return "\n".join(parts)


def _collect(path: str, node: Node, found: list[Table]) -> None:
    properties = node["properties"]
    required = node.get("required", [])
    rows: list[Row] = []
    below: list[tuple[str, Node]] = []
    for key, member in properties.items():
        if key in OMITTED:
            continue
        place = f"{path}.{key}" if path else key
        alternatives = _alternatives(member)
        kind = " or ".join(dict.fromkeys(_type(one) for one in alternatives))
        meaning = MEANINGS.get(place) or _described(member, alternatives)
        rows.append(
            Row(place, key, kind, _default(place, member, key in required), meaning + _missing(place))
        )
        if not _is_refused(place):
            for one in alternatives:
                if one.get("items") not in alternatives:  # a list of what may stand alone is told once
                    below += _inner(place, one)
    about = ABOUT.get(path) or (str(node.get("description", "")) if path else "")
    found.append(Table(path, about, rows))
    for place, inner in below:
        _collect(place, inner, found)


def _alternatives(node: Node) -> list[Node]:
    """The forms a value may have, ``${...}`` left out, which is allowed everywhere."""
    forms = node.get("anyOf", node.get("oneOf"))
    if not forms:
        return [] if _is_reference(node) else [node]
    found = [form for one in forms for form in _alternatives(one)]
    return [form for form in found if not any(form is not one and form == one for one in found)]


def _is_reference(node: Node) -> bool:
    return set(node) == {"type", "pattern"} and node["pattern"] == r"\$\{[^}]+\}"


def _definition(node: Node) -> Node | None:
    if "$ref" not in node:
        return None
    return configuration_schema()["$defs"][str(node["$ref"]).rpartition("/")[2]]


def _named(node: Node) -> Node | None:
    """The value of a mapping whose keys are free names."""
    patterns = node.get("patternProperties")
    return next(iter(patterns.values())) if patterns else None


def _inner(place: str, node: Node) -> list[tuple[str, Node]]:
    """The mappings inside one form of a value, with their places."""
    defined = _definition(node)
    if defined is not None:
        return [] if _is_refused(f"{place}.by") and "by" in defined["properties"] else [(place, defined)]
    named = _named(node)
    if named is not None:
        return _inner(f"{place}.<name>", named)
    if node.get("type") == "array" and isinstance(node.get("items"), dict):
        # the routes of a version are those of an API, told once
        if place == "apis.<name>.versions.<name>.routes":
            return []
        return [pair for form in _alternatives(node["items"]) for pair in _inner(f"{place}[]", form)]
    return []


def _type(node: Node) -> str:
    if _definition(node) is not None:
        return "mapping"
    if _named(node) is not None:
        return "mapping by name"
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return " ".join(f"`{word}`" for word in node["enum"])
    if node.get("type") == "array":
        items = " or ".join(dict.fromkeys(_type(form) for form in _alternatives(node.get("items", {}))))
        return f"list of {items}"
    if node.get("type") == "integer":
        return f"{node['minimum']:,} to {node['maximum']:,}"
    if node.get("type") == "boolean":
        return "`true` `false`"
    return _text_type(node)


def _text_type(node: Node) -> str:
    about = str(node.get("description", ""))
    if about.startswith(("A duration from", "A size from")):
        return about[2:-1]
    examples = node.get("examples")
    return "text, as " + ", ".join(f"`{one}`" for one in examples) if examples else "text"


def _described(member: Node, alternatives: list[Node]) -> str:
    defined = [found for one in alternatives if (found := _definition(one)) is not None]
    return str(
        member.get("description") or next((one["description"] for one in defined if "description" in one), "")
    )


def _default(place: str, member: Node, required: bool) -> str:
    if required:
        return "required"
    if place in DEFAULTS:
        return DEFAULTS[place]
    value = member.get("default")
    if value is None:
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _pattern(place: str) -> tuple[str, ...]:
    """The place as ``compile.available`` writes it."""
    return tuple("*" if step == "<name>" else step for step in place.replace("[]", ".*").split("."))


def _is_refused(place: str) -> bool:
    """Whether this release refuses every mapping at this key, so that its own keys need no table."""
    pattern = _pattern(place)
    return any(row.pattern == pattern and (row.applies({}) or row.applies("header")) for row in NOT_AVAILABLE)


def _missing(place: str) -> str:
    """What this release refuses at this key."""
    pattern = _pattern(place)
    found = [row.what for row in NOT_AVAILABLE if row.pattern in (pattern, (*pattern, "*"), (*pattern, "by"))]
    return f" *Not in this release: {', '.join(found)}.*" if found else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
