"""All credentials of a snapshot, gathered section by section, so that no turn of the loop has many to take.

A ``Part`` holds what became of a section of consumers. It is the same for every snapshot with the same
section and the same plans, and is kept from one to the next; what finds a credential (two plain
dictionaries) is filled anew from the parts.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from faregate.policies.api_key.step import ReadyKey, ready_key
from faregate.policies.jwt.step import credential_id
from faregate.snapshot.call import ReadyConsumer
from faregate.snapshot.data import ApiKeyCredential, Consumer, JwtCredential, Plan


class Part(NamedTuple):
    """Some consumers. ``fenced``: those with networks of their own. ``others``: those with credentials of
    another kind than tokens and keys, as they were read.
    """

    digests: tuple[bytes, ...]
    keys: tuple[ReadyKey, ...]
    subjects: tuple[tuple[str, str, ReadyConsumer], ...]
    fenced: tuple[ReadyConsumer, ...]
    others: tuple[tuple[Consumer, ReadyConsumer], ...]


class PartMaker:
    """Makes parts; equal plans and grants are one object, for 100,000 consumers have a handful."""

    def __init__(self, plans: Iterable[Plan]) -> None:
        self._plans = {plan.name: plan.name for plan in plans}
        self._grants: dict[tuple[str, ...], frozenset[str]] = {}

    def make(self, consumers: Iterable[Consumer]) -> Part:
        """Raises ``ValueError`` on a credential that cannot be put to work."""
        digests: list[bytes] = []
        keys: list[ReadyKey] = []
        subjects: list[tuple[str, str, ReadyConsumer]] = []
        fenced: list[ReadyConsumer] = []
        others: list[tuple[Consumer, ReadyConsumer]] = []
        for consumer in consumers:
            ready = self.ready(consumer)
            if ready.networks is not None:
                fenced.append(ready)
            for credential in consumer.credentials:
                if isinstance(credential, ApiKeyCredential):
                    digest, key = ready_key(credential, ready)
                    digests.append(digest)
                    keys.append(key)
                elif isinstance(credential, JwtCredential):
                    credential_id(credential.issuer, credential.subject)  # raises when it is no id
                    subject = credential.subject.encode().decode()  # a copy, as the consumer's name
                    subjects.append((credential.issuer, subject, ready))
                elif not others or others[-1][0] is not consumer:
                    others.append((consumer, ready))
        return Part(tuple(digests), tuple(keys), tuple(subjects), tuple(fenced), tuple(others))

    def ready(self, consumer: Consumer) -> ReadyConsumer:
        """The consumer as workers hold it.

        Its name is copied: what stays would else lie between the pieces of the snapshot and keep their
        memory.
        """
        permissions = self._grants.get(consumer.permissions)
        if permissions is None:
            permissions = self._grants[consumer.permissions] = frozenset(consumer.permissions)
        return ReadyConsumer(
            consumer.name.encode().decode(),
            plan=consumer.plan and self._plans.get(consumer.plan, consumer.plan),
            permissions=permissions,
            networks=tuple(map(ipaddress.ip_network, consumer.allow_ips)) if consumer.allow_ips else None,
            suspended=consumer.suspended,
        )


class CredentialIndex:
    """What finds a consumer by its credential. ``keys``: by digest. ``subjects``: by issuer and subject."""

    def __init__(self) -> None:
        self.keys: dict[bytes, ReadyKey] = {}
        self.subjects: dict[str, dict[str, ReadyConsumer]] = {}
        self.fenced: list[ReadyConsumer] = []
        self.others: list[tuple[Consumer, ReadyConsumer]] = []

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
        self.fenced += part.fenced
        self.others += part.others

    def other_consumers(self) -> Mapping[str, ReadyConsumer]:
        """Those of ``others`` by name."""
        return {ready.name: ready for _, ready in self.others}
