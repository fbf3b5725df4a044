"""01_quickstart.ipynb, run in a real kernel."""

import re

import pytest
from kernel_runs import Executed, is_chart, without_spaces

from hf_monitor import load_run
from hf_monitor.report.words import number


@pytest.mark.slow(seconds=20)
@pytest.mark.no_cover
def test_quickstart(tmp_path):
    done = Executed("01_quickstart.ipynb", tmp_path)
    done.check_outputs()
    run = load_run(done.folder / "outputs/quickstart/monitor")
    assert (run.status, run.last_step, len(run.attempts)) == ("finished", 200, 1)

    # One area for the training; what it shows last is what was recorded.
    area = done.text("trainer.train()")
    assert "finished" in area
    assert "200 of 200" in area
    rows = run.metrics.of("eval").to_pandas().dropna(subset=["eval_loss"])
    for name, value in [("loss", run.curve("loss").values[-1]), *rows.iloc[-1][["eval_loss", "eval_rougeL"]].items()]:
        assert name in area
        assert number(value) in area
    for row in run.latest_predictions("eval")[:3]:
        assert without_spaces(row["references"][0]) in without_spaces(area)
        assert without_spaces(row["prediction"]) in without_spaces(area)
    assert len(rows) == 4
    assert rows["eval_loss"].is_monotonic_decreasing
    assert rows["eval_rougeL"].iloc[-1] > 30  # it learned to summarize, somewhat

    # The evaluation in a later cell has an area of its own, with its score.
    test = done.text("trainer.evaluate(")
    value = next(row["test_rougeL"] for row in run.rows if "test_rougeL" in row)
    assert number(value) in test
    assert f"ROUGE-L of the test part: {value:.1f}" in done.printed("trainer.evaluate(")

    assert "finished" in done.text("run = load_run(")
    table = done.text("rows = run.metrics")
    assert all(f"{loss:.2f}" in table for loss in rows["eval_loss"])
    [chart] = done.shown("TrainingHistoryChart.from_run", "image/png")
    assert is_chart(chart)
    scores = [float(score) for score in re.findall(r"<td>([\d.]+)</td>", done.shown("pd.concat([")[0])]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert "Did it learn? It learned" in done.printed("verdict_of(run)")
    assert "report.html" in area  # there, and not printed below it once more
    assert "report" not in done.printed("trainer.train()")
    assert (done.folder / "outputs/quickstart/monitor/report.html").exists()
