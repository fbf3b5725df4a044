import math

from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.reader import Rows


def made(folder):
    writer = RunWriter(folder)
    for attempt, begin in ((1, 100.0), (2, 1000.0)):
        writer.begin_attempt()
        writer.row("event", 0, {"event": "train_begin"}, now=begin)
        for step in (1, 2):
            writer.row("train", step, {"loss": math.nan if step == 2 else 3.0 - attempt}, now=begin + step)
        writer.row("eval", 2, {"eval_<b>_rougeL": 10.0}, now=begin + 5)
    writer.row("event", 2, {"event": "train_end"}, now=1010.0)
    writer.row("eval", 2, {"eval_loss": 0.5, "standalone": True}, now=5000.0)
    return load_run(folder)


def test_a_curve_is_that_of_the_training_and_keeps_its_nan(tmp_path):
    curve = made(tmp_path).curve("loss")
    assert curve.steps == [1, 2]
    assert curve.values[0] == 1.0
    assert math.isnan(curve.values[1])
    assert made(tmp_path).curve("nothing") == ([], [])


def test_a_row_a_step_has_what_was_logged_and_evaluated_there(tmp_path):
    first, second = made(tmp_path).metrics.by_step()
    assert first == {"step": 1, "attempt": 2, "loss": 1.0}
    assert (second["eval_<b>_rougeL"], "eval_loss" in second) == (10.0, False)  # outside of the training
    assert list(made(tmp_path).metrics.by_step("eval").to_pandas().columns) == ["step", "attempt", "eval_<b>_rougeL"]


def test_time_is_that_of_all_attempts_up_to_their_ends(tmp_path):
    assert made(tmp_path).duration_seconds == 5.0 + 10.0
    writer = RunWriter(tmp_path / "other")
    writer.begin_attempt()
    writer.row("eval", 0, {"eval_loss": 1.0, "standalone": True})
    assert load_run(tmp_path / "other").duration_seconds is None


def test_names_are_of_finite_numbers_and_a_notebook_gets_them_escaped(tmp_path):
    run = made(tmp_path)
    assert run.metric_names == ["loss", "eval_<b>_rougeL", "eval_loss"]
    shown = run._repr_html_()
    assert "best eval_&lt;b&gt;_rougeL</th><td>10 at step 2" in shown
    assert "<b>" not in shown


def test_rows_of_wrong_types_are_passed_by():
    odd = Rows([{"kind": "train", "step": "x", "loss": 1.0}, {"kind": [], "step": None}, {"step": 1, "kind": "train"}])
    assert list(odd.by_step()) == [{"step": 1}]
    assert odd.column("loss") == [1.0, None, None]
