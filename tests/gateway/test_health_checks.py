"""Active checks across reloads, and switched on and off: real servers on 127.0.0.1."""

import asyncio
import time
from collections import Counter

import msgspec
import pytest

from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.health import HealthChecks
from faregate.snapshot.data import ActiveHealth, Target, Upstream
from tests.gateway.test_health import FAST, PATIENCE_S, serving


class Server:
    """Counts checks and answers 200 or 503."""

    def __init__(self) -> None:
        self.checks = 0
        self.status = 200
        self.asked = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.checks += 1
        self.asked.set()
        writer.write(b"HTTP/1.1 %d Said\r\n\r\n" % self.status)

    async def more(self, count: int = 1) -> None:
        """Waits for so many checks from now on."""
        wanted = self.checks + count
        async with asyncio.timeout(PATIENCE_S):
            while self.checks < wanted:
                self.asked.clear()
                await self.asked.wait()


def balancer(
    *targets: Target, previous: Balancer | None = None, active: ActiveHealth | None = FAST
) -> Balancer:
    upstream = Upstream(name="payments", targets=targets, active=active)
    return make_balancer(upstream, previous, time.monotonic())


def test_reloads_do_not_delay_a_verdict() -> None:
    """Three failed checks in a row make a target ill, also when a reload comes after each of them."""

    async def run() -> None:
        server = Server()
        server.status = 503
        async with serving(server) as target:
            current = balancer(target)
            checks = HealthChecks()
            checks.follow([current])
            checks.run(True)
            for _ in range(FAST.unhealthy_after + 1):
                await server.more()
                current = balancer(target, previous=current)
                checks.follow([current])
            assert not current.targets[0].healthy
            await checks.close()

    asyncio.run(run())


def test_a_reload_ends_the_checks_of_what_is_gone_and_begins_those_of_what_is_new() -> None:
    async def run() -> None:
        old, new = Server(), Server()
        async with serving(old) as gone, serving(new) as fresh:
            before = balancer(gone)
            checks = HealthChecks()
            checks.follow([before])
            checks.run(True)
            await old.more()
            checks.follow([balancer(fresh, previous=before)])
            await asyncio.sleep(0)
            await new.more()
            count = old.checks
            await new.more(3)
            assert old.checks <= count + 1, "one may have been under way"
            checks.follow([])
            await asyncio.sleep(0)
            count = new.checks
            await asyncio.sleep(FAST.every * 5)
            assert new.checks <= count + 1
            await checks.close()

    asyncio.run(run())


@pytest.mark.parametrize("active", [None, msgspec.structs.replace(FAST, path="/other")])
def test_a_reload_that_changes_the_checks_begins_them_anew(active: ActiveHealth | None) -> None:
    async def run() -> None:
        server = Server()
        async with serving(server) as target:
            before = balancer(target)
            checks = HealthChecks()
            checks.follow([before])
            checks.run(True)
            await server.more()
            checks.follow([balancer(target, previous=before, active=active)])
            names = Counter(task.get_name() for task in asyncio.all_tasks())
            await asyncio.sleep(0)
            if active is None:
                count = server.checks
                await asyncio.sleep(FAST.every * 5)
                assert server.checks <= count + 1
            else:
                await server.more()
            assert names[f"health {target.name}"] <= 1
            await checks.close()

    asyncio.run(run())


def test_they_run_only_while_they_are_wanted() -> None:
    async def run() -> None:
        server = Server()
        async with serving(server) as target:
            checks = HealthChecks()
            checks.follow([balancer(target)])
            await asyncio.sleep(FAST.every * 5)
            assert server.checks == 0
            checks.run(True)
            await server.more(2)
            checks.run(False)
            await asyncio.sleep(FAST.every)
            count = server.checks
            await asyncio.sleep(FAST.every * 5)
            assert server.checks == count
            checks.run(True)
            await server.more()
            await checks.close()
            assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("health ")]

    asyncio.run(run())
