"""The callers' client against a scripted server: whole answers only, in time, and connections kept."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from faregate.demo.http_client import ANSWER_BYTES_MAX, Connection, NoAnswerError, Request

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def server(*answers):
    """Answers each request with the next of ``answers``; None ends the connection. Yields the port and what came."""
    heads, connections, script = [], [], iter(answers)

    async def serve(reader, writer):
        connections.append(writer)
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                answer = next(script)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1], heads, connections
    finally:
        listener.close()
        for writer in connections:
            writer.close()
        await listener.wait_closed()
        await asyncio.sleep(0)


def played(*answers, calls, timeout_s=5.0):
    async def play():
        async with server(*answers) as (port, heads, connections):
            connection = Connection(port, timeout_s)
            results = []
            for request in calls:
                try:
                    answer = await connection.call(request)
                    results.append((answer.status, answer.body))
                except NoAnswerError as error:
                    results.append(str(error))
            connection.close()
            return results, heads, len(connections)

    return asyncio.run(play())


GET = Request("GET", "/x")


def test_a_connection_is_kept_between_calls():
    results, _, connections = played(OK, OK, calls=[GET, GET])
    assert (results, connections) == ([(200, b"ok")] * 2, 1)


def test_a_connection_that_the_server_closes_is_opened_anew():
    closing = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    results, _, connections = played(closing, OK, calls=[GET, GET])
    assert (results, connections) == ([(200, b""), (200, b"ok")], 2)


def test_a_chunked_answer_is_read_whole():
    chunked = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert played(chunked, calls=[GET])[0] == [(201, b"abc")]


@pytest.mark.parametrize(
    "answer",
    [None, b"HTTP/1.1 200 OK\r\nContent-Le", b"\x00garbage\r\n\r\n"],
    ids=["closed", "half", "garbage"],
)
def test_no_whole_answer_is_an_error_and_the_next_call_works(answer):
    results, _, connections = played(
        answer, *([None] if answer else []), OK, calls=[GET, GET, GET], timeout_s=0.1
    )
    assert isinstance(results[0], str)
    assert connections >= 2
    assert (200, b"ok") in results


def test_an_answer_over_the_bound_is_an_error():
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1)
    assert isinstance(played(large + b"x" * (ANSWER_BYTES_MAX + 1), calls=[GET])[0][0], str)


def test_a_body_goes_with_its_length_and_a_post_without_one_says_so():
    calls = [Request("POST", "/a", b"X-API-Key: k\r\n"), Request("POST", "/b", body=b"{}")]
    heads = played(OK, OK, calls=calls)[1]
    assert b"X-API-Key: k\r\nContent-Length: 0\r\n\r\n" in heads[0]
    assert b"Content-Length: 2\r\n\r\n" in heads[1]
