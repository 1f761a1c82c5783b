"""The gateway that the tests of refusals share: the standard configuration plus upstreams that are dead, ill, slow or full."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.refusals import Place
from tests.support.configuration import (
    Tree,
    base,
    changed,
    public_api,
    with_payments,
)
from tests.support.gateway import GatewayProcess
from tests.support.ports import closed_port
from tests.support.script import Reset, Stall, raw
from tests.support.upstream import RecordingUpstream


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        upstream.script("/open/v1/reset", raw(Reset()))
        upstream.script("/hasty/v1/stall", raw(Stall()))
        closed = stack.enter_context(closed_port())

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url, workers=2))
            dead = f"http://127.0.0.1:{closed}"
            health: dict[str, object] = {
                "path": "/healthz",
                "every": "100ms",
                "timeout": "100ms",
                "unhealthy_after": 1,
            }
            upstreams: dict[str, dict[str, object]] = {
                "dead": {"targets": [dead]},
                "sick": {"targets": [dead], "health": {"active": health}},
                "hasty": {"targets": [upstream.url], "timeouts": {"first_byte": "200ms"}},
                "pinch": {"targets": [upstream.url], "connections": {"idle": 1, "max": 1}},
            }
            for name, settings in upstreams.items():
                tree = changed(tree, "upstreams", name, to=settings)  # type: ignore[arg-type]
                tree = changed(tree, "apis", name, to=public_api(name, f"/{name}/v1"))
            draft = {"path": "/v3", "state": "draft", "preview": ["acme"]}
            return changed(tree, "apis", "payments", "versions", "v3", to=draft)  # type: ignore[arg-type]

        gateway = stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("codes"), make))
        yield Place(gateway, upstream)
