"""A control plane over a real database, with stand-ins for what lies around it that tell what they were asked."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from faregate.manager.admin.app import create_admin
from faregate.manager.cases.domain import Content, Json, Section
from faregate.manager.cases.errors import Unavailable
from faregate.manager.cases.leaves import fitted_detail
from faregate.manager.cases.ports import Diagnostic
from faregate.manager.database.engine import FILE, open_database
from faregate.manager.management import Management, open_management
from faregate.records.audit import leaf
from faregate.records.audit.masked import masked_detail
from faregate.snapshot.managing import Managing

START_MS = 1_780_000_000_000


class Tree:
    """A compiler that knows references, and nothing else: what it is told is right unless it names what is not."""

    def __init__(self, file: Mapping[str, Mapping[str, Content]] | None = None) -> None:
        self.file = {section: dict(entries) for section, entries in (file or {}).items()}
        self.managed: dict[tuple[str, str], object] = {}
        self._before: list[dict[tuple[str, str], object]] = []
        self.fails = False

    def names(self, section: str) -> set[str]:
        return {name for one, name in self.managed if one == section} | set(self.file.get(section, {}))

    def _wrong(self, state: dict[tuple[str, str], Any]) -> list[Diagnostic]:
        def known(section: str) -> set[str]:
            return {name for one, name in state if one == section} | set(self.file.get(section, {}))

        wants = {"consumers": [("plan", "plans")], "apis": [("upstream", "upstreams")]}
        wants["credentials"] = [("consumer", "consumers")]
        found: list[Diagnostic] = []
        for (section, name), content in state.items():
            for member, other in wants.get(section, []):
                value = content.get(member)
                if value is not None and value not in known(other):
                    path = f"{section}.{name}.{member}"
                    found.append(
                        {
                            "level": "error",
                            "code": "unresolved_reference",
                            "path": path,
                            "message": f"no {value}",
                        }
                    )
        return found

    def _with(self, changes: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Any]:
        state = dict(self.managed)
        for change in changes:
            at = (change["section"], change["name"])
            if change["content"] is None:
                state.pop(at, None)
            else:
                state[at] = change["content"]
        return state

    async def check(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        return self._wrong(self._with(changes))

    async def apply(self, changes: Sequence[Mapping[str, object]]) -> list[Diagnostic]:
        if self.fails:
            raise Unavailable("the compiler has ended")
        state = self._with(changes)
        wrong = self._wrong(state)
        if not wrong:
            self._before.append(self.managed)
            self.managed = state
        return wrong

    async def undo(self) -> None:
        self.managed = self._before.pop()

    def kept(self) -> None:
        """Nothing begins anew here."""

    def anew(self) -> None:
        """Nothing is read here."""

    async def file_entry(self, section: Section, name: str) -> Content | None:
        return self.file.get(section, {}).get(name)

    async def file_names(self, section: Section) -> Sequence[str]:
        return sorted(self.file.get(section, {}))


class Workers:
    """A publisher that is there at once."""

    def __init__(self) -> None:
        self.committed_numbers: list[int] = []

    def again(self) -> None:
        """They are there at once, every time."""

    async def misfit(self, message: str) -> None:
        assert not message

    async def committed(self, number: int, changes: Sequence[Mapping[str, object]], after: int) -> None:
        assert changes
        assert after < number
        self.committed_numbers.append(number)

    async def published(self, number: int, timeout_s: float) -> bool:
        assert timeout_s > 0
        return number in self.committed_numbers


class Leaves:
    """An audit tree that remembers, takes what a real one takes, and can be told to fail."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, str, Mapping[str, Json]]] = []
        self.fails = False

    async def append(self, kind: str, actor: str, object_: str, detail: Mapping[str, Json]) -> int:
        await asyncio.sleep(0)
        if self.fails:
            raise Unavailable("Nothing is changed that cannot be audited.")
        leaf.entry(kind, actor, object_, masked_detail(fitted_detail(detail)), leaf.time_text(0))
        self.records.append((kind, actor, object_, detail))
        return len(self.records) - 1


class House:
    """``management`` and a client of its admin API that is the machine's owner."""

    def __init__(self, management: Management, tree: Tree, workers: Workers, leaves: Leaves) -> None:
        self.management = management
        self.tree = tree
        self.workers = workers
        self.leaves = leaves
        transport = httpx2.ASGITransport(create_admin(management))
        token = (management.data / "manager.token").read_text().strip()
        self.client = httpx2.AsyncClient(
            transport=transport, base_url="http://manager", headers={"Authorization": f"Bearer {token}"}
        )
        self.anybody = httpx2.AsyncClient(transport=transport, base_url="http://manager")

    async def put(
        self, path: str, spec: Mapping[str, object], etag: str = "", **more: object
    ) -> httpx2.Response:
        headers = {"If-Match": f'"{etag}"'} if etag else {"If-None-Match": "*"}
        return await self.client.put(path, json={"spec": spec, **more}, headers=headers)


_empty: list[bytes] = []
"""The file of a database that had its migrations and holds nothing, once it was made."""


async def lay_tables(data: Path, store: str) -> None:
    """Spares a new house on SQLite its migrations; PostgreSQL's are spared where the store is made."""
    if store != "embedded" or (data / FILE).exists():
        return
    if not _empty:
        with tempfile.TemporaryDirectory() as folder:
            await (await open_database(store, Path(folder))).close()
            _empty.append(_only_file(Path(folder)))
    (data / FILE).write_bytes(_empty[0])


def _only_file(folder: Path) -> bytes:
    assert [one.name for one in folder.iterdir()] == [FILE]  # no log of what is not in it yet
    return (folder / FILE).read_bytes()


@asynccontextmanager
async def open_house(
    data: Path, store: str = "embedded", file: Mapping[str, Mapping[str, Content]] | None = None
) -> AsyncIterator[House]:
    tree, workers, leaves = Tree(file), Workers(), Leaves()
    ticks = iter(range(START_MS, START_MS + 10**9))
    await lay_tables(data, store)
    management = await open_management(data, Managing(store), tree, workers, leaves, lambda: next(ticks))
    house = House(management, tree, workers, leaves)
    try:
        yield house
    finally:
        await house.client.aclose()
        await house.anybody.aclose()
        await management.close()
