"""The published vectors of RFC 9162 trees, C2SP notes and RFC 8785 JSON hold."""

import base64
import json
import struct
from pathlib import Path

import pytest

from faregate.kernel import canonical_json
from faregate.records.audit import leaf
from faregate.records.audit.merkle import (
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
)
from faregate.records.audit.note import Checkpoint, NoteError, Signer, Verifier, opened, read_checkpoint

VECTORS = Path(__file__).parents[2] / "vectors"


def rows(name: str) -> list[dict]:
    return json.loads((VECTORS / f"audit-{name}.json").read_text())


def named(name: str) -> list:
    return [pytest.param(row, id=row["name"]) for row in rows(name)]


LEAVES = [bytes.fromhex(text) for text in rows("merkle")[0]["given"]["leaves_hex"]]


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    for one in leaves:
        frontier.append(one)
    return frontier.root()


def proof_of(given: dict) -> list[bytes]:
    hashes = [leaf_hash(one) for one in LEAVES]
    ranges = (
        inclusion_ranges(given["leaf_index"], given["tree_size"])
        if "leaf_index" in given
        else consistency_ranges(given["size1"], given["size2"])
    )
    return [root_of(hashes[begin:end]) for begin, end in ranges]


@pytest.mark.parametrize("row", named("merkle"))
def test_roots_and_leaf_hashes(row: dict) -> None:
    given, expect = row["given"], row["expect"]
    if "proof_hex" in expect:
        assert [one.hex() for one in proof_of(given)] == expect["proof_hex"]
        return
    hashes = [leaf_hash(bytes.fromhex(text)) for text in given["leaves_hex"]]
    if "leaf_hashes" in expect:
        assert [one.hex() for one in hashes] == expect["leaf_hashes"]
        return
    frontier = Frontier()
    for one in hashes:
        frontier.append(one)
    assert frontier.root().hex() == expect["root_hex"]
    assert len(frontier.nodes) == frontier.size.bit_count()


@pytest.mark.parametrize("row", named("merkle-proofs"))
def test_proofs(row: dict) -> None:
    given = row["given"]
    proof = [base64.b64decode(one) for one in given["proof"] or []]
    if given["kind"] == "inclusion":
        held = is_included(
            given["leafIdx"],
            given["treeSize"],
            base64.b64decode(given["leafHash"]),
            proof,
            base64.b64decode(given["root"]),
        )
    else:
        held = is_consistent(
            given["size1"],
            given["size2"],
            base64.b64decode(given["root1"]),
            base64.b64decode(given["root2"]),
            proof,
        )
    assert held is row["expect"]["valid"]


@pytest.mark.parametrize("row", named("checkpoint"))
def test_notes_and_checkpoints(row: dict) -> None:
    given, expect = row["given"], row["expect"]
    if "ed25519_seed_hex" in given:
        signer = Signer(given["origin"], bytes.fromhex(given["ed25519_seed_hex"]))
        checkpoint = Checkpoint(given["origin"], given["tree_size"], bytes.fromhex(given["root_hex"]))
        assert signer.verifier.line == expect["vkey"]
        assert signer.verifier.id.hex() == expect["key_id_hex"]
        assert signer.signed(checkpoint.text) == expect["checkpoint"]
        assert read_checkpoint(expect["checkpoint"], Verifier.read(expect["vkey"])) == checkpoint
        assert "PRIVATE" not in repr(signer)
        assert Signer.read(signer.line).signed("x\n") == signer.signed("x\n")
        return
    verifier = Verifier.read(given["vkey"])
    note = given.get("note") or given["checkpoint"]
    if expect["valid"]:
        assert opened(note, [verifier]) == expect.get("text", note.partition("\n\n")[0] + "\n")
    else:
        with pytest.raises(NoteError):
            opened(note, [verifier])


