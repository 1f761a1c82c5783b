"""The declared forms, all checked, written as the snapshot's records: names resolved, defaults in place,
limits named.

Pure: no file is read and nothing can fail here; whatever could has been reported before.
"""

from collections.abc import Iterator, Mapping, Sequence

from faregate.compile import idempotency_records
from faregate.kernel.units import Rate
from faregate.model import apis, consumers, gateway, plans, upstreams
from faregate.model.config import Config
from faregate.model.paths import join
from faregate.policies.jwt.settings import Issuer
from faregate.snapshot import data


def gateway_record(
    declared: gateway.Gateway, data_folder: str, tls: Sequence[data.ListenerTls | None]
) -> data.Gateway:
    """``tls``: that of each listener, with files resolved."""
    limits = declared.limits
    return data.Gateway(
        listen=tuple(
            data.Listener(*listener.address, own) for listener, own in zip(declared.listen, tls, strict=True)
        ),
        manager=None if declared.manager is None else data.Listener(*declared.manager.address),
        workers=declared.workers,
        data=data_folder,
        trusted_proxies=tuple(declared.trusted_proxies),
        limits=data.GatewayLimits(
            header_bytes=limits.header_bytes,
            headers=limits.headers,
            body_bytes=limits.body,
            header_timeout=limits.header_timeout,
            body_timeout=limits.body_timeout,
            idle_timeout=limits.idle_timeout,
            connections=limits.connections,
            connections_per_address=limits.connections_per_address,
            calls=limits.calls,
            memory=limits.memory,
        ),
        ledger=idempotency_records.ledger_record(declared),
    )


def issuer_record(name: str, declared: Issuer, key_set: bytes | None, ca: str | None) -> data.Issuer:
    return data.Issuer(
        name=name,
        issuer=declared.issuer,
        audience=tuple(declared.audience),
        algorithms=tuple(declared.algorithms),
        consumer_claim=declared.consumer_claim,
        leeway=declared.leeway,
        jwks=key_set,
        jwks_url=declared.jwks if key_set is None else None,
        jwks_ca=ca,
        secret=None if declared.secret is None else declared.secret.reveal(),
    )


def upstream_record(
    name: str, declared: upstreams.Upstream, tls: data.UpstreamTls | None = None
) -> data.Upstream:
    """``tls``: how its https:// targets are spoken to, with files resolved; None for the defaults."""
    kind, _, hash_on = declared.balance.partition(":")
    active, passive, breaker = declared.health.active, declared.health.passive, declared.health.breaker
    timeouts = declared.timeouts
    return data.Upstream(
        name=name,
        targets=tuple(_target(target) for target in declared.targets),
        balance=kind,
        hash_on=hash_on,
        connect_timeout=timeouts.connect,
        first_byte_timeout=timeouts.first_byte,
        idle_timeout=timeouts.idle,
        total_timeout=timeouts.total,
        stream_idle_timeout=timeouts.stream_idle,
        stream_total_timeout=timeouts.stream_total,
        active=None if active is None else data.ActiveHealth(**active.model_dump()),
        passive=None if passive is None else data.PassiveHealth(**passive.model_dump()),
        breaker=None if breaker is None else data.Breaker(**breaker.model_dump()),
        attempts=declared.retry.attempts if declared.retry.on else 0,
        idle=declared.connections.idle,
        max_connections=declared.connections.max,
        tls=tls or data.UpstreamTls(),
        concurrency=declared.concurrency,
        protocol=declared.protocol,
        forward_idempotency_key=declared.forward_idempotency_key,
    )


def _target(declared: upstreams.Target) -> data.Target:
    address = declared.url.address
    return data.Target(
        name=address.text,
        host=address.host,
        port=address.port,
        weight=declared.weight,
        tls=declared.url.scheme == "https",
    )


def _rate_name(prefix: str, rate: Rate) -> str:
    """``plan.standard.100/second``; a bucket ends in ``-burst-200``, so that both may stand in one list."""
    per_period = str(rate._replace(burst=0))
    return f"{prefix}.{per_period}" + (f"-burst-{rate.burst}" if rate.burst else "")


