"""Totals as Prometheus text, format 0.0.4: what ``/metrics`` answers."""

from collections.abc import Iterator
from typing import Final

from faregate.manager.totals import Distribution, Totals
from faregate.records.families import FAMILIES, Across, Family, Kind

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LABEL_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


def render(totals: Totals) -> str:
    """Every family that has a value, in the order of the table."""
    return "".join(line for family in FAMILIES.values() for line in _family(family, totals))


def _family(family: Family, totals: Totals) -> Iterator[str]:
    if family.kind is Kind.HISTOGRAM:
        lines = [line for one in totals.distributions(family) for line in _histogram(family, one)]
    else:
        lines = [
            f"{family.name}{_braced(sample.labels)} {sample.value!r}\n" for sample in totals.samples(family)
        ]
    if not lines and family.kind is Kind.COUNTER and not family.labels and family.across is not Across.EACH:
        lines = [f"{family.name} 0\n"]  # growth from nothing must be seen as growth
    if lines:
        yield f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}\n"
        yield f"# TYPE {family.name} {family.kind.value}\n"
        yield from lines


def _histogram(family: Family, one: Distribution) -> Iterator[str]:
    labels = _braced(one.labels)
    head = f"{family.name}_bucket{labels[:-1]},le=" if labels else f"{family.name}_bucket{{le="
    running = 0
    for bound_us, count in zip((*family.buckets_us, None), one.counts, strict=True):
        running += count
        bound = "+Inf" if bound_us is None else repr(bound_us / 1e6)
        yield f'{head}"{bound}"}} {running}\n'
    yield f"{family.name}_sum{labels} {one.sum_us / 1e6!r}\n"
    yield f"{family.name}_count{labels} {running}\n"


def _braced(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in labels) + "}"
