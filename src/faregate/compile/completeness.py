"""Parts of an API that only make sense together: versions, routes, an upstream, somebody to permit."""

from faregate.compile.walk import ANY, mapping, matches, sequence
from faregate.model.diagnostics import Findings, TreePath, Value


def check_completeness(data: dict[str, Value], findings: Findings) -> None:
    for path, api in matches(data, ("apis", ANY)):
        if isinstance(api, dict):
            _check_api(path, api, findings)


def _check_api(path: TreePath, api: dict[str, Value], findings: Findings) -> None:
    versions = api.get("versions")
    if versions == {}:
        findings.add(
            "no_versions",
            (*path, "versions"),
            "an API needs a version",
            expected="versions: {v1: {path: /v1}}",
        )
    by_path = {
        name: mapping(version) for name, version in mapping(versions).items() if isinstance(version, dict)
    }
    for name, version in by_path.items():
        if "routes" in version and version["routes"] == []:
            findings.add("no_routes", (*path, "versions", name, "routes"), "a version needs a route")
        elif "routes" not in version and not api.get("routes"):
            findings.add(
                "no_routes",
                (*path, "versions", name),
                f"neither `{name}` nor its API has routes",
                at_key=True,
            )
    lacking = [name for name, version in by_path.items() if "upstream" not in version]
    if "upstream" not in api and lacking:
        message = f"`upstream` is missing, and so it is in {', '.join(f'`{name}`' for name in lacking[:3])}"
        findings.add(
            "missing_key",
            (*path, "upstream"),
            message,
            expected="the name of an upstream, of the API or of each version",
        )
    if api.get("authenticate") == []:
        _check_public(path, api, findings)


def _check_public(path: TreePath, api: dict[str, Value], findings: Findings) -> None:
    places = [
        *matches(api.get("routes"), (ANY, "require"), (*path, "routes")),
        *matches(api.get("versions"), (ANY, "routes", ANY, "require"), (*path, "versions")),
    ]
    for place, require in places:
        if isinstance(require, str) or sequence(require):
            message = "a public API cannot require a permission: nobody is identified"
            findings.add(
                "public_requires",
                place,
                message,
                expected="a way to `authenticate`, or no `require`",
                at_key=True,
            )
