"""http-rules.md W03 and reg_forwarded_untrusted: X-Forwarded-* is believed only from the proxies that configuration names."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.client import ask, request
from tests.support.configuration import Tree, base, changed, key_line, with_payments
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, RecordingUpstream]]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url))
            return changed(tree, "gateway", "trusted_proxies", to=["127.0.0.0/8", "198.51.100.0/24"])

        yield stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("trusted"), make)), upstream


@pytest.mark.parametrize(
    ("forwarded", "client_ip"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7, 198.51.100.9", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7, 198.51.100.9", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
    ],
)
def test_the_nearest_untrusted_address_is_the_client(
    pair: tuple[GatewayProcess, RecordingUpstream], forwarded: str, client_ip: str
) -> None:
    """What stands left of it was written by someone we do not trust."""
    gateway, upstream = pair
    upstream.clear()
    answer = asyncio.run(ask(gateway.address, request("GET", "/open/v1/t", f"X-Forwarded-For: {forwarded}")))
    assert answer.status == 200
    assert gateway.log.of(answer.request_id)["client_ip"] == client_ip
    told = [part.strip() for part in (upstream.requests[0].header("x-forwarded-for") or "").split(",")]
    assert client_ip in told
    assert told[-1] == "127.0.0.1" or told == [client_ip]


@pytest.mark.parametrize(
    "forwarded", ["not-an-address", "", "192.0.2.7:80:80", "<script>", "300.1.2.3", ",,,"]
)
def test_garbage_from_a_trusted_proxy_is_no_address(
    pair: tuple[GatewayProcess, RecordingUpstream], forwarded: str
) -> None:
    gateway, _ = pair
    answer = asyncio.run(ask(gateway.address, request("GET", "/open/v1/t", f"X-Forwarded-For: {forwarded}")))
    assert answer.status in {200, 400}
    if answer.status == 200:
        assert gateway.log.of(answer.request_id)["client_ip"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("forwarded", "status"), [("203.0.113.9", 200), ("192.0.2.7", 403), ("203.0.113.9, 192.0.2.7", 403)]
)
def test_address_lists_look_at_the_address_that_trusted_proxies_vouch_for(
    pair: tuple[GatewayProcess, RecordingUpstream], forwarded: str, status: int
) -> None:
    gateway, _ = pair
    lines = (key_line("fenced"), f"X-Forwarded-For: {forwarded}")
    assert asyncio.run(ask(gateway.address, request("GET", "/v2/payments/p1", *lines))).status == status
