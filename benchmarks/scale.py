"""The scenario `scale`: 10,000 routes and 100,000 API keys beside a configuration of three routes and a
hundred keys.

The large one is driven twice: `spread`, keys and routes drawn evenly over all of them, so that every call
meets cold memory; and `hot`, the hundred keys and three routes of the small one. The difference to the
small configuration is then the price of size itself (hot) and of size with the widest use of it (spread).
"""

import hashlib
import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from benchmarks.calls import get_call, keyed_calls
from benchmarks.contenders.base import LIMIT_MINUTE, LIMIT_SECOND, Contender, Ground
from benchmarks.contenders.faregate import Faregate
from benchmarks.peers import start_contenders
from benchmarks.rounds import Round, interleave, warm_up

SMALL_KEYS: Final = 100
SMALL_ROUTES: Final = 3
LARGE_KEYS: Final = 100_000
LARGE_ROUTES: Final = 10_000
_ROUTES_PER_API: Final = 100


def api_key(number: int) -> str:
    """The ``number``-th key; the same in both configurations, as far as they go."""
    return f"fgk_{hashlib.sha256(f'bench key {number}'.encode()).hexdigest()[:40]}"


def route_paths(count: int) -> list[tuple[str, str]]:
    """(method, whole path template) of ``count`` routes, a hundred to an API, reads and payments by turns."""
    paths = []
    for number in range(count):
        api, resource = divmod(number, _ROUTES_PER_API)
        path = f"/api-{api:03d}/v2/resource-{resource // 2:02d}"
        paths.append(("POST", path) if resource % 2 else ("GET", path + "/{id}"))
    return paths


def configuration(base: dict[str, object], keys: int, routes: int, upstream: list[str]) -> dict[str, object]:
    """A whole configuration of ``routes`` routes and ``keys`` consumers with one key each."""
    consumers = {
        f"merchant-{number:06d}": {
            "plan": "standard",
            "permissions": ["payments:read", "payments:write"],
            "credentials": [
                {
                    "api_key": {
                        "id": f"key-{number}",
                        "sha256": hashlib.sha256(api_key(number).encode()).hexdigest(),
                    }
                }
            ],
        }
        for number in range(keys)
    }
    apis: dict[str, dict[str, object]] = {}
    for start in range(0, routes, _ROUTES_PER_API):
        number = start // _ROUTES_PER_API
        prefix = f"/api-{number:03d}/v2"
        apis[f"api-{number:03d}"] = {
            "upstream": "payments",
            "authenticate": ["api_key"],
            "versions": {"v2": {"path": prefix, "state": "active"}},
            "routes": [
                {
                    "match": f"{method} {path.removeprefix(prefix)}",
                    "require": "payments:read" if method == "GET" else "payments:write",
                }
                for method, path in route_paths(routes)[start : start + _ROUTES_PER_API]
            ],
        }
    plan = {"limits": [f"{LIMIT_SECOND}/second", f"{LIMIT_MINUTE}/minute"], "concurrency": 50}
    upstreams = {"payments": {"targets": upstream, "balance": "adaptive"}}
    return {
        "gateway": base,
        "upstreams": upstreams,
        "plans": {"standard": plan},
        "consumers": consumers,
        "apis": apis,
    }


class KeyedFaregate(Faregate):
    """Faregate with API keys in a configuration of a given size."""

    keys: int
    routes: int
    start_timeout_s = 90.0

    def command(self) -> list[str]:
        data = self.ground.work / f"{self.name}-data"
        shutil.rmtree(data, ignore_errors=True)
        self.log = data / "access.jsonl"
        gateway = {
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "manager": {"address": f"127.0.0.1:{self.manager_port}"},
            "workers": 1,
            "data": str(data),
        }
        targets = [f"http://127.0.0.1:{port}" for port in self.ground.targets]
        path = self.ground.work / f"{self.name}.json"
        path.write_text(json.dumps(configuration(dict(gateway), self.keys, self.routes, targets)))
        return [self.ground.python, "-m", "faregate", "run", str(path)]


class SmallFaregate(KeyedFaregate):
    """Three routes, a hundred keys."""

    name, title = "small", "Faregate, 3 routes and 100 keys"
    keys, routes = SMALL_KEYS, SMALL_ROUTES


class LargeFaregate(KeyedFaregate):
    """Ten thousand routes, a hundred thousand keys."""

    name, title = "large", "Faregate, 10,000 routes and 100,000 keys"
    keys, routes = LARGE_KEYS, LARGE_ROUTES


@dataclass
class ScaleResult:
    """Rounds of small and large, and how long each took from start to its first answer."""

    rounds: list[Round] = field(default_factory=list)
    start_seconds: dict[str, float] = field(default_factory=dict)


def every_key_once(keys: list[str], paths: list[tuple[str, str]]) -> list[bytes]:
    """A call with each key, the routes in turn."""
    return [
        call
        for number, key in enumerate(keys)
        for call in keyed_calls([key], [paths[number % len(paths)]], 1, seed=number)
    ]


def run_scale(ground: Ground, rounds: int, calls: int, *, warm_all: bool) -> ScaleResult:
    """Starts both, then measures them by turns. Raises StartError, LoadError; everything is stopped either
    way.
    """
    result = ScaleResult()
    keys = [api_key(number) for number in range(LARGE_KEYS)]
    paths = route_paths(LARGE_ROUTES)
    small = paths[:SMALL_ROUTES]
    # Reads and payments by halves, as in the large one: a payment costs more than a read.
    reads, payments = ([path for path in small if path[0] == method] for method in ("GET", "POST"))
    few = (keys[:SMALL_KEYS], reads * len(payments) + payments * len(reads))
    first = get_call("/api-000/v2/resource-00/start", f"X-API-Key: {keys[0]}")
    with ExitStack() as stack:
        contenders = start_contenders(stack, ground, [SmallFaregate, LargeFaregate], first)
        for contender in contenders:
            result.start_seconds[contender.name] = contender.start_seconds
            print(f"  {contender.title}: first answer after {contender.start_seconds:.1f} s", flush=True)
        warm_up(contenders, keyed_calls(*few, calls // 4, seed=0), ground.work)
        if warm_all:
            # A consumer's first call makes its counters; the price of that is a start-up cost, not a call's.
            print("  large: one call with each key", flush=True)
            warm_up(contenders[1:], every_key_once(keys, paths), ground.work)

        def make_calls(contender: Contender, series: str, number: int) -> list[bytes]:
            spread = series == "spread" and contender.name == "large"
            return keyed_calls(*((keys, paths) if spread else few), calls, seed=number + 1)

        result.rounds = interleave(contenders, ("hot", "spread"), rounds, make_calls, ground.work)
    return result
