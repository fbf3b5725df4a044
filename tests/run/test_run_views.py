import json
import math
import re

import pytest

from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.reader import Rows
from hf_monitor.run.views import last_and_best


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


def test_a_metric_that_only_evaluations_outside_of_the_training_have_is_found_by_best_and_curve_alike(tmp_path):
    made(tmp_path)
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.row("predict", 2, {"test_rougeL": 7.5, "standalone": True, "weights_step": 1})
    run = load_run(tmp_path)
    assert run.best("test_rougeL")[:2] == (7.5, 1)
    assert run.curve("test_rougeL") == ([1], [7.5])
    assert run.metrics.kinds == {"train": 2, "eval": 2, "predict": 1}


def test_rows_asked_like_a_data_frame_name_the_way():
    rows = Rows([{"loss": 1.0}])
    with pytest.raises(TypeError, match=r"\.column\('loss'\)"):
        rows["loss"]
    with pytest.raises(TypeError, match="list indices"):
        rows[1.5]
    assert rows[0] == {"loss": 1.0}
    assert rows[-1:] == [{"loss": 1.0}]


@pytest.mark.parametrize(("path", "name"), [("a/monitor", "a"), ("b/mine", "mine"), ("a", "a")])
def test_a_run_is_called_as_its_output_dir(tmp_path, path, name, monkeypatch):
    folder = tmp_path / path / ("monitor" if path == "a" else "")
    RunWriter(folder).event("train_begin", 0)
    monkeypatch.chdir(folder)
    assert load_run(tmp_path / path).name == load_run(".").name == name


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


def test_what_is_recorded_after_the_end_of_an_attempt_takes_no_time_of_it(tmp_path):
    writer = RunWriter(tmp_path)
    for name, begin in (("train_end", 100.0), ("error", 1000.0)):
        writer.begin_attempt()
        writer.row("event", 0, {"event": "train_begin"}, now=begin)
        writer.row("event", 2, {"event": name}, now=begin + 7)
        writer.row("mine", 2, {"value": 1.0}, now=begin + 500)
    assert load_run(tmp_path).duration_seconds == 14.0


def plain(html):
    """Give a table without styles, and its heads as cells."""
    return re.sub(r' style="[^"]*"', "", html)


def cells(*values):
    first, *rest = values
    kind = "th" if first in ("step", "shown") else "td"
    return f"<tr><{kind}>{first}</{kind}>{''.join(f'<td>{one}</td>' for one in rest)}</tr>"


