"""The manager of this machine is found without being told, or it is said why not."""

from pathlib import Path

import httpx2
import pytest

from faregate.client import NoManager, local
from faregate.client.finding import at
from faregate.gateway import commands
from tests.manager.served import served


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, object]:
    """What the gateway on ``tmp_path`` says of itself."""
    status: dict[str, object] = {"manager": "http://127.0.0.1:1"}

    def ask(folder: Path, request: commands.Request, timeout: float) -> dict[str, object]:
        if folder != tmp_path / "data":
            raise FileNotFoundError(folder)
        return status

    monkeypatch.setattr(commands, "ask", ask)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manager.token").write_text("fgm_abc\n")
    return status


def test_by_its_data_folder(answering: dict[str, object], tmp_path: Path) -> None:
    found = local(data=tmp_path / "data")
    assert found == (answering["manager"], "fgm_abc", tmp_path / "data")
    assert "fgm_abc" not in repr(found)


def test_by_the_file_that_names_the_folder(answering: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("gateway: {data: ./data}\n")
    assert local(file).token == "fgm_abc"


def test_a_gateway_without_manager_says_so(answering: dict[str, object], tmp_path: Path) -> None:
    answering["manager"] = None
    with pytest.raises(NoManager, match="`manager: off`"):
        local(data=tmp_path / "data")


def test_no_gateway_is_said_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(NoManager, match=f"no gateway is running on {tmp_path}"):
        local(data=tmp_path)


def test_a_token_that_is_not_there_yet_is_made_by_asking(tmp_path: Path) -> None:
    asked = []

    def answer(url: str, **_: object) -> httpx2.Response:
        asked.append(url)
        (tmp_path / "manager.token").write_text("fgm_new\n")
        return httpx2.Response(401)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(httpx2, "get", answer)
        assert at(tmp_path, {"manager": "http://m"}).token == "fgm_new"
    assert asked == ["http://m/revisions"]


def test_a_manager_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoManager, match=r"127\.0\.0\.1:1 does not answer"):
        at(tmp_path, {"manager": "http://127.0.0.1:1"})


def test_the_token_opens_a_real_manager(tmp_path: Path) -> None:
    from faregate.client import Client

    with served(tmp_path) as manager:
        found = at(tmp_path, {"manager": manager.url})
        with Client(found.url, found.token) as client:
            assert client.status()["revision"] == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            httpx2.Response(503, json={"detail": "the database is gone"}),
            "cannot be used: the database is gone",
        ),
        (httpx2.Response(500, content=b"oh"), "cannot be used: it answered 500"),
        (httpx2.Response(401), r"no token in .*manager\.token \(No such file or directory\)"),
    ],
)
def test_a_manager_that_cannot_be_opened_says_why(
    answer: httpx2.Response, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx2, "get", lambda *_, **__: answer)
    with pytest.raises(NoManager, match=said):
        at(tmp_path, {"manager": "http://m"})
