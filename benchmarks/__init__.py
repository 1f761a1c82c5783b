"""Faregate beside nginx, HAProxy and Envoy, doing the same work on the same machine in the same run.

`python -m benchmarks` measures, prints a table and writes JSON and a plot under benchmarks/results/. What
is compared, and what each contender does and does not do, stands in docs/benchmarks.md. Nothing here is
imported by Faregate.
"""
