"""The declared form of ``consumers:``: who calls, what proves it, and what it may do."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from faregate.model.groups import GROUPS_MAX
from faregate.model.values import Declared, Reference, fault
from faregate.policies.address.settings import AllowIps
from faregate.policies.api_key.settings import ApiKeyCredential
from faregate.policies.jwt.settings import JwtCredential
from faregate.policies.mtls.settings import MtlsCredential
from faregate.policies.permit.settings import ApiPlace, Grant
from faregate.policies.versions.settings import Pins


class Credential(Declared):
    """One proof of identity: a mapping with exactly one of these keys."""

    jwt: JwtCredential | None = None
    api_key: ApiKeyCredential | None = None
    mtls: MtlsCredential | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Credential":
        if (self.jwt is None) + (self.api_key is None) + (self.mtls is None) != 2:
            raise fault("bad_value", "a credential is one thing", "exactly one of jwt, api_key, mtls")
        return self


class Consumer(Declared):
    """Who calls: a merchant, a partner, an app."""

    plan: Reference | None = None
    groups: Annotated[list[Reference], Field(max_length=GROUPS_MAX)] = Field(default_factory=list)
    permissions: list[Grant] = Field(default_factory=list)
    apis: list[ApiPlace] | None = None
    credentials: Annotated[list[Credential], Field(max_length=100)] = Field(default_factory=list)
    allow_ips: AllowIps = Field(default_factory=list)
    state: Literal["active", "suspended"] = "active"
    pins: Pins = Field(default_factory=dict)
