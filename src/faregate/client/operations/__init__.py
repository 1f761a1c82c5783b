"""Every operation of the admin API, as methods.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from faregate.client.operations.apis import ApisOperations
from faregate.client.operations.audit import AuditOperations
from faregate.client.operations.break_glass import BreakGlassOperations
from faregate.client.operations.calls import CallsOperations
from faregate.client.operations.canary import CanaryOperations
from faregate.client.operations.changes import ChangesOperations
from faregate.client.operations.config import ConfigOperations
from faregate.client.operations.consumers import ConsumersOperations
from faregate.client.operations.credentials import CredentialsOperations
from faregate.client.operations.groups import GroupsOperations
from faregate.client.operations.issuers import IssuersOperations
from faregate.client.operations.ledger import LedgerOperations
from faregate.client.operations.people import PeopleOperations
from faregate.client.operations.plans import PlansOperations
from faregate.client.operations.revisions import RevisionsOperations
from faregate.client.operations.routes import RoutesOperations
from faregate.client.operations.secrets import SecretsOperations
from faregate.client.operations.sign_in import SignInOperations
from faregate.client.operations.standing import StandingOperations
from faregate.client.operations.targets import TargetsOperations
from faregate.client.operations.tokens import TokensOperations
from faregate.client.operations.tools import ToolsOperations
from faregate.client.operations.upstreams import UpstreamsOperations
from faregate.client.operations.versions import VersionsOperations


class Operations(
    IssuersOperations,
    UpstreamsOperations,
    PlansOperations,
    GroupsOperations,
    ConsumersOperations,
    ApisOperations,
    VersionsOperations,
    RoutesOperations,
    TargetsOperations,
    CredentialsOperations,
    RevisionsOperations,
    ConfigOperations,
    StandingOperations,
    AuditOperations,
    CallsOperations,
    LedgerOperations,
    ToolsOperations,
    SecretsOperations,
    PeopleOperations,
    TokensOperations,
    SignInOperations,
    ChangesOperations,
    BreakGlassOperations,
    CanaryOperations,
):
    """Every operation of the admin API, as methods."""
