"""The permissions that a route requires."""
