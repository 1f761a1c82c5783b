"""``faregate status``: what the running gateway runs, and its processes.

Exit status 0: it runs what the file said when last read; 1: it does not, or no gateway was found.
"""

import json as json_text
from pathlib import Path
from typing import Annotated

import typer


def command(
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("faregate.yaml"),
    data: Annotated[Path | None, typer.Option(help="The gateway's data folder, in place of FILE.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as a JSON object.")] = False,
) -> None:
    """Show what the running gateway runs."""
    from faregate.cli import gateways

    _, status = gateways.find(file, data)
    if json:
        print(json_text.dumps(status))
    else:
        print("\n".join(_lines(status)))
    if status.get("stale"):
        raise typer.Exit(1)


def _state(worker: dict[str, object]) -> str:
    if worker["pid"] is None:
        return "ended"
    return f"process {worker['pid']}, {'ready' if worker['ready'] else 'not ready'}"


def _lines(status: dict[str, object]) -> list[str]:
    listen, workers = status["listen"], status["workers"]
    assert isinstance(listen, list)
    assert isinstance(workers, list)
    lines = [
        f"faregate {status['version']}, process {status['pid']}",
        f"configuration  {status['config']}",
        f"data           {status['data']}",
        f"revision       {status['revision']}, {status['routes']} routes",
        f"listening on   {', '.join(map(str, listen)) or 'nothing any more'}",
        f"manager        {status['manager'] or 'off'}",
    ]
    if status.get("stopping"):
        lines.insert(1, "STOPPING       calls in progress end")
    if status.get("stale"):
        lines.insert(4, f"NOT THE FILE   {status['stale']}; the last good revision runs")
    lines += [
        f"worker {worker['index']:<8}{_state(worker)}, "
        f"revision {worker['revision']}, for {worker['seconds']:.0f} s"
        for worker in workers
    ]
    return lines
