"""``faregate doctor [FILE]``: whether this machine is fit to run the gateway, line by line, with what to do.

Exit status 0: no problem (warnings may be shown); 1: a problem; 2: wrong usage. The report holds no secret
and can be handed on. Nothing is changed, and nothing is sent but connections to the targets and a question
to the ledger; ``--online`` fetches key sets too.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faregate.cli.doctor_findings import Finding
    from faregate.model.load import Loaded
    from faregate.snapshot.data import Snapshot

DEFAULT: Final = Path("faregate.yaml")
_PLACES_NAMED_MAX: Final = 5


def command(
    file: Annotated[
        Path | None, typer.Argument(help="The configuration file; faregate.yaml when there is one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Fetch the issuers' key sets as well.")] = False,
) -> None:
    """Look whether this machine is fit to run the gateway; exit status 1 if there is a problem."""
    from faregate.cli.doctor_findings import Level, as_json, count

    findings = examine(file, online=online)
    if json:
        print(as_json(findings))
    else:
        show(findings)
    if count(findings, Level.PROBLEM):
        raise typer.Exit(1)


def examine(file: Path | None, *, online: bool) -> "list[Finding]":
    """Every finding, of the machine first. ``file`` None: ``faregate.yaml`` if it is there."""
    from faregate.cli.doctor_audit import check_audit
    from faregate.cli.doctor_certificates import check_certificates
    from faregate.cli.doctor_credentials import check_credentials
    from faregate.cli.doctor_database import check_database
    from faregate.cli.doctor_findings import warning
    from faregate.cli.doctor_ledger import check_ledger
    from faregate.cli.doctor_machine import Machine, check_machine
    from faregate.cli.doctor_memory import check_memory
    from faregate.cli.doctor_network import check_network
    from faregate.cli.doctor_places import check_data, check_ports
    from faregate.cli.doctor_standing import check_running, stand_in
    from faregate.model.load import load

    snapshot: Snapshot | None = None
    whole = True
    if file is None and not DEFAULT.exists():
        told = [
            warning(
                "configuration",
                "none given, and no faregate.yaml here; only the machine was looked at",
                "`faregate doctor FILE`",
            )
        ]
    else:
        file = file or DEFAULT
        loaded = load(file, os.environ)
        snapshot, finding = _configuration(file, loaded)
        told = [finding]
        if snapshot is None:
            snapshot, whole, more = stand_in(file, loaded)
            told += more
    findings = [*check_machine(Machine.read(*((file,) if file else ())), snapshot), *told]
    if snapshot is None or file is None:
        return findings
    findings += check_running(Path(snapshot.gateway.data), file)
    findings += check_data(snapshot)
    findings += check_ports(snapshot)
    findings += check_audit(snapshot, time.time())
    if whole:
        findings.append(check_memory(snapshot))
        findings += check_certificates(snapshot, time.time())
        findings += check_credentials(snapshot, time.time())
        findings += asyncio.run(check_database(snapshot))
        findings += asyncio.run(check_ledger(snapshot))
        findings += asyncio.run(check_network(snapshot, online=online))
    return findings


def _configuration(file: Path, loaded: "Loaded") -> "tuple[Snapshot | None, Finding]":
    """The compiled file, and what ``faregate check`` says of it: places and codes, no text that could quote a
    value.
    """
    from faregate.cli.check import _counts
    from faregate.cli.doctor_findings import ok, problem, warning
    from faregate.compile.compiler import compile_config
    from faregate.model.report import summary

    snapshot, diagnostics = compile_config(loaded, 0)
    places = [f"{one.file}:{one.line}:{one.column} {one.code}" for one in diagnostics]
    more = len(places) - _PLACES_NAMED_MAX
    where = ", ".join(places[:_PLACES_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    advice = f"`faregate check {file}` says what is meant"
    if snapshot is None:
        return None, problem("configuration", f"{summary(diagnostics)}: {where}", advice)
    if diagnostics:
        return snapshot, warning(
            "configuration", f"{_counts(snapshot)}; {summary(diagnostics)}: {where}", advice
        )
    return snapshot, ok("configuration", _counts(snapshot))


def show(findings: "Sequence[Finding]") -> None:
    """The report as text; colour on a terminal only."""
    from faregate.cli.doctor_findings import COLOURS, verdict

    for finding in findings:
        level = f"{finding.level:<8}"
        if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
            level = typer.style(level, fg=COLOURS[finding.level])
        print(f"{level} {finding.check}: {finding.message}")
        if finding.advice:
            print(f"         {finding.advice}")
    print(verdict(findings))
