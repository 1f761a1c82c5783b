"""Results as people and programs read them: tables on the terminal, one JSON file, one plot."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.figures import spread
from benchmarks.front import RELOAD_RATE, FrontResult
from benchmarks.ledger import RATE, LedgerResult
from benchmarks.peers import CONTENDERS, PeersResult
from benchmarks.plot import bar_chart
from benchmarks.scale import ScaleResult
from benchmarks.summary import Line, Ratio, latency_lines, lines, ratios, scale_ratios


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to their widest cell; the first two to the left, the rest to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    text = []
    for row in [head, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text) + "\n"


def _cpu_table(all_lines: Sequence[Line]) -> str:
    rows = [
        [
            line.series,
            line.contender,
            line.cpu_us.text(),
            line.calls_per_second.text(0),
            f"{line.resident_bytes / (1 << 20):.0f}",
            "  ".join(f"{role} {value:.2f}" for role, value in line.cpu_us_by_role.items()),
        ]
        for line in all_lines
    ]
    return table(["series", "contender", "CPU us/call", "calls/s", "RSS MiB", "CPU us/call by process"], rows)


def _ratio_table(all_ratios: Sequence[Ratio], ours: str) -> str:
    rows = [
        [
            each.series,
            f"{ours} / {each.against}",
            each.ratio.text(2),
            f"{each.most:.2f}" if each.most else "-",
            each.verdict,
        ]
        for each in all_ratios
    ]
    return table(["series", "CPU per call", "ratio", "at most", "promise"], rows)


def peers_text(result: PeersResult) -> str:
    """The tables of the scenario `peers`; figures are medians (smallest-largest)."""
    parts = [_cpu_table(lines(result.rounds))]
    if found := ratios(result.rounds):
        parts.append(_ratio_table(found, "faregate"))
    latency = [
        [f"{line.rate}/s", line.contender, line.p50_us.text(0), line.p99_us.text(0)]
        for line in latency_lines(result.latency)
    ]
    if latency:
        parts.append(table(["rate", "contender", "p50 us", "p99 us"], latency))
    return "\n".join(parts)


def scale_text(result: ScaleResult) -> str:
    """The tables of the scenario `scale`."""
    starts = [[name, f"{seconds:.2f}"] for name, seconds in result.start_seconds.items()]
    memory = [
        [each.contender, role, f"{size / (1 << 20):.0f}"]
        for each in {each.contender: each for each in result.rounds}.values()
        for role, size in each.resident_bytes.items()
    ]
    return "\n".join(
        [
            _cpu_table(lines(result.rounds)),
            _ratio_table(scale_ratios(result.rounds), "large"),
            table(["configuration", "start to first answer, s"], starts),
            table(["configuration", "process", "RSS MiB"], memory),
        ]
    )


def front_text(result: FrontResult) -> str:
    """The tables of the scenario `front`."""
    idle = [[name, f"{cost / 1024:.1f}"] for name, cost in result.idle_bytes.items()]
    reload = []
    for contender in dict.fromkeys(each.contender for _, each in result.reload):
        for what in ("calm", "reload"):
            mine = [e.result for kind, e in result.reload if (kind, e.contender) == (what, contender)]
            p50, p99 = spread([each.p50_us for each in mine]), spread([each.p99_us for each in mine])
            reload.append([contender, what, p50.text(0), p99.text(0)])
    return "\n".join(
        [
            _cpu_table(lines(result.rounds)),
            _ratio_table(ratios(result.rounds), "faregate"),
            table(["contender", "KiB resident per idle connection"], idle),
            table(["contender", f"at {RELOAD_RATE}/s", "p50 us", "p99 us"], reload),
        ]
    )


def ledger_text(result: LedgerResult) -> str:
    """The tables of the scenario `ledger`."""
    ratio_rows = [
        [
            each.series,
            each.base,
            each.store,
            each.ratio.text(2),
            f"{each.most:.2f}" if each.most else "-",
            each.verdict,
        ]
        for each in result.ratios()
    ]
    busy = []
    for name, values in result.p99_us.items():
        store, series = name.split(" ")
        busy.append([series, store, spread([value / 1000 for value in values]).text(1)])
    latency = [
        [series, each.contender, f"{each.result.p50_us:.0f}", f"{each.result.p99_us:.0f}"]
        for series, each in result.latency
    ]
    against = "CPU per call, the store's own apart"
    parts = [
        _cpu_table(lines(result.rounds)),
        table(["series", "against", "store", against, "at most", "promise"], ratio_rows),
        table(["series", "store", "p99 ms, 64 connections, as fast as answers come"], busy),
        table(["series", f"store, at {RATE}/s", "p50 us", "p99 us"], latency),
    ]
    missing = (f"{name}: not measured, its programs are not here\n" for name in result.missing)
    return "\n".join([*parts, *missing])


def write_results(
    folder: Path,
    name: str,
    about: dict[str, object],
    peers: PeersResult | None,
    scale: ScaleResult | None,
    front: FrontResult | None = None,
    ledger: LedgerResult | None = None,
) -> Path:
    """Writes ``name``.json, .txt and .svg into ``folder``; returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    summary: dict[str, object] = {}
    text = []
    if peers is not None:
        peer_lines = lines(peers.rounds)
        summary["peers"] = {
            "lines": [asdict(each) for each in peer_lines],
            "ratios": [asdict(each) | {"verdict": each.verdict} for each in ratios(peers.rounds)],
            "latency": [asdict(each) for each in latency_lines(peers.latency)],
        }
        text.append(peers_text(peers))
        titles = {kind.name: kind.title for kind in CONTENDERS.values()}
        note = "Median of the rounds, line from smallest to largest; one core; lower is better"
        chart = bar_chart("CPU per call, microseconds", note, peer_lines, titles)
        (folder / f"{name}.svg").write_text(chart)
    if scale is not None:
        found = [asdict(each) | {"verdict": each.verdict} for each in scale_ratios(scale.rounds)]
        summary["scale"] = {"lines": [asdict(each) for each in lines(scale.rounds)], "ratios": found}
        text.append(scale_text(scale))
    if front is not None:
        summary["front"] = {
            "lines": [asdict(each) for each in lines(front.rounds)],
            "ratios": [asdict(each) | {"verdict": each.verdict} for each in ratios(front.rounds)],
            "idle_bytes": front.idle_bytes,
        }
        text.append(front_text(front))
    if ledger is not None:
        summary["ledger"] = {
            "lines": [asdict(each) for each in lines(ledger.rounds)],
            "ratios": [asdict(each) | {"verdict": each.verdict} for each in ledger.ratios()],
            "p99_us": ledger.p99_us,
            "missing": ledger.missing,
        }
        text.append(ledger_text(ledger))
    (folder / f"{name}.txt").write_text("\n".join(text))
    document = {
        "format": 1,
        **about,
        "summary": summary,
        "peers": asdict(peers) if peers is not None else None,
        "scale": asdict(scale) if scale is not None else None,
        "front": asdict(front) if front is not None else None,
        "ledger": asdict(ledger) if ledger is not None else None,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path
