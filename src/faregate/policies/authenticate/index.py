"""All credentials of a snapshot, gathered section by section, so that no turn of the loop has many to take.

A ``Part`` holds what became of a section of consumers. It is the same for every snapshot with the same
section and the same plans, and is kept from one to the next; what finds a credential (two plain
dictionaries) is filled anew from the parts.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from faregate.policies.api_key.step import ReadyKey, ready_key
from faregate.policies.jwt.step import Terms, credential_id, terms_of
from faregate.snapshot.call import NO_PINS, ReadyConsumer
from faregate.snapshot.data import ApiKeyCredential, Consumer, JwtCredential, Plan

HOUR_S: Final = 3600


class Part(NamedTuple):
    """Some consumers. ``fenced``: those with networks of their own. ``others``: those with credentials of
    another kind than tokens and keys, as they were read. ``terms``: of subjects that have any. ``ends``: the
    hour (since the epoch) in which each credential ends that does. ``bounded``: whether one of them may call
    some APIs only, or holds a permission in one place only.
    """

    digests: tuple[bytes, ...]
    keys: tuple[ReadyKey, ...]
    subjects: tuple[tuple[str, str, ReadyConsumer], ...]
    fenced: tuple[ReadyConsumer, ...]
    others: tuple[tuple[Consumer, ReadyConsumer], ...]
    terms: tuple[tuple[str, str, Terms], ...] = ()
    ends: tuple[int, ...] = ()
    bounded: bool = False


class PartMaker:
    """Makes parts; equal plans and grants are one object, for 100,000 consumers have a handful."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._plans = {plan.name: plan.name for plan in plans}
        self._grants: dict[tuple[str, ...], frozenset[str]] = {(): frozenset()}
        self._placed: set[tuple[str, ...]] = set()  # those with a grant for one place
        self._pins: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}

    def make(self, consumers: Iterable[Consumer]) -> Part:
        """Raises ``ValueError`` on a credential that cannot be put to work."""
        digests: list[bytes] = []
        keys: list[ReadyKey] = []
        subjects: list[tuple[str, str, ReadyConsumer]] = []
        fenced: list[ReadyConsumer] = []
        others: list[tuple[Consumer, ReadyConsumer]] = []
        terms: list[tuple[str, str, Terms]] = []
        ends: list[int] = []
        bounded = False
        for consumer in consumers:
            ready = self.ready(consumer)
            bounded = bounded or ready.apis is not None or consumer.permissions in self._placed
            if ready.networks is not None:
                fenced.append(ready)
            for credential in consumer.credentials:
                if credential.expires:
                    ends.append(credential.expires // HOUR_S)
                if isinstance(credential, ApiKeyCredential):
                    digest, key = ready_key(credential, ready)
                    digests.append(digest)
                    keys.append(key)
                elif isinstance(credential, JwtCredential):
                    credential_id(credential.issuer, credential.subject)  # raises when it is no id
                    subject = credential.subject.encode().decode()  # a copy, as the consumer's name
                    subjects.append((credential.issuer, subject, ready))
                    told = terms_of(credential)
                    if told is not None:
                        terms.append((credential.issuer, subject, told))
                elif not others or others[-1][0] is not consumer:
                    others.append((consumer, ready))
        return Part(
            tuple(digests),
            tuple(keys),
            tuple(subjects),
            tuple(fenced),
            tuple(others),
            tuple(terms),
            tuple(ends),
            bounded,
        )

    def ready(self, consumer: Consumer) -> ReadyConsumer:
        """The consumer as workers hold it.

        Its name is copied: what stays would else lie between the pieces of the snapshot and keep their
        memory.
        """
        return ReadyConsumer(
            consumer.name.encode().decode(),
            plan=consumer.plan and self._plans.get(consumer.plan, consumer.plan),
            permissions=self._set(consumer.permissions),
            networks=tuple(map(ipaddress.ip_network, consumer.allow_ips)) if consumer.allow_ips else None,
            suspended=consumer.suspended,
            apis=None if consumer.apis is None else self._set(consumer.apis),
            pins=self._pinned(consumer.pins) if consumer.pins else NO_PINS,
        )

    def _pinned(self, pins: tuple[tuple[str, str], ...]) -> dict[str, str]:
        made = self._pins.get(pins)
        if made is None:
            made = self._pins[pins] = dict(pins)
        return made

    def _set(self, names: tuple[str, ...]) -> frozenset[str]:
        made = self._grants.get(names)
        if made is None:
            made = self._grants[names] = frozenset(names)
            if any("@" in name for name in names):
                self._placed.add(names)
        return made


class CredentialIndex:
    """What finds a consumer by its credential. ``keys``: by digest. ``subjects``, ``terms``: by issuer and
    subject. ``ends``: how many credentials end in an hour since the epoch.
    """

    def __init__(self) -> None:
        self.keys: dict[bytes, ReadyKey] = {}
        self.subjects: dict[str, dict[str, ReadyConsumer]] = {}
        self.terms: dict[str, dict[str, Terms]] = {}
        self.ends: dict[int, int] = {}
        self.bounded = False
        self.fenced: list[ReadyConsumer] = []
        self.others: list[tuple[Consumer, ReadyConsumer]] = []
        self._gone: tuple[Part, ...] = ()
        self._fresh: tuple[Part, ...] = ()

    def add(self, part: Part) -> None:
        """Raises ``ValueError`` on a credential that two consumers own."""
        keys = self.keys
        before = len(keys)
        keys.update(zip(part.digests, part.keys, strict=True))
        if len(keys) != before + len(part.keys):
            raise ValueError("two consumers own the same API key")
        for issuer, subject, consumer in part.subjects:
            owned = self.subjects.setdefault(issuer, {})
            if subject in owned:
                raise ValueError(f"two consumers own subject {subject!r} of {issuer}")
            owned[subject] = consumer
        for issuer, subject, told in part.terms:
            self.terms.setdefault(issuer, {})[subject] = told
        ends = self.ends
        for hour in part.ends:
            ends[hour] = ends.get(hour, 0) + 1
        self.bounded = self.bounded or part.bounded
        self.fenced += part.fenced
        self.others += part.others

    def changed(
        self, gone: Sequence[Part], fresh: Sequence[Part], parts: Iterable[Part]
    ) -> "CredentialIndex":
        """One of ``parts``, without going through them all. It finds credentials in the same dictionaries, in
        which ``gone`` stand until ``patch`` puts ``fresh`` in their places. Raises ``ValueError`` on a
        credential that two consumers own.
        """
        other = CredentialIndex()
        other.keys, other.subjects, other.terms = self.keys, self.subjects, self.terms
        other.ends = dict(self.ends)
        other._gone, other._fresh = tuple(gone), tuple(fresh)
        for part in parts:
            other.bounded = other.bounded or part.bounded
            if part.fenced or part.others:
                other.fenced += part.fenced
                other.others += part.others
        for hour in [hour for part in gone for hour in part.ends]:
            other.ends[hour] -= 1
        for hour in [hour for part in fresh for hour in part.ends]:
            other.ends[hour] = other.ends.get(hour, 0) + 1
        other.ends = {hour: count for hour, count in other.ends.items() if count}
        freed: set[object] = {one for part in gone for one in _owned(part)}
        together = [one for part in fresh for one in _owned(part)]
        if len(set(together)) != len(together) or any(self._has(one) for one in together if one not in freed):
            raise ValueError("two consumers own the same credential")
        return other

    def patch(self) -> None:
        """Makes what was announced by ``changed``, in one go."""
        for part in self._gone:
            for digest in part.digests:
                del self.keys[digest]
            for issuer, subject, _ in part.subjects:
                del self.subjects[issuer][subject]
                self.terms.get(issuer, {}).pop(subject, None)
        for part in self._fresh:
            self.keys.update(zip(part.digests, part.keys, strict=True))
            for issuer, subject, consumer in part.subjects:
                self.subjects.setdefault(issuer, {})[subject] = consumer
            for issuer, subject, told in part.terms:
                self.terms.setdefault(issuer, {})[subject] = told
        self._gone = self._fresh = ()

    def _has(self, one: object) -> bool:
        if isinstance(one, bytes):
            return one in self.keys
        assert isinstance(one, tuple)
        return one[1] in self.subjects.get(one[0], {})

    def other_consumers(self) -> Mapping[str, ReadyConsumer]:
        """Those of ``others`` by name."""
        return {ready.name: ready for _, ready in self.others}


def _owned(part: Part) -> Iterator[object]:
    """What only one consumer may have: digests, and issuers with subjects."""
    yield from part.digests
    for issuer, subject, _ in part.subjects:
        yield issuer, subject
