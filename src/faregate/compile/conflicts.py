"""Things that must be one of a kind: routes, credentials, listening addresses, issuers, targets.

Each check names both places. Routes conflict when method and shape are equal (``model.paths.shape``): literal
beats ``{name}`` beats ``{rest...}``, so templates of different shapes always have a winner, whatever the
order of the file.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, TypeGuard

from faregate.compile.walk import ANY, mapping, matches, sequence
from faregate.model.addresses import split_host_port
from faregate.model.diagnostics import Findings, TreePath, Value
from faregate.model.interpolate import Unfilled
from faregate.model.paths import Match, join, parse_match, parse_version_path, shape

_KINDS: Final = ("api_key", "jwt", "mtls")
_ID_PLACES: Final[dict[str, TreePath]] = {kind: (kind, "id") for kind in _KINDS}


class PlacedRoute(NamedTuple):
    """One route in one version: where its match and its version stand, and the whole template."""

    path: TreePath
    version: TreePath
    match: Match
    template: str


def check_conflicts(data: dict[str, Value], findings: Findings) -> None:
    _check_routes(data, findings)
    _check_credentials(data, findings)
    _check_issuers(data, findings)
    _check_addresses(data, findings)
    for name, upstream in mapping(data.get("upstreams")).items():
        _check_targets(("upstreams", name, "targets"), sequence(mapping(upstream).get("targets")), findings)


def placed_routes(data: dict[str, Value]) -> Iterator[PlacedRoute]:
    """Every route of every version whose match and path can be read."""
    for api_path, api in matches(data, ("apis", ANY)):
        own = mapping(api).get("routes")
        versions = mapping(mapping(api).get("versions"))
        common = versions.get("path", "/") if isinstance(versions.get("by"), str) else None
        for version_path, version in matches(versions, (ANY,), (*api_path, "versions")):
            if common is not None and not isinstance(version, dict):
                continue
            prefix = mapping(version).get("path") if common is None else common
            if not isinstance(prefix, str) or not _is_version_path(prefix):
                continue
            has_own = "routes" in mapping(version)
            routes, place = (mapping(version)["routes"], version_path) if has_own else (own, api_path)
            for path, match in matches(routes, (ANY, "match"), (*place, "routes")):
                parsed = _parsed(match)
                if parsed is not None:
                    at = (*version_path, "path") if common is None else version_path
                    yield PlacedRoute(path, at, parsed, join(prefix, parsed.template))


def _is_version_path(text: str) -> bool:
    try:
        parse_version_path(text)
    except ValueError:
        return False
    return True


def _parsed(match: Value) -> Match | None:
    try:
        return parse_match(match) if isinstance(match, str) else None
    except ValueError:
        return None


def _check_routes(data: dict[str, Value], findings: Findings) -> None:
    first: dict[tuple[str, str], PlacedRoute] = {}
    within: dict[tuple[TreePath, str, str], PlacedRoute] = {}  # one version
    for route in placed_routes(data):
        key = (route.match.method, shape(route.template))
        known = within.setdefault((route.version, *key), route)
        if known is route:
            known = first.setdefault(key, route)
            if known is route or _apart_by_header(known, route):
                continue
        # one route list under two versions: the versions' paths are at fault, not the routes
        shared = known.path == route.path
        path, other = (route.version, known.version) if shared else (route.path, known.path)
        message = (
            "two versions have the same path"
            if shared
            else "two routes could match the same request equally well"
        )
        findings.add(
            "route_conflict", path, message, expected="routes that differ in method or shape", other=other
        )


def _apart_by_header(one: PlacedRoute, other: PlacedRoute) -> bool:
    """Whether the two stand in different versions of one API whose callers choose by a header."""
    return one.version[:-1] == other.version[:-1] and one.version != other.version and len(one.version) == 4


def _is_known(value: Value) -> TypeGuard[str]:
    """Whether the value is text, and not one with a reference that could not be filled."""
    return isinstance(value, str) and not isinstance(value, Unfilled)


def _check_credentials(data: dict[str, Value], findings: Findings) -> None:
    first: dict[tuple[str, str, str], tuple[str, int, TreePath]] = {}
    for consumer, entry in mapping(data.get("consumers")).items():
        for index, credential in enumerate(sequence(mapping(entry).get("credentials"))):
            for claim, place, noun in identities(mapping(credential)):
                here = (consumer, index, place)
                known = first.setdefault(claim, here)
                if known is not here:
                    findings.add(
                        "duplicate_credential",
                        _credential_path(*here),
                        f"two credentials have the same {noun}",
                        other=_credential_path(*known),
                    )


def _credential_path(consumer: str, index: int, place: TreePath) -> TreePath:
    return ("consumers", consumer, "credentials", index, *place)


Identity: TypeAlias = tuple[tuple[str, str, str], TreePath, str]
"""What a credential proves and no other may: a claim, the same for two that are in each other's way; where it
stands in the credential; what it is called. A plain tuple, for there may be 200,000.
"""


def identities(credential: dict[str, Value]) -> list[Identity]:
    """All that ``credential`` claims."""
    found: list[Identity] = []
    for kind in _KINDS:
        entry = credential.get(kind)
        if isinstance(entry, dict):
            identifier = entry.get("id")
            if _is_known(identifier):
                found.append((("id", identifier, ""), _ID_PLACES[kind], "id"))
    _add_proofs(credential, found)
    return found


def _add_proofs(credential: dict[str, Value], found: list[Identity]) -> None:
    key, token, certificate = credential.get("api_key"), credential.get("jwt"), credential.get("mtls")
    if isinstance(key, dict):
        digest = key.get("sha256")
        if _is_known(digest):
            found.append((("key", digest.lower(), ""), ("api_key", "sha256"), "key"))
        hashed = mapping(key["hmac"]).get("digest") if "hmac" in key else None
        if _is_known(hashed):
            found.append((("key", hashed.lower(), ""), ("api_key", "hmac", "digest"), "key"))
    if isinstance(token, dict):
        issuer, subject = token.get("issuer"), token.get("subject")
        if _is_known(issuer) and _is_known(subject):
            found.append((("jwt", issuer, subject), ("jwt", "subject"), "issuer and subject"))
    if isinstance(certificate, dict):
        fingerprint = certificate.get("sha256")
        if _is_known(fingerprint):
            plain = fingerprint.lower().replace(":", "")
            found.append((("mtls", plain, ""), ("mtls", "sha256"), "fingerprint"))


def _check_issuers(data: dict[str, Value], findings: Findings) -> None:
    """A token picks its issuer by `iss` and `aud`: no two issuers may share both."""
    first: dict[tuple[str, str], TreePath] = {}
    for path, entry in matches(data, ("issuers", ANY)):
        issuer, audience = mapping(entry).get("issuer"), mapping(entry).get("audience")
        place: TreePath = (*path, "issuer")
        for name in sequence(audience) if isinstance(audience, list) else [audience]:
            if _is_known(issuer) and _is_known(name) and first.setdefault((issuer, name), place) != place:
                message = "two issuers have the same `issuer` and audience; a token would not tell which"
                findings.add("duplicate_name", place, message, other=first[issuer, name])


def _check_addresses(data: dict[str, Value], findings: Findings) -> None:
    first: dict[tuple[str, int], TreePath] = {}
    places = [
        *matches(data, ("gateway", "listen", ANY, "address")),
        *matches(data, ("gateway", "manager", "address")),
    ]
    for path, value in places:
        try:
            address = split_host_port(value) if isinstance(value, str) else None
        except ValueError:
            continue
        if address is not None and address.port and first.setdefault(address, path) != path:
            findings.add("duplicate_name", path, "the same address twice", other=first[address])


def _check_targets(path: TreePath, targets: list[Value], findings: Findings) -> None:
    first: dict[str, TreePath] = {}
    for index, target in enumerate(targets):
        url = mapping(target).get("url") if isinstance(target, dict) else target
        place: TreePath = (*path, index)
        if _is_known(url) and first.setdefault(url.rstrip("/"), place) != place:
            findings.add(
                "duplicate_name",
                place,
                "the same target twice; give it a `weight` instead",
                other=first[url.rstrip("/")],
            )
