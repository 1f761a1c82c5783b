"""What tests of gRPC call with, and gateways of their own for those whose upstream needs settings of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, changed, with_payments
from tests.support.gateway import GatewayProcess

GRPC = ("Content-Type: application/grpc", "TE: trailers")
MESSAGE = b"\0\0\0\0\x05hello"
CALL = "/pay.Payments/Capture"
OPEN = "/open.Echo/Say"

Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway whose upstream ``main`` has these targets and speaks HTTP/2 to them."""
    with ExitStack() as stack:

        def begin(*targets: str, **settings: object) -> GatewayProcess:
            issued = Authority().issue("CN=api", dns=("api.test",), client=False)
            issued.write(tmp_path / "certs", "api")

            def make(port: int, manager_port: int) -> Tree:
                tree = with_payments(base(port, manager_port, targets[0]))
                tls = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
                tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": tls}]  # type: ignore[index,call-overload]
                main = {
                    "targets": list(targets),
                    "protocol": "h2",
                    "balance": "round_robin",
                    "health": {"breaker": "off", "passive": "off"},
                    **settings,
                }
                tree = changed(tree, "upstreams", "main", to=main)  # type: ignore[arg-type]
                routes = {
                    "pay": (["api_key"], "/pay.Payments", "POST /Capture", {"require": "payments:write"}),
                    "echo": ([], "/open.Echo", "POST /Say", {"body": "8MiB"}),
                    "plain": ([], "/plain", "GET /x", {}),
                }
                for name, (authenticate, path, match, more) in routes.items():
                    api = {
                        "upstream": "main",
                        "authenticate": authenticate,
                        "versions": {"v1": {"path": path}},
                        "routes": [{"match": match, **more}],
                    }
                    tree = changed(tree, "apis", name, to=api)  # type: ignore[arg-type]
                return tree

            return stack.enter_context(GatewayProcess(tmp_path, make))

        yield begin


def status_of(reply: object) -> tuple[int, int]:
    """HTTP's status and gRPC's, wherever that stands."""
    fields = {**reply.headers, **reply.trailers}  # type: ignore[attr-defined]
    return reply.status, int(fields[b"grpc-status"])  # type: ignore[attr-defined]
