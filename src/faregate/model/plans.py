"""The declared form of ``plans:``: limits and quotas that consumers share by reference."""

from pydantic import Field

from faregate.model.values import Declared
from faregate.policies.concurrency.settings import Concurrency
from faregate.policies.quota.settings import Quota
from faregate.policies.rate_limit.settings import Limits


class Plan(Declared):
    """Every consumer of the plan has its own counts."""

    limits: Limits = Field(default_factory=list)
    quota: Quota | None = None
    concurrency: Concurrency | None = None
