"""The scenes, in order, on a server that only notes what is done to it."""

import asyncio

import pytest

from faregate.demo import scenario
from faregate.demo.http_client import Answer, Connection, NoAnswerError
from faregate.demo.scenario import SLOW_DELAY_MS, USUAL_DELAY_MS, Scenario, Server, scene_seconds


class NotedServer:
    def __init__(self):
        self.done = []
        self.child = self

    async def set_delay(self, delay_ms):
        self.done.append(("delay", delay_ms))

    def kill(self):
        self.done.append("kill")

    def start(self):
        self.done.append("start")


def test_the_scenes_follow_each_other_and_begin_again(monkeypatch):
    server, other, scenes = NotedServer(), NotedServer(), []
    play = Scenario([server, other])

    async def turn(seconds):
        scenes.append((seconds, play.scene))
        if len(scenes) == 6:
            raise asyncio.CancelledError

    monkeypatch.setattr(scenario.asyncio, "sleep", turn)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play.play(7.0))
    assert server.done == [
        ("delay", SLOW_DELAY_MS),
        ("delay", USUAL_DELAY_MS),
        "kill",
        "start",
        ("delay", SLOW_DELAY_MS),
    ]
    assert other.done == []
    assert [seconds for seconds, _ in scenes] == [7.0] * 6
    assert [scene.split(" (")[0] for _, scene in scenes] == [
        "both targets alike",
        "target 1 made 10x slower",
        "target 1 quick again",
        "target 1 killed",
        "target 1 back",
        "target 1 made 10x slower",
    ]


def test_slow_is_ten_times_usual():
    assert SLOW_DELAY_MS == 10 * USUAL_DELAY_MS


@pytest.mark.parametrize(("duration_s", "expected"), [(5, 3.0), (30, 6.0), (60, 12.0), (3600, 12.0)])
def test_a_demo_of_fifteen_seconds_or_more_shows_all_scenes(duration_s, expected):
    assert scene_seconds(duration_s) == expected


def test_a_server_that_refuses_the_delay_is_an_error(monkeypatch):
    async def refuse(_connection, _request):
        return Answer(404)

    monkeypatch.setattr(Connection, "call", refuse)
    with pytest.raises(NoAnswerError, match="404"):
        asyncio.run(Server(1, 1, None).set_delay(5))
