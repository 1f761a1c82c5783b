"""OpenAPI documents: what routes are held against, what a configuration is made from, what two of them differ
in.
"""
