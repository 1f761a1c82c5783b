"""What does not ask a manager loads no client, and no HTTP."""

import subprocess
import sys
from pathlib import Path

import pytest

REFUSING = """
import sys
sys.modules["httpx2"] = sys.modules["faregate.client"] = None  # whoever imports them is refused
from faregate.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "gateway.yaml"], ["plan", "--help"]], ids=" ".join
)
def test_a_command_that_asks_nobody_loads_no_client(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("gateway: {data: ./data}\n")
    ended = subprocess.run(
        [sys.executable, "-c", REFUSING, *arguments],
        capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path,
    )  # fmt: skip
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stdout + ended.stderr
