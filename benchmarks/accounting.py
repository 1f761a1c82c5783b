"""What processes used, as the kernel counted it: CPU from /proc/PID/task/*/schedstat, memory from
/proc/PID/status.

schedstat counts nanoseconds where utime and stime of /proc/PID/stat count ticks of 10 ms. A thread that
ended between two readings would be missing from the second, so ``cpu_used_us`` refuses a negative
difference instead of hiding it.
"""

from collections.abc import Iterable
from pathlib import Path


def parse_stat_parent(text: str) -> int:
    """Parent process id out of /proc/PID/stat; the name field may hold spaces and brackets (proc(5))."""
    return int(text[text.rindex(")") + 1 :].split()[1])


def process_tree(root: int) -> list[int]:
    """``root`` and all living descendants, parents before children; empty when root is gone."""
    children: dict[int, list[int]] = {}
    alive: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = parse_stat_parent((entry / "stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
            alive.add(int(entry.name))
            children.setdefault(parent, []).append(int(entry.name))
    tree = [root] if root in alive else []
    for pid in tree:
        tree.extend(children.get(pid, ()))
    return tree


def process_cpu_ns(pid: int) -> int:
    """CPU nanoseconds of all living threads of ``pid`` since they started; 0 when it is gone."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return total
    return total


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU nanoseconds of several processes."""
    return sum(process_cpu_ns(pid) for pid in pids)


def cpu_used_us(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    """Microseconds per role between two readings. Raises ValueError when a role lost time: a
    process ended.
    """
    used = {role: (after.get(role, 0) - start) / 1000 for role, start in before.items()}
    if any(value < 0 for value in used.values()):
        raise ValueError(f"a process ended during the round: {used}")
    return used


def parse_resident_bytes(text: str) -> int:
    """VmRSS of /proc/PID/status in bytes; 0 for a kernel thread, which has none."""
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def resident_bytes(pids: Iterable[int]) -> int:
    """Resident memory of several processes; pages they share count once for each."""
    total = 0
    for pid in pids:
        try:
            total += parse_resident_bytes(Path(f"/proc/{pid}/status").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total
