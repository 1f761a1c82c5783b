"""The checks of ``faregate doctor`` that ask other servers: targets, and with ``--online`` key sets.

Every wait is bounded: 2 s a connection, 32 at a time, 20 s for all targets; 5 s and 1 MiB a key set. A target
is connected to, with TLS the handshake finished (``doctor_tls``), and left: no request is sent. Key sets are
fetched as the gateway fetches them.
"""

import asyncio
import ssl
from collections.abc import Iterator
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.cli.doctor_tls import SOON_DAYS, Met, context_of, days_left, meet
from faregate.gateway.side_call import fetcher_for
from faregate.snapshot.data import Issuer, Snapshot, Target, Upstream
from faregate.stores.certificates import CertificateFault
from faregate.stores.jwk import KeySetError, parse_key_set
from faregate.stores.keysets import FetchError

ALL_TARGETS_S: Final = 20.0
AT_ONCE: Final = 32
NAMED_MAX: Final = 3
"""Failed targets that a line names."""


async def check_network(snapshot: Snapshot, *, online: bool) -> list[Finding]:
    """Findings on each upstream, then on each issuer."""
    places = asyncio.Semaphore(AT_ONCE)
    upstreams = await asyncio.gather(*(_upstream(upstream, places) for upstream in snapshot.upstreams))
    issuers = await asyncio.gather(*(_issuer(issuer, online=online) for issuer in snapshot.issuers))
    return [*(finding for findings in upstreams for finding in findings), *issuers]


async def _upstream(upstream: Upstream, places: asyncio.Semaphore) -> list[Finding]:
    context = None
    if any(target.tls for target in upstream.targets):
        try:
            context = context_of(upstream)
        except CertificateFault as fault:
            told = f"{upstream.name}: no handshake is possible: {fault}"
            return [problem("targets", told, "put files there that fit each other, or correct `tls`")]
    tries = [asyncio.create_task(_meet(upstream, one, context, places)) for one in upstream.targets]
    _, late = await asyncio.wait(tries, timeout=ALL_TARGETS_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    not_tried = Met("not tried in time", "name fewer targets that do not answer")
    met = [
        (target.name, not_tried if task.cancelled() else task.result())
        for target, task in zip(upstream.targets, tries, strict=True)
    ]
    return [*_judged(upstream, met), *_ending(upstream, met)]


async def _meet(
    upstream: Upstream, target: Target, context: ssl.SSLContext | None, places: asyncio.Semaphore
) -> Met:
    async with places:
        return await meet(upstream, target, context if target.tls else None)


def _judged(upstream: Upstream, met: list[tuple[str, Met]]) -> Iterator[Finding]:
    """One line for those that do well, and one for each thing that is wrong, with the targets it is wrong
    with.
    """
    total = len(met)
    wrong: dict[tuple[str, str], list[str]] = {}
    for name, one in met:
        if one.fault:
            wrong.setdefault((one.fault, one.advice), []).append(name)
    failed = sum(len(names) for names in wrong.values())
    does = _does(upstream)
    if not failed:
        yield ok("targets", f"{upstream.name}: {total} of {total} {does}")
        return
    for (fault, advice), names in wrong.items():
        told = f"{upstream.name}: {total - failed} of {total} {does}; not {_some(names)} ({fault})"
        if failed == total:
            yield problem("targets", told, f"{advice}: every call to it is refused")
        else:
            yield warning("targets", told, f"{advice}; or take it out of `targets`")


def _does(upstream: Upstream) -> str:
    if not any(target.tls for target in upstream.targets):
        return "accept connections"
    return "finish the TLS handshake" + ("" if upstream.tls.verify else ", unverified (`tls.verify: false`)")


def _ending(upstream: Upstream, met: list[tuple[str, Met]]) -> Iterator[Finding]:
    """Certificates of servers that end soon."""
    soon = {name: days_left(one.ends) for name, one in met if one.ends and not one.fault}
    names = [name for name, days in soon.items() if days <= SOON_DAYS]
    if names:
        days = max(0, min(soon[name] for name in names))
        within = f"{days} day{'' if days == 1 else 's'}"
        told = f"{upstream.name}: the certificate of {_some(names)} ends within {within}"
        yield warning("targets", told, "have the service renew it")


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


async def _issuer(issuer: Issuer, *, online: bool) -> Finding:
    if issuer.jwks_url is not None:
        if online:
            return await _fetched(issuer, issuer.jwks_url)
        return ok("key_set", f"{issuer.name}: fetched while the gateway runs; `--online` tries it now")
    if issuer.jwks is None:
        return ok("key_set", f"{issuer.name}: a shared secret")
    return _parsed(issuer, issuer.jwks, "in its file")


async def _fetched(issuer: Issuer, url: str) -> Finding:
    try:
        text = await fetcher_for(issuer.jwks_ca)(url)
    except (FetchError, OSError) as error:
        cause = str(error) if isinstance(error, FetchError) else "the CA file cannot be used"
        return problem(
            "key_set",
            f"{issuer.name}: its key set cannot be fetched ({cause})",
            "check address, name, firewall and certificate: tokens are refused meanwhile",
        )
    return _parsed(issuer, text, "at its address")


def _parsed(issuer: Issuer, text: bytes, where: str) -> Finding:
    try:
        parse_key_set(text, issuer.algorithms)
    except KeySetError as error:
        return problem(
            "key_set",
            f"{issuer.name}: the key set {where} cannot be used ({error})",
            "have the issuer mend it",
        )
    return ok("key_set", f"{issuer.name}: the key set {where} can be used")
