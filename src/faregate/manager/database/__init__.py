"""The manager's database: SQLite in the data folder, or PostgreSQL for several machines."""
