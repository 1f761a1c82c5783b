"""Small changes that carry a message from one version of an API to another."""
