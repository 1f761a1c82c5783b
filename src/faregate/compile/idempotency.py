"""What idempotency needs of other places: somebody who owns the key, a body that can be held, a query that
can be filled in, secrets that all machines share.

``public_idempotency`` is looked for in the tree as written, with everything else that is wrong; the rest
needs settings whose shape is right.
"""

from collections.abc import Iterator
from hashlib import blake2b
from importlib.util import find_spec
from typing import Final

from faregate.compile.walk import ANY, matches
from faregate.kernel.templates import names_in
from faregate.model.apis import Api, Route
from faregate.model.config import Config
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.gateway import Gateway
from faregate.model.ledger import EMBEDDED, Ledger, StorePlace
from faregate.policies.idempotency.settings import DAY_S, Idempotency, settings_of

BODY_BYTES_MAX: Final = 1 << 20
"""A call with a key is held whole until it is claimed."""
MONEY: Final = frozenset({"payments", "refunds", "transfers", "payouts", "charges"})
_LIBRARIES: Final = {"redis": "redis", "postgresql": "psycopg"}
"""What talks to a shared store; extras of this package, by the names of the stores."""
_KEY_NAMES: Final = "{key}, or {key_1}, {key_2} where several values make the key"


def check_public(data: dict[str, Value], findings: Findings) -> None:
    """Reports idempotency on routes that anybody may call: a key belongs to a consumer."""
    for path, api in matches(data, ("apis", ANY)):
        if not isinstance(api, dict) or api.get("authenticate") != []:
            continue
        places = [
            *matches(api.get("routes"), (ANY, "idempotency"), (*path, "routes")),
            *matches(api.get("versions"), (ANY, "routes", ANY, "idempotency"), (*path, "versions")),
        ]
        for place, value in places:
            if value in ("required", "optional") or isinstance(value, dict):
                findings.add(
                    "public_idempotency",
                    place,
                    "a public API cannot have idempotency: a key belongs to whoever sent it, and nobody is "
                    "identified",
                    expected="a way to `authenticate`, or `idempotency: off`",
                    at_key=True,
                )


def check_idempotency(config: Config, findings: Findings) -> None:
    """Reports what does not go together with a route's idempotency, and warns of what is unwise."""
    used = False
    for path, api, route in placed_routes(config):
        settings = settings_of(route.idempotency)
        if settings is None:
            if _moves_money(route) and api.authenticate:
                _warn_unguarded(path, route, findings)
            continue
        used = True
        _check_body(path, route, config.gateway, findings)
        _check_keep((*path, "idempotency", "keep"), settings, findings)
        _check_query(path, route, settings, findings)
    _check_ledger(config.gateway, used, findings)


def placed_routes(config: Config) -> Iterator[tuple[TreePath, Api, Route]]:
    """Every route where it is written, with its API."""
    for name, api in config.apis.items():
        path: TreePath = ("apis", name)
        for index, route in enumerate(api.routes):
            yield (*path, "routes", index), api, route
        for version, settings in api.by_name.items():
            for index, route in enumerate(settings.routes or []):
                yield (*path, "versions", version, "routes", index), api, route


def _moves_money(route: Route) -> bool:
    if route.match.method != "POST":
        return False
    words = [word for word in route.match.template.split("/") if word and "{" not in word]
    return bool(words) and words[-1].replace("_", "-").split("-")[-1] in MONEY


def _warn_unguarded(path: TreePath, route: Route, findings: Findings) -> None:
    message = f"{route.match.label} seems to move money, and a repeated call runs twice"
    expected = "idempotency: required"
    if "idempotency" in route.model_fields_set:
        return  # `off` was written out
    findings.add("money_unguarded", (*path, "match"), message, expected=expected)


def _check_body(path: TreePath, route: Route, gateway: Gateway, findings: Findings) -> None:
    bytes_max = gateway.limits.body if route.body is None else route.body
    if bytes_max > BODY_BYTES_MAX:
        place = (*path, "idempotency" if route.body is None else "body")
        message = "a call with an idempotency key is held whole, and this one may be larger than 1MiB"
        findings.add("bad_value", place, message, expected="body: 1MiB or less", at_key=True)


