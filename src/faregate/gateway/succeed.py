"""``python -m faregate.gateway.succeed SETTINGS``: the program of a successor (``handover``).

The running version starts it by this name, so the name and the settings' form stay.
"""

import asyncio
import sys

import msgspec

from faregate.gateway import voice
from faregate.gateway.children import StartError
from faregate.gateway.handover import Form, read_handover
from faregate.gateway.supervisor import succeed
from faregate.gateway.voice import Voice
from faregate.kernel.events import speak_in_events


def main() -> int:
    """Runs the gateway that was handed over; returns its exit status."""
    Voice.events = msgspec.json.decode(sys.argv[1], type=Form).events
    if Voice.events:
        speak_in_events("supervisor")
    try:
        handover = read_handover(sys.argv[1])
    except StartError as error:
        voice.say(str(error), "failed")
        return 1
    return asyncio.run(succeed(handover))


if __name__ == "__main__":
    sys.exit(main())
