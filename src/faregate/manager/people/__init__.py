"""Who may use the manager: users, roles, tokens, sessions, and what waits for a second person."""
