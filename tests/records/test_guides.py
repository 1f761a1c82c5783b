"""The guides name what the code has: every member of a line, every metric, every reason to withhold a body."""

import re
from pathlib import Path

from faregate.records import bodies, lines
from faregate.records.families import FAMILIES, SERIES_MAX
from faregate.records.lines import FIELDS
from tests.records.calls import make_call
from tests.records.test_lines import render

GUIDES = Path(__file__).parents[2] / "docs" / "guides"


def test_the_sample_line_is_what_the_gateway_writes() -> None:
    sample = re.search(r"```json\n(.*?)\n```", (GUIDES / "access_log.md").read_text())
    assert sample is not None
    assert sample[1] == render(make_call())[0]


def test_every_member_of_a_line_is_explained_in_order() -> None:
    table = [
        line.split("|")[1]
        for line in (GUIDES / "access_log.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    named = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert named == list(FIELDS)


def test_every_metric_is_explained_with_its_labels() -> None:
    rows = [
        line.split("|")
        for line in (GUIDES / "metrics.md").read_text().splitlines()
        if line.startswith("| `faregate_")
    ]
    named = {
        name: set(re.findall(r"\w+", cells[2]))
        for cells in rows
        for name in re.findall(r"faregate_\w+", cells[1])
    }
    assert set(named) == set(FAMILIES)
    for family in FAMILIES.values():
        assert set(family.labels) <= named[family.name], family.name
    assert f"{SERIES_MAX:,} label" in (GUIDES / "metrics.md").read_text()


def test_every_reason_to_withhold_is_listed() -> None:
    source = Path(bodies.__file__).read_text() + Path(lines.__file__).read_text()
    reasons = set(re.findall(r'Unreadable\("(\w+)"\)', source)) | set(
        re.findall(r'withheld":"(\w+)"', source)
    )
    listed = re.search(r"`withheld` is one of (.*?)\n\n", (GUIDES / "masking.md").read_text(), re.DOTALL)
    assert listed is not None
    assert reasons == set(re.findall(r"`(\w+)`", listed[1])) - {"captured"}
