"""Bearer tokens of the declared issuers."""
