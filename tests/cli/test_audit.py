"""``faregate audit``: an auditor with the public key finds what is wrong, and proofs that another can check."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faregate.cli.app import main
from faregate.records.audit.places import PUBLIC_KEY
from tests.records.audit.trees import Made, made

Run = Callable[..., tuple[int, str, str]]
COUNT = 20


@pytest.fixture
def tree(tmp_path: Path) -> Made:
    return made(tmp_path / "audit", COUNT, signed=[8, 16], rotated=(8,))


@pytest.fixture
def run(tree: Made, capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(*arguments: str, folder: Path | None = tree.folder) -> tuple[int, str, str]:
        where = [] if folder is None else ["--folder", str(folder)]
        status = main(["audit", *arguments, *where])
        said = capsys.readouterr()
        return status, said.out, said.err

    return ran


def test_a_good_tree_is_told_in_words_and_as_json(run: Run, tree: Made) -> None:
    status, out, err = run("verify")
    assert status == 0
    assert out.startswith(f"good: {COUNT} records of gateway.example/tree\n")
    assert "2 checkpoints hold, the last of 16 records (checkpoints.jsonl:2)" in out
    assert "4 records behind it are linked and not signed yet" in out
    assert "an auditor gives --key" in err
    status, out, err = run("verify", "--json", "--key", tree.verifier.line)
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert (told["ok"], told["size"], told["signed"], told["unsigned"], told["fault"]) == (
        True,
        20,
        16,
        4,
        None,
    )


def test_a_changed_record_is_named_and_the_status_says_so(run: Run, tree: Made) -> None:
    lines = tree.lines()
    lines[11] = lines[11].replace(b"thing:11", b"thing:12")
    tree.write(lines)
    status, out, _ = run("verify")
    assert status == 1
    assert out.startswith("BAD: record 11: altered\n")
    assert "the first 8 records are as they were signed" in out
    status, out, _ = run("verify", "--json")
    assert status == 1
    assert json.loads(out)["fault"] | {"message": ""} == {
        "kind": "altered",
        "record": 11,
        "until": 12,
        "message": "",
    }


def test_the_key_is_printed_for_auditors_and_taken_from_a_file_or_as_it_stands(
    run: Run, tree: Made, tmp_path: Path
) -> None:
    status, out, _ = run("key")
    assert (status, out) == (0, f"{tree.verifier.line}\n")
    told = json.loads(run("key", "--json")[1])
    assert told == {"name": tree.verifier.name, "id": tree.verifier.id.hex(), "key": tree.verifier.line}
    kept = tmp_path / "kept.pub"
    kept.write_text(out)
    (tree.folder / PUBLIC_KEY).unlink()
    assert run("verify", "--key", str(kept))[0] == 0
    assert run("verify")[0] == 1
    for wrong, said in (("nofile.pub", "no such file: nofile.pub"), ("a+b", "not a verifier key")):
        status, _, err = run("verify", "--key", wrong)
        assert status == 2
        assert f"--key: {said}" in err
    other = made(tmp_path / "other", 1, signed=[1])
    status, out, _ = run("verify", "--key", other.verifier.line)
    assert status == 1
    assert "checkpoint" in out


@pytest.mark.parametrize("name", ["5", "thing:5", "5-hash"])
def test_a_record_is_proven_and_the_proof_is_checked_by_the_key_alone(
    run: Run, tree: Made, tmp_path: Path, name: str
) -> None:
    from faregate.records.audit.merkle import leaf_hash

    name = leaf_hash(tree.lines()[5]).hex() if name == "5-hash" else name
    status, out, _ = run("prove", name, "--json")
    assert status == 0
    told = json.loads(out)
    assert (told["index"], told["record"]) == (5, tree.lines()[5].decode())
    proof = tmp_path / "proof.json"
    proof.write_text(out)
    checked = ["verify", "--proof", str(proof), "--key", tree.verifier.line]
    assert run(*checked, folder=None)[:2] == (
        0,
        "record 5 stands in the signed tree of gateway.example/tree\n",
    )
    for change in (
        {"record": tree.lines()[6].decode()},
        {"index": 6},
        {"proof": told["proof"][:-1]},
        {"proof": ["!"]},
        {"checkpoint": told["checkpoint"].replace("\n16\n", "\n15\n")},
        {"format": "another"},
        {"more": 1},
    ):
        proof.write_text(json.dumps(told | change))
        status, out, _ = run(*checked, "--json", folder=None)
        assert (status, json.loads(out)["ok"]) == (1, False)


def test_what_is_not_there_or_not_signed_yet_cannot_be_proven(run: Run, tree: Made) -> None:
    assert "not signed yet: the last checkpoint is of 16 records" in run("prove", "17")[2]
    assert "no record is 'nothing'" in run("prove", "nothing")[2]
    assert run("prove", "17")[0] == run("prove", "nothing")[0] == 1
    assert "stands as record 3" in run("prove", "3")[1]
    lines = tree.lines()
    tree.write([*lines[:3], lines[4], *lines[4:]])
    status, _, err = run("prove", "3")
    assert status == 1
    assert "run `faregate audit verify`" in err


def test_a_later_tree_is_proven_to_begin_with_an_earlier_one(run: Run, tree: Made, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text((tree.folder / "checkpoint").read_text())
    for old, new in (("8", "16"), ("8", "last"), (str(kept), "last"), ("3", str(kept))):
        status, out, _ = run("consistency", old, new, "--json")
        assert status == 0, (old, new)
        proof = tmp_path / "proof.json"
        proof.write_text(out)
        status, out, _ = run("verify", "--proof", str(proof))
        assert (status, "begins with that of" in out) == (0, True), (old, new)
    assert run("consistency", "8")[1].startswith("the tree of 16 records begins with that of 8:")
    for old, new, why in (
        ("0", "16", "no proof"),
        ("9", "8", "no proof"),
        ("8", "99", "20 records, not 99"),
        ("no file", "last", "no file"),
    ):
        status, _, err = run("consistency", old, new)
        assert status == 1
        assert why in err
    lines = tree.lines()
    lines[2] = lines[2].replace(b"thing:2", b"thing:x")
    tree.write(lines)
    status, _, err = run("consistency", str(kept), "20")
    assert status == 1
    assert "not those that were signed" in err


def test_records_are_listed_by_type_actor_and_object(run: Run, tree: Made) -> None:
    status, out, err = run("list", "--limit", "3")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == ["seq", "17", "18", "19"]
    assert err == "3 records; there are more, see --limit\n"
    told = json.loads(run("list", "--object", "thing:4", "--json")[1])
    assert ([one["seq"] for one in told["records"]], told["more"]) == ([4], False)
    assert len(json.loads(run("list", "--type", "test", "--json")[1])["records"]) == COUNT
    assert json.loads(run("list", "--type", "tes", "--json")[1])["records"] == []
    assert json.loads(run("list", "--actor", "user:two", "--json")[1])["records"] == []


def test_a_folder_without_a_tree_or_no_file_at_all_is_said(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("verify", folder=tmp_path / "nowhere")[0] == 1
    monkeypatch.chdir(tmp_path)
    status, _, err = run("verify", folder=None)
    assert status == 2
    assert "--folder" in err
    assert run("verify", folder=tmp_path)[0] == 0, "the data folder will do"
