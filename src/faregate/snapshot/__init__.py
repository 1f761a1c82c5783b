"""The frozen form of a configuration: what a worker runs. Data, and the contract between steps and the
gateway.
"""
