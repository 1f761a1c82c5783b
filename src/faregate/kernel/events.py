"""What the gateway's processes say to a program that watches them: one JSON object a line.

The supervisor and the child that compiles write such lines under ``faregate run --json``; the form stands
here because neither may import the other.
"""

import json
from datetime import UTC, datetime


def event_line(event: str, message: str, **facts: object) -> str:
    """One line without its end: ``time`` (RFC 3339, UTC, ms), ``event``, ``message``, then ``facts``, which
    must be JSON.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time, "event": event, "message": message, **facts})
