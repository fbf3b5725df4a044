"""What tests of callbacks share."""

import pytest


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing takes longer than these trainings, and is not what they are about."""
    monkeypatch.setattr("hf_monitor.charts.history.draw_history", lambda rows, folder: [])
