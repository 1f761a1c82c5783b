"""The page of the admin API is what the program's own document says."""

from faregate.manager.admin.app import create_admin
from tests.docs.admin_api_page import NEEDS, PAGE, page


def test_the_page_is_what_the_document_says() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.docs.admin_api_page"


def test_every_need_is_explained() -> None:
    operations = [one for item in create_admin(None).openapi()["paths"].values() for one in item.values()]
    assert {one["x-faregate-need"] for one in operations} == set(NEEDS)
