"""Committed revisions on their way into replica and workers, whatever goes wrong on it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, read
from faregate.manager.cases.errors import Unavailable
from faregate.manager.publishing.publisher import Published
from faregate.manager.publishing.spreading import Spreading


class World:
    """A database of plans, workers that take what they are told, and a compiler that may begin anew."""

    def __init__(self, folder: Path) -> None:
        self.database: dict[str, object] = {}
        self.head = 0
        self.away = False
        self.ahead = 0
        self.asked: list[int] = []
        self.acknowledged: list[tuple[int, str]] = []
        self.begun_anew = 0
        self.path = folder / NAME
        self.turn = asyncio.Lock()
        self.spreading = Spreading(folder, self, self.whole, self.acknowledge, self, self.turn)

    async def publish(self, revision: int) -> Published:
        self.asked.append(revision)
        await asyncio.sleep(0)
        return Published(revision + self.ahead, 0.0, ok=True, message="")

    async def whole(self) -> tuple[int, list[Change]]:
        if self.away:
            raise Unavailable("the database is away")
        return self.head, [Change("plans", name, one) for name, one in self.database.items()]

    async def acknowledge(self, revision: int, failure: str) -> None:
        self.acknowledged.append((revision, failure))

    def anew(self) -> None:
        self.begun_anew += 1

    def holds(self) -> bool:
        return True

    async def commit(self, number: int, name: str) -> None:
        after, self.head, self.database[name] = self.head, number, {}
        change = {"section": "plans", "name": name, "content": {}}
        async with self.turn:
            await self.spreading.committed(number, [change], after)

    @property
    def kept(self) -> tuple[int, set[str]]:
        contents = read(self.path)
        return contents.revision, set(contents.entries.get("plans", {}))


def in_world(folder: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        world = World(folder)
        await world.spreading.align()
        try:
            await test(world)
        finally:
            await world.spreading.close()

    asyncio.run(run())


def test_a_number_that_the_gateway_chose_itself_stands_for_no_later_revision(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        world.ahead = 1  # a reload took the number first
        await world.commit(6, "gold")
        assert await world.spreading.published(6, 2)
        await world.commit(7, "silver")
        assert await world.spreading.published(7, 2)
        assert world.asked == [6, 7]

    in_world(tmp_path, test)


def test_a_replica_that_could_not_be_written_is_written_whole_before_more_is_published(
    tmp_path: Path,
) -> None:
    async def test(world: World) -> None:
        await world.commit(1, "gold")
        assert await world.spreading.published(1, 2)
        world.path.chmod(0o400)
        world.path.rename(tmp_path / "elsewhere")  # nothing can be added to it
        await world.commit(2, "silver")
        assert await world.spreading.published(2, 2)
        assert world.kept == (2, {"gold", "silver"})
        assert world.begun_anew == 1

    in_world(tmp_path, test)


def test_a_commit_is_published_though_neither_replica_nor_database_can_be_had(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.commit(1, "gold")
        world.path.rename(tmp_path / "elsewhere")
        world.away = True
        await world.commit(2, "silver")
        assert await world.spreading.published(2, 2)
        world.away = False
        await world.commit(3, "bronze")
        assert world.kept == (3, {"gold", "silver", "bronze"})

    in_world(tmp_path, test)


def test_a_replica_that_lacks_a_revision_in_the_middle_is_written_whole(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.commit(1, "gold")
        world.database["silver"], world.head = {}, 2  # another machine's, which nobody told of
        await world.commit(3, "bronze")
        assert world.kept == (3, {"gold", "silver", "bronze"})

    in_world(tmp_path, test)


def test_what_is_wanted_is_made_sure_of_after_a_reload(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.commit(1, "gold")
        assert await world.spreading.published(1, 2)
        world.spreading.again()
        assert await world.spreading.published(1, 2)
        assert world.asked == [1, 1]

    in_world(tmp_path, test)


def test_a_misfit_is_acknowledged_until_it_is_over(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        for message in ("it does not fit", "it does not fit", ""):
            await world.spreading.misfit(message)
        assert world.acknowledged == [(0, "it does not fit"), (0, "")]

    in_world(tmp_path, test)
