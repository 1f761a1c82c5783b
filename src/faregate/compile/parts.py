"""The small configuration in which changes of a large one are judged.

It holds the changed entries, those that must be looked at again because of them, whom all these name, and who
claims the same as they. It is compiled as any configuration is; of what is found counts what touches an entry
that is judged, and errors of the gateway that the entries bring about.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, cast

from faregate.compile.compiler import compile_config
from faregate.compile.neighbours import Key, named_by, shows
from faregate.compile.references import EXPECTED_NAMES_MAX
from faregate.kernel.replica import SECTIONS, Entries
from faregate.model.diagnostics import CODES, Diagnostic, Finding, Level, TreePath, Value
from faregate.model.managed import credential_of
from faregate.snapshot.data import Snapshot

if TYPE_CHECKING:
    from faregate.compile.increment import State

NAMES_MAX: Final = 1000
NAMES_FEW: Final = 2 * EXPECTED_NAMES_MAX
OF_THE_WHOLE: Final = frozenset({"ungranted_permission", "no_limits", "unprovable_credential"})
"""Warnings that only a look at every entry can give."""


def consumer_of(content: object) -> str:
    """Whose a credential of the database is; empty where it does not say."""
    owner = content.get("consumer") if isinstance(content, dict) else None
    return owner if isinstance(owner, str) else ""


class Part:
    """``made``: the changes, None for what goes. ``touched``: entries of the tree that are others by them, as
    they will be. ``judged``: these, and those that must be looked at again.
    """

    def __init__(self, state: "State", made: dict[Key, Value]) -> None:
        self._state = state
        self.made = made
        self.touched: dict[Key, Value] = {key: self._merged(key) for key in self._touched()}
        self.judged: set[Key] = set(self.touched)
        for key, after in self.touched.items():
            before = state.content(key)
            if before is not None and (after is None or shows(key, before) != shows(key, after)):
                self.judged.update(state.index.naming(key))
        self._chosen = self._closure()

    def compile(self, wall: float) -> tuple[Snapshot | None, list[Diagnostic]]:
        """The snapshot of the part, None when there is an error in what it changes; and what was found.
        ``wall``: seconds since the epoch.
        """
        state = self._state
        chosen = self._in_order(self._chosen)
        owners = {name for section, name in (*self._chosen, *self.touched) if section == "consumers"}
        credentials = {("credentials", name) for owner in owners for name in state.credentials(owner)}
        credentials.update(key for key in self.made if key[0] == "credentials")
        managed: Entries = {section: {} for section in SECTIONS}
        for key in (*chosen, *self._in_order(credentials)):
            content = self._declared(key)
            if content is not None and not state.is_file(key):
                managed[key[0]][key[1]] = content
        return compile_config(state.loaded(chosen, managed), 0, wall=wall, counts=self._counts)

    def _touched(self) -> Iterable[Key]:
        """A credential of the database is a part of its consumer."""
        touched: dict[Key, None] = {}
        for key, content in self.made.items():
            if key[0] != "credentials":
                touched[key] = None
                continue
            for of in (self._state.content(key), content):
                consumer: Key = ("consumers", consumer_of(of))
                if self._declared(consumer) is not None:
                    touched[consumer] = None
        return touched

    def _declared(self, key: Key) -> Value:
        """The entry after the changes, as it is declared."""
        return self.made[key] if key in self.made else self._state.content(key)

    def _merged(self, key: Key) -> Value:
        """The same with the database's credentials in their consumer."""
        content = self._declared(key)
        if key[0] != "consumers" or not isinstance(content, dict):
            return content
        kept = {("credentials", name) for name in self._state.credentials(key[1])}
        kept.update(made for made in self.made if made[0] == "credentials")
        added: list[Value] = []
        for one in self._in_order(kept):
            credential = self._declared(one)
            if consumer_of(credential) == key[1]:
                added.append(credential_of(one[1], cast("dict[str, Value]", credential)))
        own = content.get("credentials", [])
        return {**content, "credentials": [*own, *added]} if added and isinstance(own, list) else content

    def _in_order(self, keys: Iterable[Key]) -> list[Key]:
        new = {key: number for number, key in enumerate(self.made)}
        return sorted(keys, key=lambda key: (self._state.number(key), new.get(key, 0)))

    def _closure(self) -> set[Key]:
        """What is judged and exists, what shares a claim with it, and all that these name."""
        state = self._state
        waiting = list(self.judged)
        for key in self.judged:
            content = self._content(key)
            if content is not None:
                waiting += state.index.sharing(key, content)
        chosen: set[Key] = set()
        missing: set[str] = set()
        while waiting:
            key = waiting.pop()
            if key in chosen:
                continue
            if self._declared(key) is None:
                missing.add(key[0])
                continue
            chosen.add(key)
            if key in self.touched:
                waiting += named_by(key, self.touched[key])
            else:
                waiting += state.index.named.get(key, ())
        for section in missing:
            others = (*self._others(section), *(key for key in self.made if key[0] == section))
            chosen.update(key for key in others if self._declared(key) is not None)
        return chosen

    def _others(self, section: str) -> list[Key]:
        """What else could have been meant by a name that is not there: told as it would be of the whole,
        which lists a few names, and looks for the nearest of some hundreds.
        """
        names = self._state.names(section)
        return [(section, name) for name in (names if len(names) <= NAMES_MAX else names[:NAMES_FEW])]

    def _content(self, key: Key) -> Value:
        return self.touched[key] if key in self.touched else self._merged(key)

    def _counts(self, finding: Finding) -> bool:
        if finding.code in OF_THE_WHOLE and finding.path[0] != "plans":
            return False
        if self._judges(finding.path) or (finding.other is not None and self._judges(finding.other)):
            return True
        # files of the listeners are looked at when the whole is loaded
        return (
            finding.path[0] == "gateway"
            and CODES[finding.code][0] is Level.ERROR
            and finding.path[:2] != ("gateway", "listen")
        )

    def _judges(self, path: TreePath) -> bool:
        return path[:2] in self.judged
