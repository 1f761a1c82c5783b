"""Every sample in the documentation is one that the program takes, or prints."""

import configparser
import json
import re
import shutil
from pathlib import Path

import pytest

from faregate.cli.app import COMMANDS
from faregate.cli.check import command as check_command
from faregate.compile import compile_config
from faregate.demo.folder import Ports, configuration
from faregate.gateway import canarying, commands, revisions, starting, supervisor, voice
from faregate.gateway.control import GRACE_S
from faregate.gateway.http1.answers import refusal_answer
from faregate.kernel import replica
from faregate.kernel.problems import Refusal
from faregate.manager import house, management
from faregate.manager.database import engine, envelopes
from faregate.manager.ledger import verdicts
from faregate.manager.people import machine
from faregate.manager.publishing import publisher, trying
from faregate.model.diagnostics import Diagnostic, has_errors
from faregate.model.load import load
from faregate.model.tree import SECTIONS
from faregate.model.yaml_text import YamlText
from faregate.records.lines import FIELDS
from faregate.snapshot import peppers
from faregate.stores.ledger import secrets as ledger_secrets
from tests.docs.pages import DOCS, ROOT, Block, blocks
from tests.docs.sample_files import lay_certificates, lay_document

RUNNING = DOCS / "guides" / "running.md"
COMPLETIONS = {
    "issuers": {"issuer": "https://id.acme.example", "jwks": "keys/acme.jwks.json", "audience": "payments", "algorithms": ["RS256", "ES256"]},
    "upstreams": {"targets": ["http://127.0.0.1:9001"]},
    "apis": {"upstream": "payments", "authenticate": ["api_key"], "routes": [{"match": "GET /payments/{id}"}]},
}  # fmt: skip
"""What a fragment may leave out of an entry."""
ENTRIES = {
    "issuers": ("acme-id", COMPLETIONS["issuers"]),
    "upstreams": ("payments", COMPLETIONS["upstreams"]),
    "plans": ("standard", {"limits": ["100/second"]}),
}  # fmt: skip
"""What a fragment may refer to without showing it."""


def completed(text: str) -> dict[str, object]:
    """The fragment as a whole configuration: only what it leaves out is added, nothing it says is changed."""
    source = YamlText(text)
    assert source.errors == []
    value = source.value
    if isinstance(value, list):  # a piece of a route list
        value = {"apis": {"payments": {"routes": value}}}
    tree = dict(value or {})
    for name, defaults in COMPLETIONS.items():
        section = tree.get(name)
        if isinstance(section, dict):
            tree[name] = {key: {**defaults, **entry} for key, entry in section.items()}
    for key, api in tree.get("apis", {}).items():
        api.setdefault("versions", {"v1": {"path": f"/{key}/v1"}})
    for name, (key, entry) in ENTRIES.items():
        section = tree.get(name, {})
        tree[name] = {key: entry, **section}
    return tree


def findings(folder: Path, tree: dict[str, object]) -> list[Diagnostic]:
    shutil.copytree(ROOT / "examples" / "keys", folder / "keys", dirs_exist_ok=True)
    lay_certificates(folder)
    lay_document(folder)
    file = folder / "sample.json"
    file.write_text(json.dumps(tree), encoding="utf-8")
    return compile_config(load(file, {}), 1)[1]


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.name)
def test_every_piece_of_configuration_is_one_that_check_takes(block: Block, tmp_path: Path) -> None:
    tree = completed(block.text)
    found = findings(tmp_path, tree)
    assert not has_errors(found), found


def test_a_wrong_sample_would_be_noticed(tmp_path: Path) -> None:
    found = findings(tmp_path, completed("plans: {standard: {limits: [5/sec]}}\napis: {a: {retries: 5}}\n"))
    assert {"bad_value", "unknown_key"} <= {one.code for one in found}


def test_samples_are_found_on_guides_policies_and_the_front_page() -> None:
    pages = {block.page.relative_to(ROOT).parts[:2] for block in blocks("yaml")}
    assert {("README.md",), ("docs", "policies"), ("docs", "guides"), ("docs", "tutorial.md")} <= pages
    names = {name for block in blocks("yaml") for name in re.findall(r"^(\w+):", block.text, re.MULTILINE)}
    assert names <= {*SECTIONS, "include"}


def test_the_front_page_works_as_it_is_copied(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    (whole,) = [block.text for block in blocks("yaml") if block.page == page]
    (tmp_path / "whole.yaml").write_text(whole, encoding="utf-8")
    assert compile_config(load(tmp_path / "whole.yaml", {}), 1)[1] == []
    calls = [block.text.replace("\\\n", "") for block in blocks("console") if block.page == page]
    payments = [line for text in calls for line in text.splitlines() if "curl" in line and " -d " in line]
    assert payments
    assert all("-H 'Idempotency-Key: " in line for line in payments)


def check_output(capsys: pytest.CaptureFixture[str], file: str) -> list[str]:
    with pytest.raises(BaseException):  # noqa: B017 - typer's Exit
        check_command(Path(file), json=False)
    return without_seconds(capsys.readouterr().out)


def without_seconds(text: str) -> list[str]:
    return re.sub(r"\([0-9.]+ s\)", "(s)", text).strip().splitlines()


def shown(page: str, call: str) -> list[str]:
    """What a page says that ``call`` prints."""
    (block,) = [
        block for block in blocks("console") if block.name.startswith(page) and f"$ {call}\n" in block.text
    ]
    return without_seconds(block.text.partition(f"$ {call}\n")[2])


def test_the_errors_shown_are_those_that_check_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DOCS / "reference" / "samples")
    assert check_output(capsys, "bad.yaml") == shown("docs/reference/commands.md", "faregate check bad.yaml")


