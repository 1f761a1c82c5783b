"""CPU per call as a bar chart in SVG, written by hand: a plot library would weigh more than all the rest of
this folder.
"""

from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.summary import Line

_WIDTH: Final = 760
_LEFT: Final = 190
_RIGHT: Final = 90
_BAR: Final = 18
_GAP: Final = 8
_COLOURS: Final = {"faregate": "#0b7a75"}
_OTHER_COLOUR: Final = "#9aa5b1"


def bar_chart(title: str, note: str, lines: Sequence[Line], titles: dict[str, str]) -> str:
    """An SVG of median CPU per call, one bar a line, whiskers from the smallest to the largest round."""
    top = max(line.cpu_us.high for line in lines)
    scale = (_WIDTH - _LEFT - _RIGHT) / top
    parts: list[str] = []
    y = 64
    series = ""
    for line in lines:
        if line.series != series:
            series = line.series
            y += 14
            parts.append(f'<text x="16" y="{y}" class="series">{escape(series)}</text>')
            y += 10
        parts.append(_bar(line, titles.get(line.contender, line.contender), y, scale))
        y += _BAR + _GAP
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1f2933}.title{font-size:16px;font-weight:600}"
        ".series{font-weight:600}.note{font-size:11px;fill:#616e7c}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 20}" role="img" '
        f'aria-label="{escape(title)}"><style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="16" y="28" class="title">{escape(title)}</text>'
        f'<text x="16" y="48" class="note">{escape(note)}</text>' + "".join(parts) + "</svg>\n"
    )


def _bar(line: Line, name: str, y: int, scale: float) -> str:
    colour = _COLOURS.get(line.contender, _OTHER_COLOUR)
    width, low, high = (value * scale for value in (line.cpu_us.median, line.cpu_us.low, line.cpu_us.high))
    middle = y + _BAR / 2
    return (
        f'<text x="{_LEFT - 8}" y="{y + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>'
        f'<path d="M{_LEFT + low:.1f} {middle}H{_LEFT + high:.1f}" stroke="#1f2933" stroke-width="1.5"/>'
        f'<text x="{_LEFT + max(width, high) + 8:.1f}" y="{y + 14}">{line.cpu_us.median:.1f} µs</text>'
    )
