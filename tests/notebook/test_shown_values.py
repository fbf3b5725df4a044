"""What a cell ends with is shown by IPython in words or as a picture, not as a dump of its fields."""

import pytest

from hf_monitor.auto_batch.plan_result import TrainingPlan
from hf_monitor.auto_batch.shapes import Budget, Lengths, ProbeResult, StepSettings, Trial
from hf_monitor.charts.chart import Chart
from hf_monitor.gpu.report import GpuReport
from hf_monitor.gpu.tiers import HIGH_END, TierMatch
from hf_monitor.preflight.checklist import Check, Checklist
from hf_monitor.report.answers import RunVerdict

PROBE = ProbeResult(
    8, 800, None, Budget(1000, "told"), 950, 0.95, Lengths(8, 4), StepSettings(), "cpu", "x86", "counted",
    trials=(Trial(8, 800, True, False, 0.1),),
)  # fmt: skip


class Line(Chart):
    def plot(self, ax=None):
        (ax,) = self._axes(ax, 2.0, 1.0)
        return ax


@pytest.fixture(scope="module")
def shown():
    core = pytest.importorskip("IPython.core.formatters")
    formatter = core.DisplayFormatter()
    return lambda value: formatter.format(value)[0]


@pytest.mark.parametrize(
    "value",
    [
        RunVerdict("finished", "It learned.", "Nothing.", "Nothing."),
        PROBE,
        TrainingPlan(8, 8, 2, 1, 16, "fp32", False, "adamw_torch", TierMatch(HIGH_END, "x"), PROBE),
        Checklist("Before the training", (Check("disk", "ok", "3 GiB are free."),)),
        GpuReport(False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_with_words_says_them(shown, value):
    assert shown(value)["text/plain"] == str(value) != repr(value)


def test_a_chart_is_a_picture(shown):
    assert shown(Line())["image/png"].startswith(b"\x89PNG")
