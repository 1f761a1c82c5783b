"""The data plane: sockets, HTTP/1.1, one call's life, the upstream pool, the processes. Never imports
``model``.
"""
