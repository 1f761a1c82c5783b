"""Holding calls against the API's OpenAPI document."""
