"""A child that dies while it is written to leaves no traceback of asyncio's."""

import asyncio
import gc

from faregate.kernel.attending import attend


def test_a_child_that_dies_while_it_is_written_to_is_nobodys_exception() -> None:
    told: list[object] = []

    async def play() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        process = await asyncio.create_subprocess_exec("sleep", "60", stdin=asyncio.subprocess.PIPE)
        attend(process)
        assert process.stdin is not None
        process.stdin.write(b"x" * (1 << 20))  # more than a pipe holds
        process.kill()
        await process.wait()
        while not process.stdin.is_closing():  # noqa: ASYNC110 - the transport has no event for it
            await asyncio.sleep(0)
        for _ in range(3):  # its end is told to all who ask
            await asyncio.sleep(0)
        del process
        gc.collect()

    asyncio.run(play())
    gc.collect()
    assert told == []
