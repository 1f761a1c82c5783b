"""What the commands over the admin API share: where the manager is, who asks, and how a refusal reads.

The manager of this machine is found by the gateway's file or data folder, its token lies in the latter;
``--manager`` and ``--token`` name another. Exit status 1: refused or not reached; 3: taken, and waiting for a
second person's approval.
"""

import json as json_text
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import typer

from faregate.cli.errors import CommandError

if TYPE_CHECKING:
    from faregate.client import Client, Refused, Waiting

WAITING: Final = 3
DEFAULT: Final = Path("faregate.yaml")
_NO_NAMES: Final[Mapping[str, str]] = MappingProxyType({})
_SESSION: Final = "fgs_"
"""What the secret of a session begins with."""

Manager = Annotated[str, typer.Option(help="URL of another manager than this machine's.")]
Token = Annotated[str, typer.Option(help="A token of the manager; else the one in the data folder.")]
Config = Annotated[Path | None, typer.Option(help="The file of the gateway whose manager is meant.")]
Data = Annotated[Path | None, typer.Option(help="The data folder of that gateway, in place of its file.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the revision and in the audit tree.")]
Team = Annotated[str, typer.Option(help="The team whose entries are meant.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Force = Annotated[bool, typer.Option("--force", help="Also what guards callers: used versions, contracts.")]
Propose = Annotated[
    bool, typer.Option("--propose", help="Leave it to a second person, even if none is needed.")
]
At = Annotated[str, typer.Option(help="When it shall come about, as 2026-12-01T06:00:00Z.")]
Window = Annotated[str, typer.Option(help="How late after that at most; 1h if not given.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Wishes(NamedTuple):
    """How a write shall come about, as the options say."""

    propose: bool
    at: str
    window: str

    def tell(self, client: "Client") -> None:
        """Raises CommandError."""
        from faregate.kernel.units import parse_duration_ms

        if self.window and not self.at:
            raise CommandError("--window is of a later hour: say --at too", 2)
        try:
            window_s = parse_duration_ms(self.window) // 1000 if self.window else 0
        except ValueError as error:
            raise CommandError(f"--window: {error}", 2) from None
        if self.window and not window_s:
            raise CommandError(f"--window: {self.window!r} is less than a second", 2)
        client.wishing(propose=self.propose, activate_at=self.at, window_s=window_s)


class Where(NamedTuple):
    """Which manager, as the options say. ``file``: where to look when they say nothing."""

    manager: str
    token: str
    config: Path | None
    data: Path | None
    file: Path | None = None
    json: bool = False
    """How what is shown once is printed where a change waits."""
    anybody: bool = False
    """Whoever asks needs no token: is about to sign in."""
    wishes: "Wishes | None" = None
    options: Mapping[str, str] = _NO_NAMES
    """What the command line calls members of the admin API (``option_names``)."""


class Place(NamedTuple):
    """Which manager, found. ``data``: the data folder of its gateway, None for one of another machine."""

    url: str
    token: str
    data: Path | None


def place_of(where: Where) -> Place:
    """Raises CommandError."""
    if where.manager:
        if not where.manager.startswith(("http://", "https://")):
            raise CommandError(f"--manager: {where.manager!r} is not a URL such as http://127.0.0.1:9090", 2)
        token = "" if where.anybody else where.token or _token_in(where.data)
        return Place(where.manager, token, where.data)
    from faregate.cli import gateways
    from faregate.client.finding import NoManager, at

    file = where.config or (where.file if where.file and not DEFAULT.exists() else DEFAULT)
    folder, status = gateways.find(file, where.data)
    if where.token or where.anybody:
        url = status.get("manager")
        if not isinstance(url, str):
            raise CommandError(f"the gateway on {folder} runs with `manager: off`")
        return Place(url, "" if where.anybody else where.token, folder)
    try:
        found = at(folder, status)
    except NoManager as error:
        raise CommandError(str(error)) from None
    return Place(found.url, found.token, found.data)


def _token_in(data: Path | None) -> str:
    if data is None:
        raise CommandError("--token is needed for the manager of another machine", 2)
    from faregate.client.finding import TOKEN_FILE

    try:
        return (data / TOKEN_FILE).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"no token in {data / TOKEN_FILE}: {error}; give --token") from None


@contextmanager
def connected(where: Where) -> "Iterator[Client]":
    """A client of the manager; what goes wrong with it becomes what the command says. Raises CommandError."""
    from faregate.client import Client, ClientError, Refused, Unreachable, Waiting

    place = place_of(where)
    try:
        client = Client(place.url, place.token)
    except ClientError as error:
        raise CommandError(f"--manager: {error}", 2) from None
    with client:
        if where.wishes is not None:
            where.wishes.tell(client)
        try:
            yield client
        except Refused as refused:
            raise said(refused, place, where.options) from None
        except Waiting as waiting:
            if waiting.secrets:  # shown now or never
                told = dict(waiting.secrets)
                print(json_text.dumps(told) if where.json else "\n".join(told.values()))
            raise _waits(waiting) from None
        except Unreachable as error:
            hint = "" if "speaks http" in str(error) else "; is the gateway running?"
            raise CommandError(f"{error}{hint}") from None
        except ClientError as error:  # nothing was sent
            raise CommandError(str(error)) from None


def _waits(waiting: "Waiting") -> CommandError:
    told = {name: one for name, one in waiting.members.items() if name not in waiting.secrets}
    approvals = waiting.approvals_needed
    if told.get("state") == "draft":
        what = (
            "a token made it: a person who is signed in (`faregate login`) makes it theirs with "
            f"`faregate admin change_propose --param change={waiting.id}`, another approves"
        )
    elif approvals:
        what = "it waits for " + (
            "a second person's approval" if approvals == 1 else f"{approvals} others' approval"
        )
    else:
        what = f"it waits for its hour, {told.get('activate_at', '')}"
    return CommandError(
        f"not in effect yet, change request {waiting.id} ({told.get('risk', '')}): {what}",
        WAITING,
        facts={"change": told},
    )


def said(refused: "Refused", place: Place, options: Mapping[str, str] = _NO_NAMES) -> CommandError:
    """A refusal in words, with everything that it names, as ``options`` call it."""
    message, before = refused.detail, ""
    if refused.status == 401 and place.token:
        message = f"the manager at {place.url} does not accept the token; {_own_token(place)}"
    elif refused.status == 412:
        message = f"{refused.detail} Read it again, then decide."
        if refused.diff:
            from faregate.cli.differences import lines

            before = "\n".join(["what stands there now, beside what was read:", *lines(refused.diff), ""])
    elif refused.problem.get("callers") or refused.problem.get("changes"):
        before = "".join(f"{line}\n" for line in _guarded(refused))
    elif refused.diagnostics:
        from faregate.cli.option_names import as_options

        before = "".join(f"{one}\n" for one in told(as_options(refused.diagnostics, options)))
        count = len(refused.diagnostics)
        message = (
            f"{count} error{'s' * (count != 1)}; nothing was changed" if refused.status == 422 else message
        )
    elif refused.status == 403 and "sign" in refused.detail and not place.token.startswith(_SESSION):
        message = f"{refused.detail} As a person: export FAREGATE_TOKEN=$(faregate login NAME)"
    return CommandError(
        f"{message} [{refused.code}]",
        before=before,
        facts={"problem": refused.problem | {"status": refused.status}},
    )


def _guarded(refused: "Refused") -> list[str]:
    """Whom or what a guard stands before."""
    found = [
        f"{one.get('consumer')} {one.get('credential')}: {one.get('calls')} calls"
        for one in _of(refused, "callers")
    ]
    changes = _of(refused, "changes")
    return [*found, *(f"{one.get('operation')} {one.get('path')}: {one.get('message')}" for one in changes)]


def _of(refused: "Refused", name: str) -> list[Mapping[str, Any]]:
    listed = refused.problem.get(name)
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


def _own_token(place: Place) -> str:
    if place.data is not None:
        return f"the machine's own lies in {place.data / 'manager.token'}"
    return "give one of its tokens with --token or FAREGATE_TOKEN"


def told(diagnostics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Diagnostics of the manager, which knows no lines of files."""
    found = []
    for one in diagnostics:
        level = "warning: " if one.get("level") == "warning" else ""
        found.append(f"{one.get('path') or 'configuration'}: {level}{one.get('code')}: {one.get('message')}")
        if one.get("expected"):
            found.append(f"    expected {one['expected']}")
        if one.get("nearest"):
            found.append(f"    did you mean `{one['nearest']}`?")
    return found


def may_ask(*, yes: bool, json: bool) -> bool:
    """Whether somebody at a terminal can be asked."""
    return not yes and not json and sys.stdin.isatty() and sys.stdout.isatty()


def note(text: str) -> None:
    """What is no result goes to standard error."""
    print(text, file=sys.stderr)
