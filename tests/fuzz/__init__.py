"""Fuzzing in three forms over one set of targets: plain corpora, hypothesis in the suite, atheris by ``make fuzz``."""
