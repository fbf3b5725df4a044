"""What tests of pages share."""

import pytest
from browser import Browser, NoBrowser


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests of this process."""
    try:
        chromium = Browser()
    except NoBrowser as error:
        pytest.skip(f"{error}; Debian: apt-get install chromium")
    yield chromium
    chromium.close()
