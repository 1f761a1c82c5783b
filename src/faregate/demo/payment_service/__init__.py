"""The example payment service: a small Flask application over SQLite, as many teams would write it.

It stands behind the gateway in ``faregate demo`` and knows nothing of it but the headers it sends. Card
numbers are test numbers only and are never stored; amounts are integers in minor units. ``app`` speaks
HTTP, ``store`` keeps the payments and guards their sums.
"""
