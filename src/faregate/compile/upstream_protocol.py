"""``upstreams.<name>.protocol``: what does not go together with HTTP/2 to the targets."""

from faregate.compile.walk import ANY, mapping, matches
from faregate.model.diagnostics import Findings
from faregate.model.tree import Tree


def check_upstream_protocol(tree: Tree, findings: Findings) -> None:
    """Reports active checks of targets that would not understand them: they would all be called ill."""
    for path, entry in matches(tree.data, ("upstreams", ANY)):
        upstream = mapping(entry)
        if upstream.get("protocol") == "h2" and mapping(upstream.get("health")).get("active") is not None:
            findings.add(
                "bad_value",
                (*path, "health", "active"),
                "active checks speak HTTP/1.1, and these targets HTTP/2 alone (`protocol: h2`)",
                expected="`passive` and `breaker`, which watch the calls themselves",
                at_key=True,
            )
