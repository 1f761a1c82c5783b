"""Settings that are allowed and probably unwise: warnings, which never keep a configuration from running."""

from collections.abc import Mapping
from ipaddress import ip_address

from faregate.compile.grants import granted
from faregate.model.apis import AnyVersion, Route
from faregate.model.config import Config
from faregate.model.diagnostics import Findings, TreePath
from faregate.model.paths import SAFE_METHODS


def lint(config: Config, findings: Findings) -> None:
    """Adds the warnings for a configuration whose shape is right."""
    _lint_gateway(config, findings)
    _lint_limits(config, findings)
    for name, api in config.apis.items():
        _lint_versions(name, api.by_name, findings)
        if not api.authenticate and not api.limits:
            _lint_routes(("apis", name, "routes"), api.routes, findings)
            for version, settings in api.by_name.items():
                _lint_routes(("apis", name, "versions", version, "routes"), settings.routes or [], findings)


def _lint_gateway(config: Config, findings: Findings) -> None:
    gateway = config.gateway
    for index, listener in enumerate(gateway.listen):
        if listener.tls is None and _is_everywhere(listener.address.host):
            message = "listens on every address without TLS: credentials and card data could travel in clear"
            path: TreePath = ("gateway", "listen", index, "address")
            findings.add("open_listener", path, message, expected="an address that only a TLS proxy reaches")
    if gateway.manager is not None and not _is_local(gateway.manager.address.host):
        message = "the manager is reachable from other machines without TLS"
        findings.add(
            "open_manager",
            ("gateway", "manager", "address"),
            message,
            expected="an address of this machine only",
        )
    if gateway.manager is not None and gateway.manager.master_key is None and gateway.store.url is not None:
        message = "the master key lies in this machine's data folder: no other machine opens the database"
        expected = "`gateway.manager.master_key`, the same on each machine, such as ${file:master.key}"
        findings.add("no_master_key", ("gateway", "store"), message, expected=expected)
    for index, network in enumerate(gateway.trusted_proxies):
        if network.endswith("/0"):
            message = "every caller is believed about X-Forwarded-For"
            findings.add(
                "trusts_everyone",
                ("gateway", "trusted_proxies", index),
                message,
                expected="the proxies' own addresses",
            )


def _lint_limits(config: Config, findings: Findings) -> None:
    for name, plan in config.plans.items():
        if not plan.limits:
            message = f"consumers of plan `{name}` may call as fast as they like"
            findings.add(
                "no_limits", ("plans", name), message, expected='limits: ["100/second"]', at_key=True
            )
    if all(
        consumer.plan is not None or granted(consumer, config.groups).plan is not None
        for consumer in config.consumers.values()
    ):
        return
    for name, api in config.apis.items():
        if api.authenticate and not api.limits:
            message = f"consumers without a plan may call `{name}` as fast as they like"
            findings.add(
                "no_limits",
                ("apis", name),
                message,
                expected="a plan for each consumer, or `limits` on the API",
                at_key=True,
            )


def _lint_versions(api: str, versions: Mapping[str, AnyVersion], findings: Findings) -> None:
    for name, version in versions.items():
        if version.state == "deprecated" and version.deprecated_at is None:
            path: TreePath = ("apis", api, "versions", name, "state")
            message = "answers do not say since when: they have no `Deprecation` field"
            findings.add("undated_deprecation", path, message, expected="`deprecated_at` with its day")


def _lint_routes(path: TreePath, routes: list[Route], findings: Findings) -> None:
    for index, route in enumerate(routes):
        if route.match.method not in SAFE_METHODS and not route.limits:
            message = f"anyone may call {route.match.label} without any limit"
            findings.add(
                "open_write",
                (*path, index, "match"),
                message,
                expected='authenticate, or limits: ["10/second"]',
            )


def _is_everywhere(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
