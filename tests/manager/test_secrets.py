"""Keys of the house: rotated while everything goes on, and after an end at any point what was sealed still opens."""

import asyncio
import base64
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from faregate.kernel.secrets import Secret
from faregate.manager.cases import secrets as cases_secrets
from faregate.manager.database import envelopes, resealing
from faregate.manager.database.tables import changes, entries, users
from faregate.snapshot.peppers import read_peppers
from tests.manager.conftest import InHouse, new_database
from tests.manager.house import House, open_house
from tests.support.servers.postgres_server import PostgresServer

ISSUER = {
    "issuer": "https://id",
    "secret": "hush-hush-hush-hush-hush-hush-hush",
    "audience": "a",
    "algorithms": ["HS256"],
}


async def _rotate(house: House, what: str, **more: str) -> str:
    told = await house.client.post("/secrets/rotate", json={"what": what, **more})
    assert told.status_code == 200, told.text
    return str(told.json()["id"])


def test_another_data_key_seals_everything_anew_and_nothing_is_lost(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        for number in range(3):
            assert (await house.put(f"/issuers/id{number}", ISSUER)).status_code == 201
        envelope, database = house.management.envelope, house.management.database
        async with database.writing() as connection:
            seed = envelope.seal(b"seed", "second factor of ada")
            await connection.execute(
                insert(users).values(name="ada", created_ms=1, totp=seed, totp_next=seed)
            )
            held = base64.b64encode(envelope.seal(b"{}", "change chg_1")).decode()
            row = {
                "id": "chg_1",
                "author": "ada",
                "reason": "",
                "risk": "plain",
                "kind": "edit",
                "state": "draft",
            }
            row |= {"base": 0, "content": held, "diff": "[]", "hash": "", "created_ms": 1, "expires_ms": 1}
            await connection.execute(insert(changes).values(**row))
        etag = (await house.client.get("/issuers/id0")).json()["etag"]
        async with database.reading() as connection:
            before = {row.content for row in await connection.execute(select(entries.c.content))}
        name = await _rotate(house, "data_key")
        await house.management.secrets.settle()
        told = (await house.client.get("/secrets")).json()
        assert [one["id"] for one in told["data_keys"] if one["retired"] is None] == [name]
        assert told["resealing"] == 0
        async with database.reading() as connection:
            assert not before & {row.content for row in await connection.execute(select(entries.c.content))}
            ada = (await connection.execute(select(users).where(users.c.name == "ada"))).one()
            kept = (await connection.execute(select(changes.c.content))).scalar_one()
        for sealed in (ada.totp, ada.totp_next):
            assert envelope.open(sealed, "second factor of ada") == b"seed"
            assert envelope.is_present(sealed)
        assert envelope.open(base64.b64decode(kept), "change chg_1") == b"{}"
        shown = (await house.client.get("/issuers/id0")).json()
        assert shown["etag"] == etag
        edited = await house.put("/issuers/id0", {**shown["spec"], "audience": "b"}, etag)
        assert edited.status_code == 200
        assert house.tree.managed["issuers", "id0"] == {**ISSUER, "audience": "b"}

    in_house(test)


def test_what_a_rotation_left_is_sealed_anew_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with open_house(tmp_path) as house:
            await house.put("/issuers/id", ISSUER)
            monkeypatch.setattr(house.management.secrets, "reseal_soon", lambda: None)
            await _rotate(house, "data_key")
            assert (await house.client.get("/secrets")).json()["resealing"] > 0
        async with open_house(tmp_path) as house:
            await house.management.secrets.settle()
            assert (await house.client.get("/secrets")).json()["resealing"] == 0
            assert (await house.client.get("/issuers/id")).status_code == 200

    asyncio.run(test())


def test_every_sealed_column_is_known(in_house: InHouse) -> None:
    """A column that another data key would leave behind is one whose values nobody opens one day."""

    async def test(house: House) -> None:
        known = {(place.table.name, place.column.name) for place in resealing.PLACES}
        sealed = {("repeats", "body"), ("envelopes", "sealed")}
        blobs = {
            (table.name, column.name)
            for table in entries.metadata.sorted_tables
            for column in table.columns
            if column.type.__class__.__name__ == "LargeBinary"
        }
        assert blobs <= known | sealed
        assert {("entries", "content"), ("changes", "content")} <= known

    in_house(test)


def test_another_master_key_touches_no_value_and_opens_after_a_start(tmp_path: Path) -> None:
    async def test() -> None:
        async with open_house(tmp_path) as house:
            await house.put("/issuers/id", ISSUER)
            former = (tmp_path / "master.key").read_text()
            await _rotate(house, "master_key")
            assert (tmp_path / "master.key").read_text() != former
            assert (tmp_path / "master.key").stat().st_mode & 0o077 == 0
        async with open_house(tmp_path) as house:
            edited = await house.client.get("/issuers/id")
            assert edited.status_code == 200

    asyncio.run(test())


@pytest.mark.parametrize("committed", [False, True])
def test_an_end_while_the_master_key_changes_leaves_one_that_opens(tmp_path: Path, committed: bool) -> None:
    async def test() -> None:
        fresh = Secret(bytes(range(32)))
        async with open_house(tmp_path) as house:
            await house.put("/issuers/id", ISSUER)
            envelopes.stage_master(tmp_path, fresh)
            if committed:
                former = envelopes.load_or_make_master(tmp_path)
                async with house.management.database.writing() as connection:
                    await envelopes.rotate_master(connection, former, fresh)
        async with open_house(tmp_path) as house:
            assert (await house.client.get("/issuers/id")).status_code == 200
            told = (await house.client.get("/secrets")).json()
            assert (told["master_key"] == envelopes.master_id(fresh)) == committed
        assert not (tmp_path / "master.key.next").exists()

    asyncio.run(test())


def test_a_new_pepper_is_for_new_keys_and_the_old_ones_stay_while_needed(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        data = house.management.data
        await house.put("/consumers/acme", {})
        await house.client.post("/consumers/acme/keys", json={})
        first = read_peppers(data)[0].id
        for _ in range(5):  # the unused ones in between make room
            name = await _rotate(house, "pepper")
        there = [one.id for one in read_peppers(data)]
        assert (there[0], there[-1]) == (name, first)
        await house.client.post("/consumers/acme/keys", json={})
        kept = [content for (section, _), content in house.tree.managed.items() if section == "credentials"]
        assert {one["api_key"]["hmac"]["pepper"] for one in kept} == {first, name}  # type: ignore[index]

    in_house(test)


def test_each_rotation_is_a_leaf_first_and_names_no_key(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        house.leaves.fails = True
        for what in ("data_key", "master_key", "pepper"):
            told = await house.client.post("/secrets/rotate", json={"what": what})
            assert told.status_code == 503
        house.leaves.fails = False
        assert len((await house.client.get("/secrets")).json()["data_keys"]) == 1
        for what in ("data_key", "master_key", "pepper"):
            await _rotate(house, what)
        kinds = [record[:3] for record in house.leaves.records]
        assert kinds == [
            ("secrets.rotated", "local", f"secrets/{what}") for what in ("data_key", "master_key", "pepper")
        ]

    in_house(test)


def test_a_master_key_is_sent_only_where_the_configuration_names_it(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        told = await house.client.post(
            "/secrets/rotate", json={"what": "master_key", "master_key": "ab" * 32}
        )
        assert (told.status_code, told.json()["code"]) == (409, "conflict")
        assert "ab" * 32 not in told.text

    in_house(test)


def test_machines_that_share_a_database_follow_a_rotation(
    tmp_path: Path, manager_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases_secrets, "SPREAD_S", 0.0)
    store = new_database(manager_postgres)
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "master.key").write_text("ab" * 32)
        (folder / "master.key").chmod(0o600)

    async def test() -> None:
        async with open_house(one, store) as house, open_house(other, store) as second:
            await _rotate(house, "data_key")
            name = await _rotate(house, "pepper")
            assert (await house.put("/issuers/id", ISSUER)).status_code == 201
            await second.management.secrets.follow()
            assert read_peppers(other)[0].id == name
            await second.management.committing.look()
            assert second.tree.managed["issuers", "id"] == ISSUER
            assert (await second.put("/issuers/more", ISSUER)).status_code == 201
            assert (await house.client.get("/issuers/more")).status_code == 200

    asyncio.run(test())
