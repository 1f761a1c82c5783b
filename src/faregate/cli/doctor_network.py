"""The checks of ``faregate doctor`` that ask other servers: targets, and with ``--online`` key sets.

Every wait is bounded: 2 s a connection, 32 at a time, 20 s for all targets; 5 s and 1 MiB a key set. A target
is connected to and left at once: nothing is sent. Key sets are fetched as the gateway fetches them.
"""

import asyncio
import socket
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.gateway.side_call import fetcher_for
from faregate.snapshot.data import Issuer, Snapshot, Target, Upstream
from faregate.stores.jwk import KeySetError, parse_key_set
from faregate.stores.keysets import FetchError

CONNECT_S: Final = 2.0
ALL_TARGETS_S: Final = 20.0
AT_ONCE: Final = 32
NAMED_MAX: Final = 3
"""Failed targets that a line names."""


async def check_network(snapshot: Snapshot, *, online: bool) -> list[Finding]:
    """Findings on each upstream, then on each issuer."""
    places = asyncio.Semaphore(AT_ONCE)
    upstreams = await asyncio.gather(*(_upstream(upstream, places) for upstream in snapshot.upstreams))
    issuers = await asyncio.gather(*(_issuer(issuer, online=online) for issuer in snapshot.issuers))
    return [*upstreams, *issuers]


async def _upstream(upstream: Upstream, places: asyncio.Semaphore) -> Finding:
    tries = [asyncio.create_task(_connect(target, places)) for target in upstream.targets]
    _, late = await asyncio.wait(tries, timeout=ALL_TARGETS_S)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    failed = [
        f"{target.name} ({'not tried in time' if task.cancelled() else task.result()})"
        for target, task in zip(upstream.targets, tries, strict=True)
        if task.cancelled() or task.result()
    ]
    return _judged(upstream, failed)


def _judged(upstream: Upstream, failed: list[str]) -> Finding:
    total = len(upstream.targets)
    if not failed:
        return ok("targets", f"{upstream.name}: {total} of {total} accept connections")
    told = f"{upstream.name}: {total - len(failed)} of {total} accept connections; not {_some(failed)}"
    if len(failed) == total:
        return problem(
            "targets", told, "start the service, or correct `targets`: every call to it is refused"
        )
    return warning("targets", told, "start those servers, or take them out of `targets`")


def _some(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


async def _connect(target: Target, places: asyncio.Semaphore) -> str:
    """Empty when the target accepts a connection, else the cause in a few words."""
    async with places:
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(target.host.strip("[]"), target.port)
        except TimeoutError:
            return f"no answer in {CONNECT_S:g} s"
        except socket.gaierror:
            return "the name is not known"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return error.strerror or "unreachable"
        writer.transport.abort()
        return ""


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
