"""The official Stripe SDK, with its own retries, while the gateway is killed at random: exactly one payment a key.

Against the example payment service, and in Stripe's own form bodies. Neither service looks at keys: what arrives twice is paid twice.
``FAREGATE_PROOF=long`` kills ten times as often.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.ledger_proof.proof_gateway import WORKER, ProofGateway
from tests.ledger_proof.run import Order
from tests.support.configuration import Tree, base, token, with_payments

stripe = pytest.importorskip("stripe", reason="the official SDK is not installed: pip install stripe")
from tests.ledger_proof.stripe_shop import ExampleService, FormService, Service, Shop  # noqa: E402 - needs it

LONG = os.environ.get("FAREGATE_PROOF") == "long"
KILLS = 40 if LONG else 4
PAUSE_S = (0.3, 1.5) if LONG else (0.3, 0.7)
SEED = 20261123
PATIENCE = pytest.mark.timeout(900 if LONG else 120)
pytestmark = [pytest.mark.apart, pytest.mark.beside, pytest.mark.proof, PATIENCE]


def configured(port: int, manager_port: int, service: Service) -> Tree:
    tree = with_payments(base(port, manager_port, service.url, workers=2))
    upstreams, apis = tree["upstreams"], tree["apis"]
    assert isinstance(upstreams, dict)
    assert isinstance(apis, dict)
    upstreams["main"] = {"targets": [service.url], "health": {"breaker": "off", "passive": "off"}}
    resolve: Tree = {
        "query": service.query,
        "done": {"status": [200, 201]},
        "answer": "query",
        "settling": "2s",
    }
    kept: Tree = {"required": True, "resolve": resolve}
    apis.clear()
    apis["shop"] = {
        "upstream": "main", "authenticate": ["jwt"], "versions": {"v": {"path": service.path}},
        "routes": [{"match": service.route, "require": "payments:write", "idempotency": kept}],
    }  # fmt: skip
    return tree


def trouble(gateway: ProofGateway, dice: random.Random, kills: list[str]) -> None:
    """Kills workers, and every fourth time the whole gateway."""
    for number in range(KILLS):
        time.sleep(dice.uniform(*PAUSE_S))
        if number % 4 == 2:
            gateway.kill()
            time.sleep(dice.uniform(0, 0.3))
            gateway.launch()
            gateway.wait_ready()
            kills.append("gateway")
        else:
            for pid in gateway.running(WORKER)[: dice.randrange(1, 3)]:
                os.kill(pid, signal.SIGKILL)
            kills.append("worker")
    time.sleep(PAUSE_S[0])


@pytest.mark.parametrize("kind", [ExampleService, FormService])
def test_one_payment_a_key_while_the_gateway_is_killed(
    kind: type[ExampleService | FormService], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not LONG:
        monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.1)
    service = kind(tmp_path)
    dice = random.Random(SEED)
    kills: list[str] = []
    with service.running():
        gateway = ProofGateway(tmp_path / "gateway", lambda port, manager: configured(port, manager, service))
        gateway.environment = {} if LONG else Order("embedded", 0, 0, 0, lease_s=2).environment
        with gateway:
            shop = Shop(service, gateway.port, token("acme"))
            shop.take(lambda: trouble(gateway, dice, kills))
        paid = service.paid()
    print(f"{shop.begun} orders, {shop.tries} requests, killed: {kills}")
    assert shop.gave_up == []
    assert len(shop.told) == shop.begun
    assert paid == dict.fromkeys(shop.told, 1)
    assert len(set(shop.told.values())) == shop.begun
    assert len(kills) == KILLS
    assert shop.begun > 3 * KILLS
    assert shop.tries > shop.begun, "no call was disturbed"
