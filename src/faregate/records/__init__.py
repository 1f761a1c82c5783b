"""What is kept of every call: the access log, masked, and the metrics. No room but kernel and snapshot is
used.
"""
