"""The guide to keys says what the program does: its command makes a good key, its figures of bounds are the program's."""

import re
import subprocess
import sys
from hashlib import sha256

from faregate.cli.doctor_credentials import DAYS
from faregate.compile.lint_callers import SOON_DAYS
from faregate.kernel import api_keys
from faregate.manager.usage import HOURS_MAX, OTHER, ROWS_MAX
from faregate.records.usage import FLUSH_EVERY_S, USES_MAX
from tests.docs.pages import DOCS, blocks

GUIDE = DOCS / "guides" / "keys.md"
TEXT = GUIDE.read_text(encoding="utf-8")


def test_the_command_makes_a_key_and_its_digest() -> None:
    (line,) = [
        block.text for block in blocks("") if block.page == GUIDE and block.text.startswith("python -c")
    ]
    code = re.fullmatch(r"python -c '(.*)'\n", line)
    assert code is not None
    ran = subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True, check=True)
    key, digest = ran.stdout.split()
    assert api_keys.checksum_ok(key.encode())
    assert sha256(key.encode()).hexdigest() == digest


def test_the_sample_key_has_the_form_and_is_shown_so() -> None:
    (sample,) = re.findall(r"^fg_live_\w+$", TEXT, re.MULTILINE)
    assert len(sample) == api_keys.KEY_LENGTH
    assert api_keys.checksum_ok(sample.encode())
    assert f"`{api_keys.shown(sample.encode())}`" in TEXT


def test_the_bounds_are_those_of_the_program() -> None:
    assert f"{USES_MAX:,} pairs" in TEXT
    assert f"the manager {ROWS_MAX:,} in memory" in TEXT
    assert f"every {FLUSH_EVERY_S:.0f} seconds" in TEXT
    assert f"`{OTHER}`" in TEXT
    assert f"within {SOON_DAYS} days" in TEXT
    assert f"within {DAYS[0]} day and within {DAYS[1]}" in TEXT
    assert (HOURS_MAX, api_keys.PEPPERS_MAX, api_keys.PEPPER_BYTES) == (24, 4, 32)
    assert "nothing for a day" in TEXT
    assert "At most four peppers" in TEXT
    assert "32 random bytes" in TEXT
