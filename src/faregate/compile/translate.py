"""The declared forms, all checked, written as the snapshot's records: names resolved, defaults in place,
limits named.

Pure: no file is read and nothing can fail here; whatever could has been reported before.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from faregate.compile import audit_records, idempotency_records, version_records
from faregate.compile.grants import granted
from faregate.kernel.units import Rate
from faregate.model import apis, consumers, gateway, plans, upstreams
from faregate.model.config import Config
from faregate.model.groups import Group
from faregate.model.paths import join
from faregate.model.sign_in import SignIn
from faregate.policies.jwt.settings import Issuer
from faregate.policies.mtls.settings import MtlsCredential
from faregate.policies.transform.settings import Change
from faregate.snapshot import data
from faregate.snapshot.managing import GroupGrant, SigningIn


def gateway_record(
    declared: gateway.Gateway,
    data_folder: str,
    tls: Sequence[data.ListenerTls | None],
    audit: data.AuditTree | None = None,
) -> data.Gateway:
    """``tls``: that of each listener, ``audit``: of the tree; with files resolved."""
    limits = declared.limits
    return data.Gateway(
        listen=tuple(
            data.Listener(*listener.address, own) for listener, own in zip(declared.listen, tls, strict=True)
        ),
        manager=None if declared.manager is None else data.Listener(*declared.manager.address),
        managing=_managing(declared),
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
        audit=audit or data.AuditTree(),
    )


def _managing(declared: gateway.Gateway) -> data.Managing:
    url, manager = declared.store.url, declared.manager
    key = None if manager is None else manager.master_key
    return data.Managing(
        store=declared.store.kind if url is None else url.reveal().decode(),
        approval="off" if manager is None else manager.approval,
        master_key=b"" if key is None else key.reveal(),
        sign_in=None if manager is None or manager.sign_in is None else _signing_in(manager.sign_in),
        trusted_proxies=tuple(declared.trusted_proxies),
    )


def _signing_in(declared: SignIn) -> SigningIn:
    return SigningIn(
        issuer=declared.issuer,
        client_id=declared.client_id,
        client_secret=declared.client_secret.reveal(),
        redirect=declared.redirect,
        scopes=declared.scopes,
        groups_claim=declared.groups_claim,
        grants=tuple(
            GroupGrant(group, one.role, one.scope)
            for group, given in declared.grants.items()
            for one in given
        ),
        second_factor=declared.second_factor,
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
    groups: Mapping[str, Group],
) -> data.Consumer:
    """``certificates``: what was read of certificate credentials, by consumer and place. ``groups``: all."""
    plan, permissions, apis = granted(declared, groups)
    return data.Consumer(
        name=name,
        plan=plan,
        permissions=permissions,
        credentials=tuple(_credentials(name, declared, certificates)),
        allow_ips=tuple(declared.allow_ips),
        suspended=declared.state == "suspended",
        pins=tuple(declared.pins.items()),
        apis=apis,
    )


def _credentials(
    name: str,
    declared: consumers.Consumer,
    certificates: Mapping[tuple[str, int], data.MtlsCredential],
) -> Iterator[data.JwtCredential | data.ApiKeyCredential | data.MtlsCredential]:
    for index, credential in enumerate(declared.credentials):
        if credential.jwt is not None:
            token = credential.jwt
            term = (token.expires or 0, token.not_before or 0)
            yield data.JwtCredential(token.issuer, token.subject, token.id or "", *term)
        elif credential.api_key is not None:
            key = credential.api_key
            if key.hmac is None and key.expires is None and key.not_before is None:
                yield data.ApiKeyCredential(key.id, key.sha256 or b"")  # most of 100,000
                continue
            hashed = b"" if key.hmac is None else key.hmac.digest
            yield data.ApiKeyCredential(
                key.id, key.sha256 or b"", key.expires or 0, hashed, key.not_before or 0
            )
        elif credential.mtls is not None:
            yield _certificate(credential.mtls, certificates[name, index])


def _certificate(declared: MtlsCredential, read: data.MtlsCredential) -> data.MtlsCredential:
    """What was read, with what it does not depend on."""
    if declared.id is None and declared.expires is None and declared.not_before is None:
        return read
    return msgspec.structs.replace(
        read,
        id=declared.id or read.id,
        expires=declared.expires or 0,
        not_before=declared.not_before or 0,
    )


def api_records(config: Config) -> tuple[tuple[data.Version, ...], tuple[data.Route, ...]]:
    """All versions, and all routes of each; a route's ``version`` is an index into the first."""
    versions: list[data.Version] = []
    routes: list[data.Route] = []
    for name, api in config.apis.items():
        first = len(versions)
        versions += version_records.version_records(name, api, first)
        for index, placed in enumerate(version_records.placed_versions(api), first):
            written = api.routes if placed.declared.routes is None else placed.declared.routes
            upstream = placed.declared.upstream or api.upstream
            assert upstream is not None  # reported as missing
            changes = version_records.changes_after(api, placed.name)
            for route in written:
                record = _route(name, api, index, placed.prefix, upstream, route, config)
                routes.append(_with_changes(record, changes) if changes else record)
    return tuple(versions), tuple(routes)


def _with_changes(record: data.Route, changes: list[Change]) -> data.Route:
    return msgspec.structs.replace(
        record,
        request_changes=version_records.request_changes(changes, record.label),
        response_changes=version_records.response_changes(changes, record.label),
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
        audit=audit_records.recorded(route),
    )


def _upgrade(declared: apis.Upgrade) -> data.Upgrade:
    return data.Upgrade(
        origins=tuple(dict.fromkeys(declared.origins)),
        idle=declared.idle,
        lifetime=declared.lifetime,
        connections=declared.connections,
    )