def _rates(prefix: str, scope: str, rates: list[Rate]) -> tuple[data.Rate, ...]:
    return tuple(
        data.Rate(_rate_name(prefix, rate), scope, rate.count, rate.period_ms, rate.burst) for rate in rates
    )


def plan_record(name: str, declared: plans.Plan) -> data.Plan:
    quota = declared.quota
    return data.Plan(
        name=name,
        limits=_rates(f"plan.{name}", "plan", declared.limits),
        quota=None if quota is None else data.Rate(f"quota.{name}", "quota", quota.count, quota.period_ms),
        concurrency=declared.concurrency or 0,
    )


def consumer_record(
    name: str,
    declared: consumers.Consumer,
    certificates: Mapping[tuple[str, int], data.MtlsCredential],
) -> data.Consumer:
    """``certificates``: what was read of certificate credentials, by consumer and place."""
    return data.Consumer(
        name=name,
        plan=declared.plan,
        permissions=tuple(dict.fromkeys(declared.permissions)),
        credentials=tuple(_credentials(name, declared, certificates)),
        allow_ips=tuple(declared.allow_ips),
        suspended=declared.state == "suspended",
    )


def _credentials(
    name: str,
    declared: consumers.Consumer,
    certificates: Mapping[tuple[str, int], data.MtlsCredential],
) -> Iterator[data.JwtCredential | data.ApiKeyCredential | data.MtlsCredential]:
    for index, credential in enumerate(declared.credentials):
        if credential.jwt is not None:
            yield data.JwtCredential(credential.jwt.issuer, credential.jwt.subject)
        elif credential.api_key is not None:
            key = credential.api_key
            yield data.ApiKeyCredential(key.id, key.sha256, key.expires or 0)
        else:
            yield certificates[name, index]


def api_records(config: Config) -> tuple[tuple[data.Version, ...], tuple[data.Route, ...]]:
    """All versions, and all routes of each; a route's ``version`` is an index into the first."""
    versions: list[data.Version] = []
    routes: list[data.Route] = []
    for name, api in config.apis.items():
        assert not isinstance(api.versions, apis.HeaderVersions)  # reported as not available
        for version_name, version in api.versions.items():
            written = api.routes if version.routes is None else version.routes
            upstream = version.upstream or api.upstream
            assert upstream is not None  # reported as missing
            index = len(versions)
            versions.append(_version(version_name, version, api.versions))
            routes += [_route(name, api, index, version.path, upstream, route, config) for route in written]
    return tuple(versions), tuple(routes)


def _version(name: str, declared: apis.Version, beside: dict[str, apis.Version]) -> data.Version:
    return data.Version(
        name=name,
        path=declared.path,
        state=declared.state,
        deprecated_at=declared.deprecated_at or 0,
        sunset_at=declared.sunset_at or 0,
        successor=beside[declared.successor].path if declared.successor is not None else "",
        preview=tuple(declared.preview),
    )


def _route(  # noqa: PLR0913, PLR0917 - what a route inherits comes from five places
    name: str, api: apis.Api, version: int, prefix: str, upstream: str, route: apis.Route, config: Config
) -> data.Route:
    match = route.match
    own = _rates("route", f"route {name} {match.label}", route.limits)
    forward = api.forward_credential if route.forward_credential is None else route.forward_credential
    return data.Route(
        api=name,
        version=version,
        method=match.method,
        template=join(prefix, match.template),
        label=match.label,
        upstream=upstream,
        authenticate=tuple(api.authenticate),
        require=tuple(dict.fromkeys(route.require)),
        limits=own + _rates(f"api.{name}", f"api {name}", api.limits),
        body_bytes=config.gateway.limits.body if route.body is None else route.body,
        priority=apis.PRIORITIES.index(route.priority),
        forward_credential=forward,
        log_request_body="masked" if route.log.request_body == "masked" else "",
        log_response_body="masked" if route.log.response_body == "masked" else "",
        upgrade=None if route.upgrade is None else _upgrade(route.upgrade),
        idempotency=idempotency_records.idempotency_record(route.idempotency, prefix, upstream),
    )


def _upgrade(declared: apis.Upgrade) -> data.Upgrade:
    return data.Upgrade(
        origins=tuple(dict.fromkeys(declared.origins)),
        idle=declared.idle,
        lifetime=declared.lifetime,
        connections=declared.connections,
    )
