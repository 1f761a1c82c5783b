"""Servers of shared stores, one of each for all tests here, and a bench on each store."""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.ledger_bench import Bench, EmbeddedBench, ModelBench, PostgresBench, RedisBench
from tests.support.ports import free_ports
from tests.support.servers.postgres_server import PostgresServer, open_folder, postgres_program
from tests.support.servers.programs import Lacking
from tests.support.servers.redis_server import RedisServer, redis_program

STORES = ("model", "embedded", "redis", "postgresql")
_turn = itertools.count(1)


def needs(program: Callable[[], str]) -> None:
    """Skips where the machine lacks it, and says what to install."""
    try:
        program()
    except Lacking as lacking:
        pytest.skip(str(lacking))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    needs(redis_program)
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder), free_ports(1)[0]) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    needs(postgres_program)
    with open_folder() as folder:
        server = PostgresServer(folder / "data", free_ports(1)[0])
        server.make()
        with server:
            yield server


@pytest.fixture
def prefix() -> str:
    """Of names that no other test uses."""
    return f"t{os.getpid()}_{next(_turn)}"


@pytest.fixture
def make_bench(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Callable[..., Bench]:
    """Makes an empty bench on the test's ``store``, in the running loop; ``turn``: which one of the test."""
    store = str(request.getfixturevalue("store"))
    redis = request.getfixturevalue("redis_server") if store == "redis" else None
    postgres = request.getfixturevalue("postgres_server") if store == "postgresql" else None

    def make(turn: int = 0) -> Bench:
        if redis is not None:
            return RedisBench(redis.url, f"{prefix}_{turn}")
        if postgres is not None:
            return PostgresBench(postgres.url, f"{prefix}_{turn}")
        return ModelBench() if store == "model" else EmbeddedBench(tmp_path / f"data{turn}")

    return make
