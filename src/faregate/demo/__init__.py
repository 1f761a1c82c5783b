"""``faregate demo``: a whole payment system on one machine, to see the gateway at work.

Everything the demo needs at run time lies in this package, the example payment service included, so that an
installed wheel can run it without the repository. It sits on top with the commands: it starts ``faregate
run`` as a child, as a user would, and learns what happens from the callers, the access log and
``/metrics``, never from the inside.
"""
