"""What the admin API answers, as dictionaries with declared members. A test holds them to its document."""

from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

Json: TypeAlias = dict[str, Any]
Sections: TypeAlias = dict[str, dict[str, dict[str, Any]]]
"""Sections of the configuration and their entries, as files have them."""
Owner: TypeAlias = Literal["file", "database"]
State: TypeAlias = Literal["draft", "active", "deprecated", "retired"]


class Entry(TypedDict):
    """An entry as it stands. Secrets in ``spec`` read ``***``; ``revision``: the one that last changed it, 0
    for what the file owns.
    """

    name: str
    owner: Owner
    team: str
    revision: int
    etag: str
    spec: Json


class Part(TypedDict):
    """A version, a route or a target as it stands."""

    name: str
    owner: Owner
    etag: str
    spec: Json | str


class KeyMade(TypedDict):
    """``secret`` is shown here and nowhere else."""

    credential: Entry
    secret: str
    published: bool


class Applied(TypedDict):
    """``revision`` None: nothing changed. ``published``: every worker of the manager's machine runs it."""

    revision: int | None
    published: bool


class Difference(TypedDict):
    """One field that differs; None: absent."""

    path: str
    before: NotRequired[Any]
    after: NotRequired[Any]


class Diagnostic(TypedDict):
    """What is wrong with a configuration, or unwise."""

    level: Literal["error", "warning"]
    code: str
    path: NotRequired[str]
    message: str
    expected: NotRequired[str]
    nearest: NotRequired[str]


class PlacedDiagnostic(Diagnostic):
    """``line`` and ``column`` count from 1 in the text; 0: not known."""

    line: NotRequired[int]
    column: NotRequired[int]


class Plan(TypedDict):
    """What would change."""

    creates: int
    updates: int
    deletes: int
    differences: list[Difference]
    diagnostics: list[Diagnostic]


class Revision(TypedDict):
    """A numbered state of the configuration. ``digest``: SHA-256 of all differences."""

    number: int
    time: str
    kind: str
    author: str
    reason: str
    changes: int
    digest: str
    rolled_back_to: NotRequired[int | None]
    change_request: NotRequired[str | None]
    audit_seq: NotRequired[int | None]


class RevisionShown(Revision):
    """With what it changed."""

    differences: list[Difference]


class Configuration(TypedDict):
    """Everything that may be seen."""

    sections: Sections
    revision: int


class CanaryArm(TypedDict):
    """What came of the calls of one revision since the canary began. Times to 9 %; None without any call."""

    calls: int
    failures: int
    failure_rate: float
    p50_ms: float | None
    p99_ms: float | None


class CanaryTest(TypedDict):
    """A sequential test of being worse: the canary is stopped when ``largest`` reaches ``bound``."""

    evidence: float
    largest: float
    bound: float
    p_value: float
    old_calls: int
    old_hits: int
    new_calls: int
    new_hits: int


class Canary(TypedDict):
    """``base``: the revision that it is made of, and that the other calls meet. ``stopped``: because it was
    worse. ``slow_calls``: None while it is not known which calls are slow.
    """

    revision: int
    base: int
    state: Literal["running", "promoted", "stopped", "abandoned"]
    reason: str
    author: str
    began: str
    ended: str | None
    percent: int
    consumers: list[str]
    for_s: float
    promote: bool
    old: CanaryArm
    new: CanaryArm
    slow_ms: float | None
    failures: CanaryTest
    slow_calls: CanaryTest | None


class Gateway(TypedDict):
    """One machine. ``current``: it runs the newest revision."""

    id: str
    host: str
    revision: int
    current: bool
    acknowledged: str
    seen: str
    workers: int
    failure: str


class Status(TypedDict):
    """``revision``: the newest; ``pending``: gateways that do not run it yet."""

    revision: int
    pending: int
    gateways: list[Gateway]


class Caller(TypedDict):
    """Calls with one credential to one version. ``share``: of all calls to that version, 0 to 1."""

    consumer: str
    credential: str
    api: str
    version: str
    calls: int
    errors: int
    share: float
    last_seen: str


class Call(TypedDict):
    """The newest call with an id, a line of the access log. ``others``: further ones that carried the id."""

    call: Json
    others: int


class CallExplained(Call):
    """Why it ended so: in a line, then each reason as a sentence, who and what by name, and what to do."""

    headline: str
    because: list[str]
    facts: dict[str, str]
    advice: list[str]


class AuditRecord(TypedDict):
    """A record of the audit tree. ``leaf_hash``: SHA-256 of its leaf, in hex."""

    seq: int
    time: str
    type: str
    actor: str
    object: str
    detail: Json
    prev: str
    leaf_hash: str


class AuditProven(TypedDict):
    """``proof``: what ``faregate audit verify --proof`` checks; None while it is in no signed tree."""

    record: AuditRecord
    proof: Json | None


class Checkpoint(TypedDict):
    """``note``: as it was signed (C2SP signed note); ``key``: the verifier key; ``root`` in hex."""

    origin: str
    size: int
    root: str
    note: str
    key: str


class LedgerRecord(TypedDict):
    """Times are seconds since the epoch; what does not apply is None."""

    id: str
    state: str
    since: float
    age_s: float
    expires: float | None
    consumer: str
    api: str
    version: str
    route: str
    method: str
    path: str
    request_id: str
    called: float | None
    resolves: bool
    tries: int
    by: str | None
    note: str | None


class LedgerShown(LedgerRecord):
    """``answer``: what is stored of the answer, masked; None while the call is not completed."""

    answer: Json | None


class Checked(TypedDict):
    """``more``: diagnostics that are not told. ``${...}`` is not filled in, what hangs on it not judged."""

    ok: bool
    diagnostics: list[PlacedDiagnostic]
    more: int


class Imported(TypedDict):
    """``notes``: what could not be mapped."""

    configuration: Json
    yaml: str
    notes: list[str]


class ContractChange(TypedDict):
    """One change; ``lost``: a schema of what breaks, where it can be said."""

    breaking: bool
    kind: str
    operation: str
    pointer: str
    value: str
    message: str
    lost: str


class ContractDiff(TypedDict):
    """``more``: changes that are not told."""

    breaking: int
    changes: list[ContractChange]
    more: int


class DataKey(TypedDict):
    """``retired``: it seals nothing new, and opens what it sealed."""

    id: str
    created: str
    retired: str | None


class Secrets(TypedDict):
    """``resealing``: values still sealed by a retired data key, and being sealed anew."""

    master_key: str
    data_keys: list[DataKey]
    peppers: list[str]
    resealing: int


class Rotated(TypedDict):
    """``id`` names the new one."""

    what: str
    id: str
