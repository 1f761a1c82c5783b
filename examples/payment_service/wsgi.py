"""Runs the example payment service by itself: ``gunicorn wsgi:app``.

The service lies in the package (``faregate.demo.payment_service``), because ``faregate demo`` must find it in
an installed wheel too; there is one copy, and this file only names it.
"""

from faregate.demo.payment_service.app import application

app = application()
