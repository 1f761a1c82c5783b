"""The masking vectors (tests/vectors/masking.json), by kind of row."""

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "vectors" / "masking.json"
ROWS: list[dict[str, Any]] = json.loads(_FILE.read_text())["rows"]


def rows(given: str, expected: str) -> list[Any]:
    """Pairs (given, expected) of the rows that have both."""
    return [
        (row["given"][given], row["expect"][expected])
        for row in ROWS
        if given in row["given"] and expected in row["expect"]
    ]


TEST_CARDS = [row["given"]["pan"] for row in ROWS if "brand" in row["expect"]]
