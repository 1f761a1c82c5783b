"""`python -m benchmarks`: finds the programs, measures, prints, writes. Exit 0 done, 1 a contender failed,
2 usage.

`--quick` runs one short round, to see that everything works; its figures mean nothing.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from benchmarks.bootstrap import MissingProgramError, install_missing, require_programs
from benchmarks.contenders.base import Ground
from benchmarks.front import make_certificate, run_front
from benchmarks.ledger import run_ledger
from benchmarks.load import LoadError
from benchmarks.machine import describe_machine, describe_versions
from benchmarks.peers import CONTENDERS, PeersPlan, run_peers
from benchmarks.processes import StartError, cores, free_ports
from benchmarks.proofs import ProofError
from benchmarks.report import front_text, ledger_text, peers_text, scale_text, write_results
from benchmarks.scale import run_scale
from benchmarks.tokens import load_tokens

PEERS: Final = ("haproxy", "envoy", "h2load")
"""Programs that scenarios without other contenders do not run."""
HERE: Final = Path(__file__).resolve().parent
WORK: Final = HERE / ".work"
RESULTS: Final = HERE / "results"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line. Exits with 2 on a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--scenario", choices=("peers", "scale", "front", "ledger", "all"), default="all")
    parser.add_argument("--contenders", default=",".join(CONTENDERS), help="comma-separated, of: %(default)s")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=30_000, help="calls in a round")
    parser.add_argument("--no-latency", action="store_true", help="leave out the fixed-rate runs")
    parser.add_argument(
        "--output", type=Path, help="folder of the results (default: benchmarks/results, quick: .work)"
    )
    parser.add_argument("--python", default=sys.executable, help="interpreter that runs Faregate (same x.y)")
    parser.add_argument("--name", default="latest", help="name of the result files")
    options = parser.parse_args(arguments)
    unknown = set(options.contenders.split(",")) - CONTENDERS.keys()
    if unknown or options.rounds < 1 or options.calls < 1000:
        parser.error(
            f"unknown contender {', '.join(unknown)}" if unknown else "at least 1 round of 1000 calls"
        )
    return options


def make_plan(options: argparse.Namespace) -> PeersPlan:
    """What the options ask for."""
    plan = PeersPlan(tuple(options.contenders.split(",")), options.rounds, options.calls)
    if options.quick:
        plan = replace(
            plan, rounds=1, calls=3_000, warm_calls=1_000, rates=(1_000,), latency_rounds=1, latency_seconds=1
        )
    return replace(plan, latency_rounds=0) if options.no_latency else plan


def _end_on_signal(number: int, _: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt(signal.Signals(number).name)


def clear_work(work: Path) -> None:
    """Removes what a finished run left (large logs); a failed one keeps it for looking into."""
    for entry in work.iterdir():
        if entry.name in {"tokens", "quick"}:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def run(options: argparse.Namespace) -> None:
    """Measures what was asked for and writes the results. Raises the errors of the scenarios."""
    install_missing()
    programs = require_programs(PEERS if options.scenario in {"scale", "ledger"} else ())
    plan = make_plan(options)
    WORK.mkdir(parents=True, exist_ok=True)
    core = cores()
    if core is None:
        print(
            "benchmarks: one core only, shared by proxies and load; calls/s mean little",
            flush=True,
        )
    series = load_tokens(WORK / "tokens", plan.unique_tokens, len(os.sched_getaffinity(0)))
    targets = free_ports(2)
    proxy_core, load_core = core or (None, None)
    ground = Ground(programs, WORK, (targets[0], targets[1]), series, proxy_core, load_core, options.python)
    about: dict[str, object] = {
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "versions": describe_versions(programs, options.python),
        "plan": {"rounds": plan.rounds, "calls": plan.calls, "rates": plan.rates, "quick": options.quick},
        "load_average_before": os.getloadavg()[0],
    }
    began = time.monotonic()
    peers = scale = front = ledger = None
    if options.scenario in {"peers", "all"}:
        print("peers: the same calls through everybody", flush=True)
        peers = run_peers(ground, plan)
        print("\n" + peers_text(peers), flush=True)
    if options.scenario in {"scale", "all"}:
        print("scale: small and large configuration", flush=True)
        scale = run_scale(ground, plan.rounds, plan.calls, warm_all=not options.quick)
        print("\n" + scale_text(scale), flush=True)
    if options.scenario in {"front", "all"}:
        print("front: TLS, HTTP/2, idle connections, large bodies, reloads", flush=True)
        certificate = make_certificate(WORK / "front.pem")
        names = [name for name in plan.contenders if name != "envoy_cached"]
        front = run_front(replace(ground, certificate=certificate), names, plan.rounds, plan.calls)
        print("\n" + front_text(front), flush=True)
    if options.scenario in {"ledger", "all"}:
        print("ledger: payments that run once, in each store that is here", flush=True)
        ledger = run_ledger(ground, plan.rounds, plan.calls, plan.latency_seconds)
        print("\n" + ledger_text(ledger), flush=True)
    folder = options.output or (WORK / "quick" if options.quick else RESULTS)
    path = write_results(folder, options.name, about, peers, scale, front, ledger)
    clear_work(WORK)
    print(f"{time.monotonic() - began:.0f} s; results: {path}", flush=True)


def main() -> int:
    """Runs; errors in one line."""
    options = parse_arguments(sys.argv[1:])
    # SIGINT too: a shell starts its background jobs with it ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_on_signal)
    try:
        run(options)
    except (MissingProgramError, StartError, ProofError, LoadError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted, everything stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
