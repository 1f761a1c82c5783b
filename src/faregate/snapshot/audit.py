"""What a snapshot says of the audit tree: whose it is, and when and where its checkpoints go."""

from faregate.snapshot.frozen import Frozen


class AuditTree(Frozen, frozen=True):
    """``origin``: the name that a new tree is signed under, empty for one of its own. ``publish``: the
    absolute path of the folder that checkpoints are copied to, or empty. ``every``: seconds, and ``records``:
    how many, between two checkpoints.
    """

    origin: str = ""
    publish: str = ""
    every: float = 10.0
    records: int = 1_000