@pytest.mark.parametrize("row", named("jcs"))
def test_canonical_json(row: dict) -> None:
    given, expect = row["given"], row["expect"]
    if "json" in given:
        assert canonical_json.encode(json.loads(given["json"])) == expect["canonical"]
    elif "ieee754_hex" in given:
        doubles = [struct.unpack(">d", bytes.fromhex(text))[0] for text in given["ieee754_hex"]]
        assert [canonical_json.number(one) for one in doubles] == expect["text"]
    else:
        record = canonical_json.encode(given["record"])
        assert record == expect["canonical"]
        assert leaf.canonical(given["record"]).decode() == expect["canonical"]
        assert leaf_hash(record.encode()).hex() == expect["leaf_hash_hex"]


SIZE = 67


def test_every_proof_of_a_tree_that_grows_holds_and_no_shorter_one() -> None:
    hashes = [leaf_hash(b"%d" % number) for number in range(SIZE)]
    for size in range(1, SIZE + 1):
        root = root_of(hashes[:size])
        for index in range(size):
            proof = [root_of(hashes[begin:end]) for begin, end in inclusion_ranges(index, size)]
            assert is_included(index, size, hashes[index], proof, root)
            assert not is_included(index, size, hashes[index], [*proof, root], root)
            assert not (proof and is_included(index, size, hashes[index], proof[:-1], root))
            assert not is_included(index, size, leaf_hash(b"another"), proof, root)
        for old in range(1, size + 1):
            proof = [root_of(hashes[begin:end]) for begin, end in consistency_ranges(old, size)]
            before = root_of(hashes[:old])
            assert is_consistent(old, size, before, root, proof)
            assert not is_consistent(old, size, before, root, [*proof, root])
            assert not is_consistent(old, size, leaf_hash(b"x"), root, proof)


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5)])
def test_nothing_leads_from_no_tree_or_back(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        consistency_ranges(old, new)
    assert not is_consistent(old, new, b"r" * 32, b"r" * 32, [])


def test_a_frontier_is_taken_up_only_whole() -> None:
    frontier = Frontier()
    for number in range(11):
        frontier.append(leaf_hash(b"%d" % number))
    again = Frontier(11, frontier.nodes)
    again.append(leaf_hash(b"11"))
    frontier.append(leaf_hash(b"11"))
    assert again.root() == frontier.root()
    with pytest.raises(ValueError, match="size"):
        Frontier(11, frontier.nodes)


KEY = Signer("example.com/tree", bytes(range(32)))


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ("text\n", "no signatures"),
        ("text\n\n", "no signature"),
        ("text\n\nno dash\n", "no signature"),
        ("te\tx\n\n— a AAAA\n", "control"),
        ("text\n\n— example.com/tree !!!!\n", "base64"),
        ("text\n\n— a b c AAAAAAAA\n", "base64|broken"),
        ("text\n\n— other AAAAAAAAAAAA\n", "no signature by the key"),
        ("text\n\n" + "— other AAAAAAAAAAAA\n" * 101, "more than"),
    ],
)
def test_what_is_no_note_is_refused(note: str, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        opened(note, [KEY.verifier])


def test_sixteen_signatures_are_read_and_those_of_strangers_passed_over() -> None:
    note = KEY.signed("text\n")
    strangers = "".join(f"— other{number} AAAAAAAAAAAA\n" for number in range(15))
    text, _, signature = note.partition("\n\n")
    assert opened(f"{text}\n\n{strangers}{signature}", [KEY.verifier]) == "text\n"


@pytest.mark.parametrize(
    "text",
    [
        "another.example\n1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "example.com/tree\n01\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "example.com/tree\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "example.com/tree\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "example.com/tree\n1\n",
        "example.com/tree\n\n\n",
    ],
)
def test_a_signed_note_that_is_no_checkpoint_of_the_tree_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        read_checkpoint(KEY.signed(text), KEY.verifier)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "name",
        "name+00000000+AAAA",
        "na me+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ],
)
def test_what_is_no_verifier_key_is_refused(line: str) -> None:
    with pytest.raises(NoteError):
        Verifier.read(line)