def _check_keep(path: TreePath, settings: Idempotency, findings: Findings) -> None:
    if settings.keep < DAY_S:
        message = "a repeat after this time runs again; providers keep keys for 24h at least"
        findings.add("short_keep", path, message, expected="24h or more")


def _check_query(path: TreePath, route: Route, settings: Idempotency, findings: Findings) -> None:
    resolve = settings.resolve
    if resolve is None:
        return
    place = (*path, "idempotency", "resolve")
    in_path = {
        segment[1:-1].removesuffix("...") for segment in route.match.template.split("/") if "{" in segment
    }
    known = in_path | set(settings.key_names)
    for member, template in (("query", resolve.query.target), ("body", resolve.body or "")):
        unknown = sorted(names_in(template) - known)
        if unknown:
            findings.add(
                "unresolved_reference",
                (*place, member),
                f"{{{unknown[0]}}} is neither the key nor a parameter of {route.match.label}",
                expected=", ".join(f"{{{name}}}" for name in sorted(known)),
            )
    asked = names_in(resolve.query.target) | names_in(resolve.body or "")
    if not asked & known:
        message = "the query asks for no call in particular"
        findings.add("bad_value", (*place, "query"), message, expected=_KEY_NAMES)


def ledger_place(gateway: Gateway) -> StorePlace:
    """Where the ledger is: what ``ledger`` says, else where ``shared`` is."""
    return gateway.shared if gateway.ledger.store is None else gateway.ledger.store


def _check_kind(ledger: Ledger, path: TreePath, findings: Findings, *, shared: bool) -> None:
    """Reports what is written and means nothing to this kind of store."""
    idle = {"disk"} if shared else {"accept_loss", "prefix"}
    for member in sorted(idle & ledger.model_fields_set):
        whose = "an embedded ledger" if shared else "a shared store"
        message = f"`{member}` is of {whose}, and this ledger is {'shared' if shared else 'embedded'}"
        findings.add("bad_value", (*path, member), message, expected=f"no `{member}`", at_key=True)


def _check_library(kind: str, path: TreePath, findings: Findings) -> None:
    """Reports a store whose client is an extra that is not installed; looked for, not imported."""
    library = _LIBRARIES.get(kind)
    if library is not None and find_spec(library) is None:
        message = (
            f"a ledger in {'Redis' if kind == 'redis' else 'PostgreSQL'} needs the Python package {library}"
        )
        findings.add("not_available", path, message, expected=f"install faregate[{kind}]", at_key=True)


def _check_ledger(gateway: Gateway, used: bool, findings: Findings) -> None:  # noqa: FBT001 - of one call above
    ledger = gateway.ledger
    shared = ledger_place(gateway).kind != EMBEDDED
    named = ledger.store is not None
    path: TreePath = ("gateway", "ledger")
    if shared and (used or named):
        for member, missing in (("lookup_key", ledger.lookup_key is None), ("keys", not ledger.keys)):
            if missing:
                message = f"`{member}` is missing: machines that share a ledger share its secrets"
                expected = "lookup_key: ${LEDGER_LOOKUP_KEY} and keys: [{id: k1, secret: ${LEDGER_KEY_1}}]"
                findings.add("missing_key", (*path, member), message, expected=expected)
    if not shared and (ledger.lookup_key is not None or ledger.keys):
        member = "lookup_key" if ledger.lookup_key is not None else "keys"
        message = "an embedded ledger makes its own secrets, in <data>/ledger/secrets"
        findings.add("bad_value", (*path, member), message, expected="a shared `store`", at_key=True)
    _check_kind(ledger, path, findings, shared=shared)
    if used or named:
        _check_library(ledger_place(gateway).kind, path, findings)
    first: dict[bytes, int] = {}
    for index, key in enumerate(ledger.keys):
        # what answers are marked with; two that are alike could not be told apart
        mark = blake2b(key.id.encode(), digest_size=4).digest()
        if first.setdefault(mark, index) != index:
            findings.add(
                "duplicate_name",
                (*path, "keys", index, "id"),
                "two keys with the same id",
                other=(*path, "keys", first[mark], "id"),
            )
