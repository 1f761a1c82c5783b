"""The whole declared configuration, one field per section (SPEC section 2)."""

from pydantic import Field

from faregate.model.apis import Api
from faregate.model.consumers import Consumer
from faregate.model.gateway import Gateway
from faregate.model.groups import Group
from faregate.model.plans import Plan
from faregate.model.upstreams import Upstream
from faregate.model.values import Declared, Name
from faregate.policies.jwt.settings import Issuer


class Config(Declared):
    """Everything a gateway is told."""

    gateway: Gateway = Gateway()
    issuers: dict[Name, Issuer] = Field(
        default={}, description="Identity providers whose tokens are accepted."
    )
    upstreams: dict[Name, Upstream] = Field(default={}, description="Named groups of servers.")
    plans: dict[Name, Plan] = Field(default={}, description="Limits and quotas that consumers share.")
    groups: dict[Name, Group] = Field(
        default={}, description="What consumers are granted by belonging together."
    )
    consumers: dict[Name, Consumer] = Field(default={}, description="Who calls.")
    apis: dict[Name, Api] = Field(default={}, description="What is published.")
