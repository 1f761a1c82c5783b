"""HTTP/2: frames, guards against its known attacks, and calls that the rest of the gateway takes for any
others.
"""
