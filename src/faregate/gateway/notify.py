"""What systemd wants to hear (``sd_notify(3)``): ready, stopping, and which process is the main one."""

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Sends ``lines`` to the service manager that asked for them; nothing without one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.send("\n".join(lines).encode())
