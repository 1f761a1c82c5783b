"""Operations on secrets, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Literal, NotRequired, TypedDict

from faregate.client.asking import Asking


class DataKeyRead(TypedDict):
    """`retired`: it seals nothing new, and opens what it sealed."""

    id: str
    created: str
    retired: str | None


class RotateRead(TypedDict):
    """`id`: names the new one."""

    what: str
    id: str


class RotateWrite(TypedDict):
    """`data_key`: another one seals from now on, and what lies sealed is sealed anew in the
    background. `master_key`: all data keys are sealed by another one. `pepper`: keys of consumers
    are made under another.
    """

    what: Literal["data_key", "master_key", "pepper"]
    master_key: NotRequired[str]


class SecretsRead(TypedDict):
    """`resealing`: values that are still sealed by a retired data key, and are being sealed anew."""

    master_key: str
    data_keys: list[DataKeyRead]
    peppers: list[str]
    resealing: int


class SecretsOperations(Asking):
    """Operations on secrets."""

    def secrets_get(self) -> SecretsRead:
        """Which keys there are, by name: `GET /secrets`."""
        answer: SecretsRead = self._ask("secrets_get")
        return answer

    def secrets_rotate(self, body: RotateWrite) -> RotateRead:
        """Put another key in the place of one: `POST /secrets/rotate`."""
        answer: RotateRead = self._ask("secrets_rotate", body=body)
        return answer