def test_a_notebook_sees_first_what_never_was_a_number_and_nothing_that_is_no_score(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.row("event", 0, {"event": "train_begin"}, now=100.0)
    for step in (10, 20):
        odd = {"loss": math.nan, "grad_norm": math.nan, "loss_raw": 0.0, "nonfinite_steps": 9 + step}
        writer.row("train", step, {"learning_rate": 0.1, **odd}, now=190.0)
    writer.row("eval", 20, {"eval_bleu": 3.0, "eval_loss": math.nan, "eval_score": 4.0}, now=200.0)
    writer.row("train_summary", 20, {"total_flos": 1e11, "train_loss": 2.5, "train_loss_raw": 0.0}, now=288.0)
    shown = plain(load_run(tmp_path)._repr_html_())
    assert "<td>3 min 08 s</td>" in shown
    names = re.findall(r"<tr><td>(\w+)</td>", shown)
    assert names == ["loss", "grad_norm", "eval_loss", "eval_score", "eval_bleu", "learning_rate", "train_loss"]
    assert cells("loss", "NaN", "", "") in shown
    assert cells("train_loss", "2.5", "", "") in shown


def test_names_are_of_finite_numbers_and_a_notebook_gets_them_escaped(tmp_path):
    run = made(tmp_path)
    assert run.metric_names == ["loss", "eval_<b>_rougeL", "eval_loss"]
    shown = run._repr_html_()
    assert cells("eval_&lt;b&gt;_rougeL", 10, 10, 2) in plain(shown)
    assert "<b>" not in shown


def test_a_notebook_gets_the_last_and_the_best_of_each_metric_in_one_walk(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt({"max_steps": 8, "arguments": {"metric_for_best_model": "mine", "greater_is_better": False}})
    writer.event("train_begin", 0)
    for step, loss, mine in ((1, 2.0, 3.0), (2, 1.0, 5.0), (3, 1.5, 4.0), (4, math.nan, 4.5)):
        writer.row("train", step, {"loss": loss, "learning_rate": 0.1 / step})
        writer.row("eval", step, {"eval_loss": loss, "eval_mine": mine, "eval_runtime": 1.0})
    writer.row("eval", 4, {"eval_loss": 0.25, "eval_other_rougeL": 7.0, "standalone": True, "weights_step": 3})
    writer.row("log", 4, {f"metric{place}": 1.0 for place in range(30)})
    run = load_run(tmp_path)
    shown = run._repr_html_()
    for line in (
        cells("step", "4 of 8 (50 %)"),
        cells("shown", "12 metrics, and there are 23 more: .metric_names"),
        "<tr><th>metric</th><th>last</th><th>best</th><th>at step</th></tr>" + cells("loss", "NaN", 1, 2),
        cells("eval_loss", "NaN", 1, 2) + cells("eval_mine", "4.5", 3, 1) + cells("eval_other_rougeL", 7, 7, 3),
        cells("metric0", 1, "", ""),  # nobody knows which way it is better
    ):
        assert line in plain(shown)
    assert "runtime" not in shown
    found = last_and_best(run.metrics, run.metric_names, run.config)
    assert {name: best for name, (_, best) in found.items()} == {name: run.best(name)[:2] for name in run.metric_names}


def test_rows_of_wrong_types_are_passed_by():
    odd = Rows([{"kind": "train", "step": "x", "loss": 1.0}, {"kind": [], "step": None}, {"step": 1, "kind": "train"}])
    assert list(odd.by_step()) == [{"step": 1}]
    assert odd.column("loss") == [1.0, None, None]


BEGIN = {"time": 1.0, "attempt": 1, "step": 0, "kind": "event", "event": "train_begin"}
ROW = {"time": 2.0, "attempt": 1, "step": 1, "kind": "train", "loss": 1.0}


@pytest.mark.parametrize(
    "odd",
    [
        {**ROW, "step": "5"},
        {**ROW, "step": None},
        {**ROW, "kind": ["train"]},
        {**ROW, "attempt": "2"},
        {**ROW, "attempt": [2]},
        {**ROW, "kind": "eval", "step": 2, "time": "now"},
        {**ROW, "name": {"a": 1}},
        {**ROW, "kind": "event", "event": ["save"]},
        {**BEGIN, "resumed_attempt": [1], "step": 1},
    ],
    ids=str,
)
def test_rows_of_another_form_are_left_out_and_counted(tmp_path, odd):
    rows = [BEGIN, ROW, odd, {**ROW, "step": 2, "loss": 0.5}, {**BEGIN, "time": 3.0, "kind": "event", "event": "save"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = load_run(tmp_path)
    told = [run.status, run.last_step, run.best("loss"), run.curve("loss"), run.lost, run.metric_names, repr(run)]
    assert told[1:4] == [2, (0.5, 2, 1), ([1, 2], [1.0, 0.5])]
    assert "0.5 at step 2" in run._repr_html_() or "loss" in run.metric_names
    assert (run.odd_rows, len(run.rows)) == (1, 5)
    assert run.metrics == [rows[1], rows[3]]
    assert run.duration_seconds == 2.0
    fresh = load_run(tmp_path)
    assert [fresh.duration_seconds, fresh.metric_names, fresh.config] == [2.0, ["loss"], {}]


def test_a_mistake_of_ours_is_no_odd_row(tmp_path, monkeypatch):
    def broken(*given):
        raise TypeError("ours")

    monkeypatch.setattr("hf_monitor.run.reader.curve_of", broken)
    with pytest.raises(TypeError, match="ours"):
        made(tmp_path).curve("loss")


def test_a_number_beyond_any_float_and_a_message_that_is_no_text_are_shown(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    writer.row("eval", 1, {"eval_huge": 10**400})
    writer.event("error", 1, message={"a": 1}, type="ValueError")
    run = load_run(tmp_path)
    assert cells("eval_huge", "about 10^400", "", "") in plain(run._repr_html_())
    assert "{&#x27;a&#x27;: 1}" in run._repr_html_()
