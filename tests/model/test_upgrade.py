"""``upgrade:`` of a route: what may be written, what it becomes, and what is refused at its place."""

from pathlib import Path

import pytest

from faregate.model.apis import Upgrade as Declared
from faregate.snapshot.data import Upgrade
from tests.model.configs import API, PLAN, UPSTREAM, check, compiled

CONFIG = UPSTREAM + PLAN + API


@pytest.mark.parametrize(
    ("written", "upgrade"),
    [
        ("websocket", Upgrade()),
        ("{}", Upgrade()),
        ("{protocol: websocket}", Upgrade()),
        (
            "{origins: ['https://app.example', 'http://localhost:3000', 'https://app.example']}",
            Upgrade(origins=("https://app.example", "http://localhost:3000")),
        ),
        ("{origins: ['*']}", Upgrade(origins=("*",))),
        ("{idle: 30s, lifetime: 12h, connections: 5}", Upgrade((), 30.0, 43_200.0, 5)),
    ],
)
def test_an_upgrade_as_it_may_be_written(tmp_path: Path, written: str, upgrade: Upgrade) -> None:
    snapshot = compiled(tmp_path, CONFIG + f"        upgrade: {written}\n")
    assert [route.upgrade for route in snapshot.routes] == [upgrade]


def test_a_route_without_takes_none(tmp_path: Path) -> None:
    assert [route.upgrade for route in compiled(tmp_path, CONFIG).routes] == [None]


def test_the_defaults_agree() -> None:
    declared = Declared()
    snapshot = Upgrade()
    assert (tuple(declared.origins), declared.idle, declared.lifetime, declared.connections) == (
        snapshot.origins,
        snapshot.idle,
        snapshot.lifetime,
        snapshot.connections,
    )


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("h2c", "bad_value"),
        ("true", "wrong_type"),
        ("{origin: ['https://app.example']}", "unknown_key"),
        ("{origins: ['https://app.example/']}", "bad_value"),
        ("{origins: ['https://App.example']}", "bad_value"),
        ("{origins: ['null']}", "bad_value"),
        ("{idle: 0s}", "bad_value"),
        ("{lifetime: 31d}", "bad_value"),
        ("{connections: 0}", "bad_value"),
    ],
)
def test_what_is_no_upgrade_is_an_error(tmp_path: Path, written: str, code: str) -> None:
    found = check(tmp_path, CONFIG + f"        upgrade: {written}\n")
    assert [one.code for one in found] == [code]


def test_only_get_routes_may_upgrade(tmp_path: Path) -> None:
    (found,) = check(
        tmp_path, CONFIG.replace("GET /payments", "POST /payments") + "        upgrade: websocket\n"
    )
    assert found.code == "bad_value"
    assert "GET" in found.expected
