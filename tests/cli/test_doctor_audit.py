"""What ``faregate doctor`` says of the audit tree: its key, its newest part, its checkpoints here and where they are published."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from faregate.cli import doctor_audit
from faregate.cli.doctor_audit import LATE_S, check_audit
from faregate.cli.doctor_findings import Finding
from faregate.records.audit.head import read_head
from faregate.records.audit.note import Signer
from faregate.records.audit.places import replace_durably, segments_in
from faregate.records.audit.verifying import verify
from faregate.snapshot.audit import AuditTree
from faregate.snapshot.data import FORMAT, Gateway, Listener, Snapshot
from tests.records.audit.trees import ORIGIN, TIME, Made, made

NOW = datetime.fromisoformat(TIME).timestamp()


@dataclass
class Place:
    data: Path
    tree: Made | None = None
    publish: str = ""

    def found(self, now: float = NOW, needs_audit: bool = True) -> dict[str, Finding]:
        settings = AuditTree(publish=self.publish)
        gateway = Gateway((Listener("127.0.0.1", 0),), None, 1, str(self.data), audit=settings)
        snapshot = Snapshot(FORMAT, 1, gateway, (), (), (), (), (), (), needs_audit=needs_audit)
        return {one.check: one for one in check_audit(snapshot, now)}


def placed(
    folder: Path, count: int = 9, signed: tuple[int, ...] = (4, 7), rotated: tuple[int, ...] = ()
) -> Place:
    folder.mkdir(exist_ok=True)
    return Place(folder, made(folder / "audit", count, signed=list(signed), rotated=rotated))


def test_a_tree_that_is_sound(tmp_path: Path) -> None:
    found = placed(tmp_path, rotated=(3, 5)).found()
    assert [(one.level, one.check) for one in found.values()] == [("ok", "audit_key"), ("ok", "audit")]
    assert found["audit"].message == f"9 records, 7 of them signed at {TIME}"
    assert ORIGIN in found["audit_key"].message


def test_where_there_is_none_yet(tmp_path: Path) -> None:
    assert Place(tmp_path).found()["audit"].level == "ok"
    assert Place(tmp_path).found(needs_audit=False) == {}


def altered(tree: Made) -> None:
    lines = tree.lines()
    lines[7] = lines[7].replace(b"thing:7", b"thing:x")
    tree.write(lines)


def dropped(tree: Made) -> None:
    lines = tree.lines()
    tree.write(lines[:5] + lines[6:])


def cut(tree: Made) -> None:
    tree.write(tree.lines()[:6])


def acknowledged(tree: Made) -> None:
    """The last two were synced and told to who asked for them."""
    ((_, path),) = segments_in(tree.folder)
    path.write_bytes(b"".join(line + b"\n" for line in tree.lines()[:7]))


def emptied(tree: Made) -> None:
    shutil.rmtree(tree.folder / "log")


def other_key(tree: Made) -> None:
    replace_durably(tree.folder / "key", f"{Signer(ORIGIN, b'x' * 32).line}\n".encode())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (altered, "does not follow"),
        (dropped, "does not follow"),
        (cut, "it ends with 6 records; 7 were signed"),
        (acknowledged, "records behind number 6 are gone that had been acknowledged"),
        (emptied, "its records are gone; 7 were signed"),
        (other_key, "its last checkpoint: "),
    ],
)
def test_damage_is_a_problem_with_what_to_do(
    tmp_path: Path, damage: Callable[[Made], None], said: str
) -> None:
    place = placed(tmp_path)
    assert place.tree is not None
    damage(place.tree)
    finding = place.found()["audit"]
    assert finding.level == "problem"
    assert said in finding.message
    assert "faregate audit verify" in finding.advice
    if damage is not emptied:
        judged = Signer.read((place.tree.folder / "key").read_text()).verifier
        assert (damage is acknowledged) or verify(place.tree.folder, judged).fault is not None


def test_looking_changes_nothing_and_a_line_on_its_way_is_none(tmp_path: Path) -> None:
    place = placed(tmp_path, rotated=(3,))
    assert place.tree is not None
    (_, path) = segments_in(place.tree.folder)[-1]
    with path.open("ab") as file:
        file.write(b'{"actor":"hal')
    before = {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}
    assert place.found()["audit"].level == "ok"
    assert read_head(place.tree.folder, place.tree.verifier).size == 9
    assert before == {one: one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()}


def test_the_key_is_looked_at(tmp_path: Path) -> None:
    place = placed(tmp_path)
    key, public = tmp_path / "audit" / "key", tmp_path / "audit" / "key.pub"
    public.write_text("another+00000000+AAAA")
    found = place.found()
    assert (found["audit_key"].level, found["audit"].level) == ("warning", "ok")
    key.chmod(0o644)
    assert place.found()["audit_key"].level == "problem"
    key.write_text("rubbish")
    assert "is broken" in place.found()["audit_key"].message
    key.unlink()
    found = place.found()
    assert (found["audit_key"].level, set(found)) == ("problem", {"audit_key"})
    assert "is gone" in found["audit_key"].message


@pytest.mark.parametrize(("answers", "level"), [({"pid": 1}, "warning"), (None, "ok")])
def test_checkpoints_that_do_not_go_on(
    tmp_path: Path, answers: dict[str, object] | None, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_audit, "status_on", lambda folder: answers)
    place = placed(tmp_path)
    assert place.found(NOW + LATE_S)["audit"].level == "ok"
    assert place.found(NOW + LATE_S + 1)["audit"].level == level
    whole = placed(tmp_path / "whole", 7)
    assert whole.found(NOW + 1e6)["audit"].level == "ok"


def test_what_is_published_keeps_up(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    place = placed(tmp_path)
    assert place.tree is not None
    place.publish = str(tmp_path / "away")
    copy = tmp_path / "away" / f"checkpoint-{place.tree.verifier.id.hex()}"
    late = NOW + LATE_S + 1
    assert place.found()["audit_publish"].level == "ok"  # a moment ago
    assert place.found(late)["audit_publish"].level == "warning"
    shutil.copy(tmp_path / "audit" / "checkpoint", copy)
    assert place.found(late)["audit_publish"] == Finding("ok", "audit_publish", f"{copy}: 7 records")  # type: ignore[arg-type]
    copy.write_text("rubbish")
    assert place.found()["audit_publish"].level == "problem"
    signer = Signer.read((tmp_path / "audit" / "key").read_text())
    copy.write_text(signer.signed(f"{ORIGIN}\n70\n{'A' * 43}=\n"))
    assert "the tree was cut or replaced" in place.found()["audit_publish"].advice
