"""Every store behaves as every other: the behaviours of ``conformance`` against each."""

from collections.abc import Awaitable, Callable

import pytest
import uvloop

from tests.stores.ledger.conformance import BEHAVIOURS
from tests.stores.ledger.conftest import STORES
from tests.support.ledger_bench import Bench


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
@pytest.mark.parametrize("store", STORES)
def test_every_store(
    store: str, behaviour: Callable[[Bench], Awaitable[None]], make_bench: Callable[[], Bench]
) -> None:
    async def run() -> None:
        bench = make_bench()
        try:
            await behaviour(bench)
        finally:
            await bench.close()

    uvloop.run(run())


def test_no_behaviour_is_left_out() -> None:
    from tests.stores.ledger import conformance

    written = [
        value for name, value in vars(conformance).items()
        if callable(value) and "bench" in getattr(value, "__annotations__", {})
    ]  # fmt: skip
    assert written == list(BEHAVIOURS)
