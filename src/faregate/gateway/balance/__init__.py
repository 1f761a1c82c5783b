"""Which server a call goes to: one balancer per upstream and worker.

Pure: no socket, no clock, no timer. The exchange brings the time, asks ``pick`` for a target and reports once
how it went; refreshes (ejections that end, slow start, decay) happen inside ``pick``, at most every 100 ms.
One module per family of methods; what they share (health, ejection, slow start) is in ``base``.
"""

from faregate.gateway.balance.base import Balancer
from faregate.gateway.balance.make import make_balancer
from faregate.gateway.balance.state import TargetState, TargetStatus

__all__ = ["Balancer", "TargetState", "TargetStatus", "make_balancer"]
