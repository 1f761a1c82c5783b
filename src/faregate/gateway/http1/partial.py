"""A head that has not ended: whether any further byte could mend it."""


def hopeless(buffer: bytearray, start: int) -> str | None:
    """The reason why an unfinished head can only be refused: a bare LF, or a bare CR (F13)."""
    at = buffer.find(b"\n", start)
    while at >= 0:
        if at == 0 or buffer[at - 1] != 13:
            return "bare_lf"
        at = buffer.find(b"\n", at + 1)
    at = buffer.find(b"\r", start)
    while 0 <= at < len(buffer) - 1:
        if buffer[at + 1] != 10:
            return "bare_cr"
        at = buffer.find(b"\r", at + 1)
    return None
