"""The peppers of the data folder, for the snapshot; and whether every key's record names one of them.

A snapshot without a pepper would refuse the keys that need it, so a file that is gone or damaged is an error:
the gateway stays on its last good revision, which carries the peppers.
"""

from pathlib import Path

from faregate.compile.key_material import resolve
from faregate.compile.references import report_unknown
from faregate.compile.walk import ANY, mapping, matches
from faregate.model.diagnostics import Findings
from faregate.model.interpolate import Unfilled
from faregate.model.tree import Tree
from faregate.snapshot.peppers import FILE, Pepper, PepperFault, read_peppers

_DATA_DEFAULT = "./faregate-data"


def check_peppers(tree: Tree, findings: Findings) -> tuple[Pepper, ...]:
    """All peppers of the configured data folder, newest first, those that no key names as well."""
    written = mapping(tree.data.get("gateway")).get("data", _DATA_DEFAULT)
    if not isinstance(written, str) or isinstance(written, Unfilled):
        return ()
    folder = Path(resolve(tree, ("gateway", "data"), written))
    try:
        peppers = read_peppers(folder)
    except PepperFault as error:
        message = f"{folder / FILE}: {error}"
        findings.add(
            "file_missing",
            ("gateway", "data"),
            message,
            expected="the file as the manager wrote it, or a copy of it",
        )
        return ()
    known = {pepper.id: None for pepper in peppers}
    for path, name in matches(tree.data, ("consumers", ANY, "credentials", ANY, "api_key", "hmac", "pepper")):
        if isinstance(name, str) and name not in known:
            report_unknown(path, name, f"pepper in {folder / FILE}", known, findings)
    return peppers
