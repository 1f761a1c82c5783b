"""The compiler of increments as a process: what it is asked, what it answers, and when it ends."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import msgspec
import pytest

from faregate.compile.masked import MASK, masked
from faregate.compile.service import Service, serve
from faregate.kernel.changes import LIST_MAX, Answer, Change, Request, digest_of
from faregate.kernel.replica import NAME, Replica
from faregate.model.interpolate import Interpolated
from faregate.snapshot import encoded
from tests.compile.increments import base_tree


@pytest.fixture
def data(tmp_path: Path) -> Path:
    base_tree(tmp_path)
    return tmp_path


@pytest.fixture
def service(data: Path) -> Service:
    made = Service(data)
    made._nice = 0  # this process is the test's
    answer = made.answer(Request("load"))
    assert (answer.ok, answer.revision, answer.diagnostics) == (True, 0, [])
    return made


def revision(service: Service, path: Path, number: int = 3) -> "encoded.Snapshot":
    answer = service.answer(Request("write", path=str(path), revision=number))
    assert (answer.ok, answer.revision) == (True, number)
    assert path.stat().st_mode & 0o777 == 0o600
    return encoded.decode(path.read_bytes())


def test_a_change_is_tried_made_written_and_taken_back(service: Service, tmp_path: Path) -> None:
    changes = [Change("plans", "p1", {"limits": ["7/second"]})]
    before = revision(service, tmp_path / "out")
    assert service.answer(Request("check", changes=changes)).ok
    assert revision(service, tmp_path / "out") == before
    assert service.answer(Request("apply", changes=changes)).ok
    after = revision(service, tmp_path / "out", 4)
    assert (after.revision, [plan.name for plan in after.plans]) == (4, ["p0", "p1"])
    assert service.answer(Request("undo")).ok
    assert revision(service, tmp_path / "out") == before
    answer = service.answer(Request("undo"))
    assert (answer.ok, answer.message) == (False, "there is nothing to take back")


def test_what_is_wrong_is_told_errors_first_and_changes_nothing(service: Service, tmp_path: Path) -> None:
    before = revision(service, tmp_path / "out")
    changes = [
        Change("plans", "p1", {}),
        Change("consumers", "c1", {"plan": "p2"}),
        Change("gateway", "listen", []),
    ]
    answer = service.answer(Request("apply", changes=changes))
    assert (answer.ok, [(one.code, one.path) for one in answer.diagnostics]) == (
        False,
        [("unknown_key", "gateway")],
    )
    answer = service.answer(Request("apply", changes=changes[:2]))
    told = [(one.level, one.code, one.path, one.file) for one in answer.diagnostics]
    assert told == [
        ("error", "unresolved_reference", "consumers.c1.plan", "managed"),
        ("warning", "no_limits", "plans.p1", "managed"),
    ]
    assert answer.diagnostics[0].expected == "one of p0, p1", "of the whole, not of the change"
    answer = service.answer(Request("apply", changes=[Change("plans", "p0", {})]))
    assert [(one.code, one.path) for one in answer.diagnostics] == [("duplicate_name", "plans.p0")]
    assert "faregate.yaml" in answer.diagnostics[0].message
    assert revision(service, tmp_path / "out") == before


def test_many_diagnostics_are_counted_not_told(service: Service) -> None:
    changes = [Change("consumers", f"x{number}", {"plan": "none"}) for number in range(700)]
    answer = service.answer(Request("apply", changes=changes))
    assert (answer.ok, len(answer.diagnostics), answer.more) == (False, 500, 200)


def test_entries_are_shown_with_owner_and_without_secrets(service: Service, tmp_path: Path) -> None:
    secret = {"issuer": "https://i1.example", "secret": "s" * 32, "audience": "a", "algorithms": ["HS256"]}
    digest = {"consumer": "c0", "api_key": {"sha256": "0a" * 32}}
    assert service.answer(
        Request("apply", changes=[Change("issuers", "i1", secret), Change("credentials", "k1", digest)])
    ).ok
    (own,) = service.answer(Request("show", section="issuers", name="i0")).items
    assert (own.owner, own.file) == ("file", str(tmp_path / "faregate.yaml"))
    assert cast("dict[str, str]", own.content)["secret"] == MASK
    (made,) = service.answer(Request("show", section="issuers", name="i1")).items
    assert (made.owner, made.content) == ("managed", {**secret, "secret": MASK})
    (key,) = service.answer(Request("show", section="credentials", name="k1")).items
    assert key.content == {"consumer": "c0", "api_key": {"sha256": MASK}}
    assert service.answer(Request("show", section="issuers", name="i2")).items == []
    assert service.answer(Request("show", section="nothing", name="x")).items == []


def test_what_is_masked() -> None:
    shown = masked({
        "secret": "a", "password": "b", "url": "postgresql://me:pw@host/x", "targets": ["http://u:p@h"], "any": Interpolated("c"),
        "mtls": {"sha256": "public"}, "api_key": {"sha256": "d", "hmac": {"pepper": "p1", "digest": "e"}, "id": "k"}, "token_count": 3,
    })  # fmt: skip
    assert shown == {
        "secret": MASK, "password": MASK, "url": f"postgresql://{MASK}@host/x", "targets": [f"http://{MASK}@h"], "any": MASK,
        "mtls": {"sha256": "public"}, "api_key": {"sha256": MASK, "hmac": {"pepper": "p1", "digest": MASK}, "id": "k"}, "token_count": 3,
    }  # fmt: skip


def test_a_section_comes_page_by_page(service: Service) -> None:
    assert service.answer(
        Request(
            "apply",
            changes=[Change("plans", f"q{number:02d}", {"limits": ["1/day"]}) for number in range(25)],
        )
    ).ok
    names, after = [], ""
    while True:
        answer = service.answer(Request("list", section="plans", after=after, limit=10))
        names += [item.name for item in answer.items]
        after = answer.next
        if not after:
            break
    assert names == ["p0", *(f"q{number:02d}" for number in range(25))]
    assert [item.name for item in service.answer(Request("list", section="plans", owner="file")).items] == [
        "p0"
    ]
    assert (
        len(service.answer(Request("list", section="plans", owner="managed", limit=10**9)).items)
        == 25
        <= LIST_MAX
    )


def test_it_loads_what_the_replica_holds_and_a_pair_that_does_not_fit_can_be_mended(
    service: Service, data: Path
) -> None:
    Replica(data / NAME).append([Change("plans", "p0", {}), Change("plans", "p1", {"limits": ["1/day"]})], 9)
    answer = service.answer(Request("load"))
    assert (answer.ok, answer.revision) == (False, 9)
    assert [one.code for one in answer.diagnostics] == ["duplicate_name"]
    assert not service.answer(Request("write", path=str(data / "out"), revision=1)).ok
    answer = service.answer(Request("apply", changes=[Change("plans", "p2", {"limits": ["1/day"]})]))
    assert (answer.ok, [one.code for one in answer.diagnostics]) == (False, ["duplicate_name"])
    answer = service.answer(Request("apply", changes=[Change("plans", "p0")]))
    assert answer.ok, answer.diagnostics
    assert [plan.name for plan in revision(service, data / "out").plans] == ["p0", "p1"]
    assert service.answer(Request("undo")).ok
    assert not service.answer(Request("write", path=str(data / "out"), revision=1)).ok


def test_every_line_has_one_answer_and_a_line_without_end_ends_it(data: Path) -> None:
    lines = [
        b"nonsense",
        b'{"op":"fly"}',
        b'{"op":"undo"}',
        b'{"op":"check","changes":[{"section":1}]}',
        b'{"op":"load"}',
        b'{"op":"lo',
    ]
    answers = io.BytesIO()
    made = Service(data)
    made._nice = 0
    serve(made, io.BytesIO(b"\n".join(lines)), answers)
    told = [msgspec.json.decode(line, type=Answer) for line in answers.getvalue().splitlines()]
    assert [one.ok for one in told] == [False, False, False, False, True]
    assert [one.message.split(":")[0] for one in told[:3]] == [
        "not a request",
        "there is no operation `fly`",
        "nothing is loaded",
    ]


def test_the_process_answers_and_ends_with_its_input_or_its_parent(data: Path) -> None:
    command = [sys.executable, "-m", "faregate.compile.service", "--data", str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(
            b'{"op":"load"}\n{"op":"write","path":"%b","revision":8}\n' % str(data / "out").encode()
        )
        assert process.returncode == 0
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["ok"] for answer in answers] == [True, True]
    assert answers[1]["base"] == digest_of((data / "base.json").read_bytes())
    assert encoded.decode((data / "out").read_bytes()).revision == 8
    parent = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE).pid, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", parent, *command], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    descriptor = -1
    try:
        descriptor = os.pidfd_open(child)
        import select

        assert select.select([descriptor], [], [], 10)[0], "it outlived its parent"
    except ProcessLookupError:
        pass
    finally:
        if descriptor >= 0:
            os.close(descriptor)
