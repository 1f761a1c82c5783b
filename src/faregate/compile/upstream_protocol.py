"""``upstreams.<name>.protocol``: what does not go together with HTTP/2 to the targets."""

from faregate.compile.walk import ANY, mapping, matches
from faregate.model.diagnostics import Findings
from faregate.model.tree import Tree


def check_upstream_protocol(tree: Tree, findings: Findings) -> None:
    """Reports what targets that speak HTTP/2 alone would never understand."""
    upstreams = mapping(tree.data.get("upstreams"))
    http2 = {name for name, upstream in upstreams.items() if mapping(upstream).get("protocol") == "h2"}
    for name in http2:
        _check_active(name, mapping(mapping(upstreams[name]).get("health")).get("active"), findings)
    if http2:
        _check_upgrades(tree, http2, findings)


def _check_active(upstream: str, active: object, findings: Findings) -> None:
    """With active checks they would all be called ill."""
    if active is not None:
        findings.add(
            "bad_value",
            ("upstreams", upstream, "health", "active"),
            "active checks speak HTTP/1.1, and these targets HTTP/2 alone (`protocol: h2`)",
            expected="`passive` and `breaker`, which watch the calls themselves",
            at_key=True,
        )


def _check_upgrades(tree: Tree, http2: set[str], findings: Findings) -> None:
    """A WebSocket is opened in HTTP/1.1; each route is reported once, however many versions have it."""
    reported = set()
    for api_path, api in matches(tree.data, ("apis", ANY)):
        for path, version in matches(mapping(api).get("versions"), (ANY,), (*api_path, "versions")):
            upstream = mapping(version).get("upstream") or mapping(api).get("upstream")
            if upstream not in http2:
                continue
            own = mapping(version).get("routes")
            routes, place = (own, path) if own is not None else (mapping(api).get("routes"), api_path)
            for at, upgrade in matches(routes, (ANY, "upgrade"), (*place, "routes")):
                if upgrade is not None and at not in reported:
                    reported.add(at)
                    findings.add(
                        "bad_value",
                        at,
                        f"a WebSocket is opened in HTTP/1.1, and upstream `{upstream}` speaks HTTP/2 alone "
                        "(`protocol: h2`)",
                        expected="an upstream with `protocol: http1`",
                        at_key=True,
                    )
