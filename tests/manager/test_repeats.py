"""An ``Idempotency-Key`` on what creates: one act, one answer, whatever ends in between."""

import httpx2
import pytest

from faregate.manager.admin import credentials
from faregate.manager.cases.repeats import KEPT_MS
from tests.manager.conftest import InHouse
from tests.manager.house import House

KEY = {"Idempotency-Key": '"order-1"'}
PATH = "/consumers/acme/keys"


async def _make(
    house: House, headers: dict[str, str] = KEY, path: str = PATH, **body: object
) -> httpx2.Response:
    if (await house.client.get("/consumers/acme")).status_code == 404:
        assert (await house.put("/consumers/acme", {})).status_code == 201
    return await house.client.post(path, json=body, headers=headers)


async def _keys(house: House) -> list[str]:
    return [one["name"] for one in (await house.client.get("/credentials")).json()["data"]]


def test_a_repeat_gets_the_first_answer_and_makes_nothing(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        first = await _make(house)
        again = await _make(house, {"Idempotency-Key": "order-1"})
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert again.headers["faregate-revision"] == first.headers["faregate-revision"]
        assert "idempotent-replayed" not in first.headers
        assert len(await _keys(house)) == 1

    in_house(test)


def test_rolling_twice_by_one_key_rolls_once(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        name = (await _make(house, {})).json()["credential"]["name"]
        path = f"/credentials/{name}/roll"
        first, again = [await _make(house, path=path) for _ in range(2)]
        assert again.json() == first.json()
        assert first.json()["credential"]["name"] != name
        assert len(await _keys(house)) == 1

    in_house(test)


@pytest.mark.parametrize("other", [{"mode": "test"}, {"note": "x"}])
def test_another_request_under_the_same_key_is_refused(in_house: InHouse, other: dict[str, object]) -> None:
    async def test(house: House) -> None:
        await _make(house)
        told = await _make(house, **other)
        assert (told.status_code, told.json()["code"]) == (422, "idempotency_mismatch")
        assert len(await _keys(house)) == 1

    in_house(test)


def test_the_key_is_the_callers_own(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        first = await _make(house)
        await house.client.post("/users", json={"name": "bot", "service": True})
        grants = {"grants": [{"role": "operator", "scope": "*"}]}
        await house.client.put("/users/bot/grants", json=grants, headers={"If-Match": "*"})
        token = (await house.client.post("/users/bot/tokens", json={})).json()["secret"]
        told = await house.anybody.post(PATH, json={}, headers={**KEY, "Authorization": f"Bearer {token}"})
        assert told.status_code == 201
        assert told.json()["secret"] != first.json()["secret"]

    in_house(test)


def test_an_end_after_the_act_and_before_its_answer_loses_no_key(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(house: House) -> None:
        async def fails(*_: object) -> None:
            raise RuntimeError("the process ends here")

        with monkeypatch.context() as patched:
            patched.setattr(credentials, "_made", fails)
            with pytest.raises(RuntimeError):
                await _make(house)
        made = await _keys(house)
        told = await _make(house)
        assert told.status_code == 201
        assert [told.json()["credential"]["name"]] == made == await _keys(house)

    in_house(test)


def test_an_act_that_cannot_be_audited_leaves_no_answer_behind(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await _make(house, {})
        house.leaves.fails = True
        assert (await _make(house)).status_code == 503
        house.leaves.fails = False
        told = await _make(house)
        assert (told.status_code, told.headers.get("idempotent-replayed")) == (201, None)
        assert len(await _keys(house)) == 2

    in_house(test)


def test_answers_are_kept_for_a_day_and_lie_sealed(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        secret = (await _make(house)).json()["secret"]
        for file in house.management.data.glob("manager.db*"):
            assert secret.encode() not in file.read_bytes()
        clock = house.management.repeats._clock
        house.management.repeats._clock = lambda: clock() + KEPT_MS
        told = await _make(house)
        assert told.json()["secret"] != secret

    in_house(test)


@pytest.mark.parametrize("key", ['""', "a b", "x" * 256, "\x7f"])
def test_a_key_is_visible_ascii(in_house: InHouse, key: str) -> None:
    async def test(house: House) -> None:
        told = await _make(house, {"Idempotency-Key": key})
        assert (told.status_code, told.json()["code"]) == (400, "idempotency_key_invalid")
        assert await _keys(house) == []

    in_house(test)


@pytest.mark.parametrize(
    ("path", "body", "secret"),
    [("/users", {"name": "ada"}, "code"), ("/users/bot/tokens", {}, "secret")],
)
def test_users_and_tokens_are_made_once_too(
    in_house: InHouse, path: str, body: dict[str, object], secret: str
) -> None:
    async def test(house: House) -> None:
        await house.client.post("/users", json={"name": "bot", "service": True})
        first, again = [await house.client.post(path, json=body, headers=KEY) for _ in range(2)]
        assert first.status_code == again.status_code == 201
        assert first.json()[secret]
        assert again.json() == first.json()
        assert len((await house.client.get("/users/bot/tokens")).json()["data"]) == (secret == "secret")

    in_house(test)


def test_a_key_that_must_wait_is_asked_for_once_and_its_secret_told_again(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        headers = {**KEY, "X-Faregate-Propose": "true"}
        first, again = [await _make(house, headers) for _ in range(2)]
        assert first.status_code == again.status_code == 202
        assert first.json()["secret"]
        assert again.json() == first.json()
        assert len((await house.client.get("/changes")).json()["data"]) == 1
        assert await _keys(house) == []

    in_house(test)
