"""A house behind a real socket, in a thread of its own, for clients that are not asynchronous."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from faregate.manager.admin.app import create_admin
from tests.manager.house import House, open_house


class Served:
    """``url``, the machine's ``token``, and the house, to be touched only by ``run``."""

    def __init__(self, data: Path, store: str) -> None:
        self._data = data
        self._store = store
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._server: uvicorn.Server | None = None
        self._failure: BaseException | None = None
        self.house: House | None = None
        self.url = ""
        self.token = ""
        self._thread = threading.Thread(target=self._main)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with open_house(self._data, self._store) as house:
            self.house = house
            app = create_admin(house.management)
            config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none")
            self._server = server = uvicorn.Server(config)
            task = asyncio.ensure_future(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn tells by no event
                await asyncio.sleep(0.01)
            host, port = server.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://{host}:{port}"
            self.token = (self._data / "manager.token").read_text().strip()
            self._ready.set()
            await task


@contextmanager
def served(data: Path, store: str = "embedded") -> Iterator[Served]:
    one = Served(data, store)
    one.start()
    try:
        yield one
    finally:
        one.stop()
