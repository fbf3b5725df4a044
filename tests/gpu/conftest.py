import fake_nvml as fake
import pytest


@pytest.fixture
def fake_nvml():
    """Give a function that installs the driver of a scenario until the end of the test."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield lambda scenario: stack.enter_context(fake.installed(scenario))
