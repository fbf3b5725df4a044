"""03_any_training_loop.ipynb, run in a real kernel."""

import pytest
from kernel_runs import Executed

from hf_monitor import load_run
from hf_monitor.report.words import number


@pytest.mark.slow(seconds=6)
@pytest.mark.no_cover
def test_any_training_loop(tmp_path):
    done = Executed("03_any_training_loop.ipynb", tmp_path)
    done.check_outputs()
    run = load_run(done.folder / "outputs/any_loop/digits")
    assert run.status == "finished"
    assert run.facts["arguments"] == {"width": 32, "learning_rate": 0.1}
    steps, losses = run.curve("loss")
    assert steps == list(range(330))
    assert losses[-1] < 0.2 < losses[0]

    # Hundreds of values and fifteen turns of the bar, in one area; the plot that the cell asked for is in it.
    area = done.text("nb.start_experiment(")
    assert "digits" in area
    assert "finished" in area
    assert "15 of 15" in area
    assert number(losses[-1]) in area
    accuracy = run.curve("eval_accuracy").values[-1]
    assert accuracy > 90
    assert number(accuracy) in area
    assert "which digits are read well?" in area
    assert "right, in percent, by digit" in area
    assert "data:image/svg+xml" in done.shown("nb.start_experiment(")[0]

    summary = done.text("nb.display_summary()")
    best = run.best("eval_accuracy", greater_is_better=True)
    for word in ("loss", "eval_loss", "eval_accuracy", number(losses[-1]), number(best.value), str(best.step)):
        assert word in summary
    [plot] = done.shown("nb.create_inline_plot(")
    assert "mean of the last 20" in plot
    assert "data:image/svg+xml" in plot
    assert f"best accuracy: {best.value:.1f} % at step {best.step}" in done.printed("run.curve(")

    wrong = done.text("careful.start_experiment(")
    assert "FloatingPointError" in wrong
    ending = load_run(done.folder / "outputs/any_loop/too_fast").ending
    assert (ending.status, ending.type) == ("crashed", "FloatingPointError")
    assert f"recorded as: {ending}" in done.printed("careful.start_experiment(")
    log = (done.folder / "outputs/any_loop/printed.log").read_text(encoding="utf-8")
    assert [line[30:] for line in log.splitlines()] == ["a line of our own", "and what anything prints"]
    assert log in done.printed("with Logger(")
