"""Reports of the same day: their date is given, so that equal inputs give equal files."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def date():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        yield "2023-11-14 22:13 UTC"