@pytest.mark.parametrize(
    ("page", "file"), [("README.md", "changed.yaml"), ("docs/tutorial.md", "my-demo/changed.yaml")]
)
def test_the_mistake_in_the_tour_is_reported_as_shown(
    page: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = tmp_path / file
    (changed.parent / "keys").mkdir(parents=True)
    for name in ("corner-kiosk", "ledger-report", "you"):
        (changed.parent / "keys" / f"{name}.sha256").write_text(f"{len(name):064x}")
    shutil.copy(ROOT / "examples/keys/acme.jwks.json", changed.parent / "keys/demo-id.jwks.json")
    changed.write_text(configuration(Ports()).replace("plan: trial", "plan: trail"))
    assert check_output(capsys, file) == shown(page, f"faregate check {file}")


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block.name)
def test_every_json_sample_is_whole_and_in_the_order_of_the_program(block: Block) -> None:
    for line in block.text.splitlines():
        value = json.loads(line)
        if "code" in value:
            answer = refusal_answer(
                Refusal(value["code"]), value["request_id"].encode(), 0.0, close=False, head_only=False
            )
            assert answer.partition(b"\r\n\r\n")[2].decode() == line
        elif "withheld" not in value:
            assert list(value) == [name for name in FIELDS if name in value]


def test_the_refusal_on_the_front_page_is_the_one_the_gateway_writes() -> None:
    (line,) = re.findall(r"^\{\"type\".*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    value = json.loads(line)
    answer = refusal_answer(
        Refusal(value["code"]), value["request_id"].encode(), 0.0, close=False, head_only=False
    )
    assert answer.partition(b"\r\n\r\n")[2].decode() == line


def test_no_sample_shows_a_whole_card_number_but_what_a_caller_sends() -> None:
    for block in blocks("json", "text"):
        assert "4242424242424242" not in block.text, block.name


def test_the_systemd_unit_runs_commands_that_exist_and_waits_long_enough() -> None:
    (block,) = blocks("ini")
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read_string(block.text)
    service = unit["Service"]
    for key in ("ExecStart", "ExecReload"):
        program, command, file = service[key].split()
        assert program.endswith("/faregate")
        assert command in COMMANDS
        assert file.endswith("faregate.yaml")
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "all"), (
        "an upgrade changes the main process"
    )
    assert float(service["TimeoutStopSec"]) > GRACE_S + 4  # 2 s for the workers' ends, 2 s for the manager's
    assert f"{GRACE_S:.0f} seconds" in RUNNING.read_text()


def test_what_the_supervisor_is_shown_to_say_it_says() -> None:
    source, page = Path(voice.__file__).read_text(), RUNNING.read_text()
    for words in (
        "listening on ",
        "in all workers after ",
        "manager ended (",
        "starting another",
    ):
        assert words in source
        assert words in page
    assert "the configuration has errors" in Path(revisions.__file__).read_text()
    assert "; revision {revision} stays" in source
    assert "the configuration has errors; revision " in page


def test_the_files_of_the_data_folder_are_those_the_program_makes() -> None:
    modules = ("auditing", "starting", "reloading", "running", "supervisor", "worker_process")
    source = "".join(Path(supervisor.__file__).with_name(f"{name}.py").read_text() for name in modules)
    table = RUNNING.read_text().partition("## The data folder")[2].partition("## ")[0]
    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    made = {name for name in re.findall(r'data / "([\w.]+)"', source) if not name.endswith(".new")}
    made |= {starting.STARTING, starting.SUCCEEDING, commands.NAME}
    assert {"lock", "snapshot", "snapshot.offered", "digest.key", "counters.bin", "access.jsonl"} <= made
    assert made <= {name.rstrip("/") for name in named}
    assert named == {
        "access.jsonl",
        "digest.key",
        "snapshot.offered",
        "snapshot.starting",
        "snapshot.succeeding",
        "snapshot",
        "control",
        "counters.bin",
        "counters.bin.unreadable",
        "jwks/",
        "lock",
        "health.bin",
        "health.bin.lock",
        "audit/",
        ledger_secrets.FOLDER + "/",
        verdicts.FILE,
        peppers.FILE,
        "base.json",
        replica.NAME,
        publisher.SNAPSHOT,
        trying.SNAPSHOT,
        canarying.NAME,
        engine.FILE,
        envelopes.MASTER_FILE,
        machine.MACHINE_FILE,
        management.INTENT_FILE,
        house.GATEWAY_FILE,
    }
