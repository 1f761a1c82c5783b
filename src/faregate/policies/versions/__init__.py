"""Which version of an API a call gets, and where in its life that version is."""
