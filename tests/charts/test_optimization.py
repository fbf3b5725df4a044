"""The four charts of optimization: every number drawn against data computed by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from hf_monitor.charts import optimization
from hf_monitor.charts.batch_size import BatchSizeChart
from hf_monitor.charts.gpu_memory import GpuMemoryChart
from hf_monitor.charts.importance import HyperparameterImportanceChart
from hf_monitor.charts.learning_rate import LearningRateChart
from hf_monitor.charts.optimization import create_optimization_visualizations
from hf_monitor.charts.permutation import _encoded
from hf_monitor.charts.schedule import Schedule
from hf_monitor.charts.sweep import Sweep
from hf_monitor.charts.thin import thin
from hf_monitor.errors import InputError, NothingToDraw, RunFolderError
from hf_monitor.run import RunWriter, load_run

FIRST = {"kind": "event", "event": "sampler_begin", "gpus": [{"gpu": 0, "name": "A100", "memory_total_mib": 1000.0}]}


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def sweep_rows(n, seed=0):
    """Score depends on the learning rate alone, by hand: 30 - 5 (log10(lr) + 4)²."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(n):
        rate = 10 ** draw.uniform(-5.5, -2.5)
        rows.append(
            {
                "number": number,
                "params_learning_rate": rate,
                "params_weight_decay": float(draw.choice([0.0, 0.01, 0.1])),
                "params_optim": str(draw.choice(["adamw_torch", "adafactor"])),
                "params_epochs": 3,
                "value": 30 - 5 * (math.log10(rate) + 4) ** 2,
                "state": "COMPLETE",
            }
        )
    return rows


@pytest.fixture(scope="module")
def known_truth():
    return HyperparameterImportanceChart.from_rows(pd.DataFrame(sweep_rows(30)))


@pytest.fixture
def make_run(tmp_path):
    def make(name, score, **arguments):
        writer = RunWriter(tmp_path / "sweep" / name / "monitor")
        arguments = {"learning_rate": 1e-4, "output_dir": name, "metric_for_best_model": "rougeL", **arguments}
        writer.begin_attempt({"arguments": arguments, "devices": {"world_size": 2}})
        writer.event("train_begin", 0)
        for step, share in ((0, 0.0), (10, 1.0), (20, 0.5)):
            writer.row("train", step, {"loss": 1.0, "learning_rate": arguments["learning_rate"] * share})
        if score is not None:
            writer.row("eval", 10, {"eval_rougeL": score - 1, "eval_loss": 9.0})
            writer.row("eval", 20, {"eval_rougeL": score, "eval_loss": 9.0})
        return writer

    return make


def test_what_the_score_depends_on_comes_first_and_the_others_reach_zero(known_truth):
    rows = known_truth.table()
    assert rows[0]["hyperparameter"] == "learning_rate"
    assert rows[0]["lowest"] > 0.3
    assert {row["hyperparameter"] for row in rows[1:]} == {"weight_decay", "optim"}
    assert all(row["lowest"] <= 0.02 and row["highest"] < 0.3 * rows[0]["importance"] for row in rows[1:])
    assert known_truth.importance.mean_r2 > 0.5
    assert any("epochs" in note for note in known_truth.notes)  # the same in all runs
    assert [len(values) for values in known_truth.importance.values] == [15, 15, 15]


def test_bars_whiskers_and_words_are_those_of_the_table(known_truth):
    ax = known_truth.plot()
    rows = known_truth.table()
    assert [bar.get_width() for bar in ax.patches] == [row["importance"] for row in rows]
    assert [text.get_text() for text in ax.get_yticklabels()] == [row["hyperparameter"] for row in rows]
    whiskers = ax.containers[0].lines[2][0].get_segments()
    assert [left[0] for left, _ in whiskers] == pytest.approx([row["lowest"] for row in rows])
    assert [right[0] for _, right in whiskers] == pytest.approx([row["highest"] for row in rows])
    title = ax.get_title(loc="left")
    assert "n = 30 runs" in title
    assert "Permutation importance (scikit-learn) on held-out runs" in title
    assert f"held-out R² = {rows[0]['held_out_r2']:.2f}" in title
    assert "lowest and highest of 15" in ax.get_xlabel()


def test_the_same_runs_give_the_same_importances(known_truth):
    assert HyperparameterImportanceChart.from_rows(sweep_rows(30)).table() == known_truth.table()


def test_of_noise_the_chart_says_that_its_importances_mean_nothing():
    draw = np.random.default_rng(3)
    chart = HyperparameterImportanceChart.from_rows([{**row, "value": draw.normal()} for row in sweep_rows(20)])
    assert chart.importance.mean_r2 < 0
    assert "mean nothing" in chart.plot().get_title(loc="left")
    assert any("mean nothing" in note for note in chart.notes)


def test_too_few_runs_are_drawn_as_points_and_said():
    rows = [
        {"learning_rate": rate, "optim": optim, "bf16": True, "eval_rougeL": score}
        for rate, optim, score in ((1e-5, "나", 1.0), (1e-4, "가", 3.0), (1e-3, "가", 2.0))
    ]
    chart = HyperparameterImportanceChart.from_rows(rows)
    rates, optim = chart.plot()
    assert rates.get_title(loc="left") == "Too few runs for importances (at least 10)\nn = 3 runs"
    assert rates.collections[0].get_offsets().tolist() == [[1e-5, 1.0], [1e-4, 3.0], [1e-3, 2.0]]
    assert rates.get_xscale() == "log"
    assert [text.get_text() for text in rates.get_xticklabels()] == ["1e-05", "0.0001", "0.001"]
    assert optim.collections[0].get_offsets().tolist() == [[1, 1.0], [0, 3.0], [0, 2.0]]
    assert [text.get_text() for text in optim.get_xticklabels()] == ["가", "나"]
    assert (rates.get_ylabel(), optim.get_xlabel()) == ("eval_rougeL", "optim")
    assert chart.table()[1] == {
        "hyperparameter": "learning_rate",
        "value": 1e-4,
        "score": 3.0,
        "metric": "eval_rougeL",
        "run": "1",
    }
    assert "too few runs for importances: 3 configurations, at least 10 are needed" in chart.notes


def test_seeds_are_repeats_and_count_as_one_configuration():
    rows = [{"lr": rate, "seed": seed, "score": rate + seed} for rate in (1, 2, 3, 4) for seed in range(3)]
    sweep = Sweep.from_rows(rows)
    assert sweep.varied.keys() == {"lr"}
    assert sweep.configurations == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert HyperparameterImportanceChart.from_sweep(sweep).importance is None
    with pytest.raises(NothingToDraw, match="seeds are repeats"):
        HyperparameterImportanceChart.from_rows([{"lr": 1, "seed": seed, "score": seed} for seed in range(3)])


def test_hyperparameters_that_always_change_together_are_one():
    rows = [{"a": i % 3, "b": "xyz"[i % 3], "c": (7 * i) % 5, "score": float(i % 3)} for i in range(15)]
    chart = HyperparameterImportanceChart.from_rows(rows)
    assert chart.importance.names[0] == "a = b"
    assert sorted(chart.importance.names) == ["a = b", "c"]


def test_runs_without_a_score_are_left_out_and_counted():
    rows = [{"params": {"lr": i}, "value": value} for i, value in enumerate([1.0, None, math.nan, math.inf, 2.0])]
    sweep = Sweep.from_rows([*rows, {"params": {"lr": 9}, "value": 7.0, "state": "TrialState.PRUNED"}])
    assert [run.score for run in sweep.runs] == [1.0, 2.0]
    assert sweep.notes == ["1 of 6 trials are not complete (PRUNED)", "3 runs without a finite value left out"]
    assert sweep.best is None  # whether more is better, Optuna's table does not say
    assert Sweep.from_rows(rows, greater_is_better=False).best.score == 1.0


def test_all_scores_equal_and_one_hyperparameter_are_points():
    equal = HyperparameterImportanceChart.from_rows([{"a": i, "b": i % 4, "score": 1.0} for i in range(12)])
    one = HyperparameterImportanceChart.from_rows([{"a": i, "score": float(i)} for i in range(12)])
    assert equal.why_not == "no importances: all scores are equal"
    assert one.why_not == "no importances: only one hyperparameter differs"
    assert one.plot()[0].collections[0].get_offsets().tolist() == [[i, float(i)] for i in range(12)]


def test_numbers_too_large_to_be_drawn_are_ranked_last_and_their_scores_left_out():
    rates = [1e-5, 1e300, 10**400, 1e-4] * 5
    rows = [{"lr": rate, "b": i % 5, "score": float(rate < 1)} for i, rate in enumerate(rates)]
    chart = HyperparameterImportanceChart.from_rows(rows)
    assert chart.importance.names[0] == "lr"
    assert _encoded(chart.sweep.varied["lr"])[:4] == [0.0, 2.0, 2.0, 1.0]
    few = HyperparameterImportanceChart.from_rows([{"lr": rate, "score": 1.0 + i} for i, rate in enumerate(rates[:4])])
    assert [text.get_text() for text in few.plot()[0].get_xticklabels()] == ["1e-05", "0.0001", "inf"]
    sweep = Sweep.from_rows([{"lr": 1, "score": score} for score in (1.0, 1e200, 10**400, -1e200)])
    assert sweep.notes == ["3 runs without a finite score left out"]


def test_ranks_tell_numbers_apart_that_are_one_in_the_floats_of_the_trees():
    assert _encoded([2**24, 2**24 + 1, None, 2**24, True]) == [1.0, 2.0, -3.0, 1.0, 0.0]


def test_the_throughput_of_whole_trainings_is_drawn_and_different_data_said(make_run, tmp_path):
    for name, size, speed, data in (("a", 4, 50.0, "x"), ("b", 8, 70.0, "y"), ("c", 16, 1e200, None)):
        writer = make_run(name, 30.0, per_device_train_batch_size=size)
        writer.row("train_summary", 20, {"train_samples_per_second": speed})
        writer.update_facts({"data": {"train": {"fingerprint": data}}})
    runs = [load_run(tmp_path / "sweep" / name) for name in "abc"]
    sweep = Sweep.from_runs(runs)
    assert [run.samples_per_second for run in sweep.runs] == [50.0, 70.0, None]
    assert sweep.notes == ["the runs were not all trained on the same data"]
    assert Sweep.from_runs(runs[::2]).notes == []  # of which one does not say
    throughput, score = BatchSizeChart.from_rows(sweep=sweep).plot()
    assert throughput.collections[0].get_offsets().tolist() == [[8, 50.0], [16, 70.0]]
    assert (throughput.get_title(loc="left"), throughput.get_ylabel()) == (
        "Throughput, n = 2 runs",
        "samples/s of the whole training",
    )
    assert score.collections[0].get_offsets().tolist() == [[8, 30.0], [16, 30.0], [32, 30.0]]


def test_a_run_whose_score_is_too_large_to_be_drawn_is_left_out(make_run, tmp_path):
    make_run("a", 30.0)
    make_run("b", 1e200)
    sweep = Sweep.from_runs([load_run(tmp_path / "sweep" / name) for name in "ab"])
    assert [run.name for run in sweep.runs] == ["a"]
    assert sweep.notes == ["1 run without a finite eval_rougeL left out"]


def test_of_word_error_rates_the_lowest_is_the_best_though_the_trainer_says_otherwise(tmp_path):
    for name, values in (("a", (0.9, 0.2)), ("b", (0.6, 0.5))):
        writer = RunWriter(tmp_path / name)
        writer.begin_attempt({"arguments": {"metric_for_best_model": "wer", "greater_is_better": True, "seed": name}})
        for step, value in enumerate(values):
            writer.row("eval", step, {"eval_wer": value})
    sweep = Sweep.from_runs([load_run(tmp_path / name) for name in "ab"])
    assert (sweep.greater_is_better, sweep.best.name, sweep.best.score) == (False, "a", 0.2)


def test_run_folders_give_arguments_that_differ_and_their_best_evaluation(make_run, tmp_path):
    make_run("a", 30.0, learning_rate=1e-5, per_device_train_batch_size=4, gradient_accumulation_steps=2, seed=1)
    make_run("b", 32.0, learning_rate=1e-3, per_device_train_batch_size=8, gradient_accumulation_steps=2, seed=2)
    make_run("c", None)
    sweep = Sweep.from_runs([load_run(tmp_path / "sweep" / name) for name in "abc"])
    assert (sweep.metric, sweep.greater_is_better, sweep.best.name) == ("eval_rougeL", True, "b")
    assert sweep.varied == {"learning_rate": [1e-5, 1e-3], "per_device_train_batch_size": [4, 8]}
    assert [(run.name, run.score, run.effective_batch_size) for run in sweep.runs] == [("a", 30.0, 16), ("b", 32.0, 32)]
    assert sweep.notes == ["1 run without a finite eval_rougeL left out"]
    (chart,) = [BatchSizeChart.from_rows(sweep=sweep)]
    ax = chart.plot()
    assert ax.collections[0].get_offsets().tolist() == [[16, 30.0], [32, 32.0]]
    assert (ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel()) == (
        "Score, n = 2 runs",
        "samples per optimizer step (effective batch)",
        "eval_rougeL",
    )


def test_schedule_is_drawn_as_recorded_with_its_peak(make_run, tmp_path):
    make_run("a", None)
    ax = LearningRateChart.from_run(tmp_path / "sweep" / "a").plot()
    assert points(ax.get_lines()[0]) == [(0, 0.0), (10, 1e-4), (20, 5e-5)]
    assert legend(ax) == ["highest 0.0001 at step 10, at or near the end of warm-up"]
    assert ax.collections[0].get_offsets().tolist() == [[10, 1e-4]]
    assert ax.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, 2, 3], "highest 3 at step 3, still rising at the last point"),
        ([3, 2, 1, 4], "highest 4 at step 4, still rising at the last point"),
        ([1, 2, 3, 3, 2], "highest 3 at step 3, at or near the end of warm-up"),
        ([1, 3, 3, 3], "highest 3 at step 2, at or near the end of warm-up"),
        ([3, 2, 1, 4, 3, 2, 1], "highest 4 at step 4"),  # restarts
        ([1, 3, 2, 3, 2], "highest 3 at step 2"),
        ([3, 2, 1], "highest 3 at step 1"),
        ([3, 3], "3 throughout"),
    ],
)
def test_the_end_of_a_warm_up_is_said_only_where_the_values_show_one(values, said):
    assert Schedule("a", list(range(1, len(values) + 1)), values).said() == said


def test_empty_cells_of_a_table_are_no_faults():
    rows = [
        {"step": 1, "learning_rate": 0.1, "kind": None},
        {"step": 1, "eval_loss": 1.0, "kind": "eval"},
        {"step": 2, "learning_rate": 0.2},
    ]
    for data in (pd.DataFrame(rows), rows, [{**row, "kind": row.get("kind", math.nan)} for row in rows]):
        chart = LearningRateChart.from_rows(data)
        assert (chart.schedules[0].steps, chart.schedules[0].values, chart.notes) == ([1, 2], [0.1, 0.2], [])
    log_history = pd.DataFrame([{"step": 1, "learning_rate": 0.1}, {"step": 1, "eval_loss": 1.0}])
    assert LearningRateChart.from_rows(log_history).notes == []


def test_the_learning_rate_of_trainer_state_json_is_drawn(tmp_path):
    state = {"log_history": [{"step": 1, "learning_rate": 0.1}, {"step": 2, "learning_rate": 0.2}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    assert LearningRateChart.from_rows(state).schedules[0].values == [0.1, 0.2]
    drawn = create_optimization_visualizations(history_data=tmp_path / "trainer_state.json", output_dir=tmp_path / "a")
    assert [path.name for path in drawn] == ["02_learning_rate_schedule.png"]


def test_of_equal_schedules_the_best_run_is_named_first_and_none_is_hidden():
    falling = [{"step": step, "learning_rate": 1 / step} for step in (1, 2)]
    chart = LearningRateChart.from_rows({"a": falling, "b": falling, "c": falling}, best="c")
    assert legend(chart.plot()) == ["c (best) = a and 1 more\nhighest 1 at step 1"]
    assert chart.notes == ["the same learning rates, so one line: a, b, c"]


def test_several_schedules_are_named_and_equal_ones_are_one_line():
    flat = [{"step": step, "learning_rate": 1e-3} for step in (1, 2)]
    falling = [{"step": step, "learning_rate": 1e-5 / step} for step in (1, 2)]
    ax = LearningRateChart.from_rows({"가": flat, "b": falling, "c": flat}, best="b").plot()
    assert [points(line) for line in ax.get_lines()] == [[(1, 1e-3), (2, 1e-3)], [(1, 1e-5), (2, 5e-6)]]
    assert legend(ax) == ["가 = c\n0.001 throughout", "b (best)\nhighest 1e-05 at step 1"]
    assert ax.get_yscale() == "log"  # the runs are two decades apart
    first, second = ax.get_lines()
    assert (first.get_linestyle(), first.get_color()) != (second.get_linestyle(), second.get_color())


def test_many_schedules_are_grey_but_the_best():
    rows = {f"run {i}": [{"step": s, "learning_rate": 1e-4 * (i + 1) / s} for s in (1, 2)] for i in range(50)}
    chart = LearningRateChart.from_rows(rows, best="run 7")
    ax = chart.plot()
    assert len(ax.collections[0].get_segments()) == 49
    (line,) = ax.get_lines()
    assert points(line) == [(1, 8e-4), (2, 4e-4)]
    assert ax.collections[1].get_offsets().tolist() == [[1, 8e-4]]
    assert legend(ax) == ["49 other runs", "best run: run 7\nhighest 0.0008 at step 1"]
    assert len(chart.table()) == 100


def test_rows_without_a_learning_rate_are_counted_and_wrong_ones_refused():
    chart = LearningRateChart.from_rows(
        [{"step": 1, "learning_rate": 0.1}, {"step": 2, "learning_rate": math.nan}, {"learning_rate": 0.1}]
    )
    assert chart.notes == ["2 rows without a finite learning rate or a step"]
    rows = [
        {"step": 1, "learning_rate": 0.1},
        {"step": 2, "learning_rate": 10**400},
        {"step": 3, "learning_rate": 1e300},
    ]
    huge = LearningRateChart.from_rows([*rows, {"step": 10**30, "learning_rate": 0.1}])
    assert (huge.schedules[0].steps, huge.notes) == ([1], ["3 rows without a finite learning rate or a step"])
    with pytest.raises(NothingToDraw, match="learning_rate"):
        LearningRateChart.from_rows([{"step": 1, "loss": 1.0}])
    for wrong in ("fast", -0.1, True):
        with pytest.raises(InputError, match="learning_rate of row 0"):
            LearningRateChart.from_rows([{"step": 1, "learning_rate": wrong}])


def trial(size, peak_mib, speed, fits=True, **more):
    out = peak_mib is None
    peak = None if out else peak_mib * 2**20
    return {
        **{"batch_size": size, "peak_bytes": peak, "fits": fits, "out_of_memory": out, "samples_per_second": speed},
        **{"phase": "train", "precision": "bf16", "gradient_checkpointing": False, **more},
    }


TRIALS = [
    trial(1, 100, 10.0),
    trial(4, 200, 20.0),
    trial(4, 210, 30.0),
    trial(4, 190, 22.0),
    trial(8, 400, 40.0, fits=False),
    trial(16, None, None, fits=False),
    trial(8, 150, 15.0, gradient_checkpointing=True),
]


def test_throughput_is_the_median_and_memory_the_highest_of_each_size():
    chart = BatchSizeChart.from_rows(TRIALS, limit_bytes=350 * 2**20)
    speed, memory = chart.plot()
    plain, checkpointing, crosses = speed.get_lines()
    assert points(plain) == [(1, 10.0), (4, 22.0)]  # of those that fit
    assert points(checkpointing) == [(8, 15.0)]
    assert (list(crosses.get_xdata()), crosses.get_marker(), crosses.get_color()) == ([8, 16], "x", plain.get_color())
    assert legend(speed) == ["no checkpointing", "checkpointing", "does not fit"]
    assert speed.get_title(loc="left") == "Throughput, n = 5 steps"
    plain, checkpointing, over, crosses, limit = memory.get_lines()
    assert points(plain) == [(1, 100.0), (4, 210.0), (8, 400.0)]
    assert points(checkpointing) == [(8, 150.0)]
    assert points(over) == [(8, 400.0)]
    assert list(crosses.get_xdata()) == [16]
    assert list(limit.get_ydata()) == [350.0, 350.0]
    assert legend(memory)[2:] == ["above what may be taken", "does not fit", "limit 350 MiB"]
    assert memory.get_title(loc="left") == "Peak memory, n = 6 steps"
    assert chart.notes == ["no panel of the score: there are no several runs with a batch size and a score"]
    assert len(chart.table()) == 7


def test_the_limit_is_read_from_the_runs_plan(make_run, tmp_path):
    writer = make_run("a", None)
    writer.rows("trials.jsonl", TRIALS[:2])
    (writer.run_dir / "plan.json").write_text(json.dumps({"plan": {"probe": {"limit_bytes": 300 * 2**20}}}))
    assert BatchSizeChart.from_run(writer.run_dir).limit_mib == 300.0
    (writer.run_dir / "plan.json").write_text("torn {")
    chart = BatchSizeChart.from_run(writer.run_dir)
    assert chart.limit_mib is None
    assert any("no line of the limit" in note for note in chart.notes)


def test_trials_of_runs_keep_their_limits_and_are_series_of_their_own(make_run, tmp_path):
    for name, limit in (("a", 300), ("b", 300)):
        writer = make_run(name, None)
        writer.rows("trials.jsonl", TRIALS[:2])
        (writer.run_dir / "plan.json").write_text(json.dumps({"plan": {"probe": {"limit_bytes": limit * 2**20}}}))
    (tmp_path / "sweep" / "newer").mkdir()
    (tmp_path / "sweep" / "newer" / "run.json").write_text('{"format": 999}')
    drawn = []

    def keep(charts, output_dir):
        drawn.append(dict(charts)["03_batch_size.png"]())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimization, "save_charts", keep)
        for given in (tmp_path / "sweep", load_run(tmp_path / "sweep" / "a")):
            create_optimization_visualizations(trials=given, output_dir=tmp_path / "plots")
    both, one = drawn
    assert any(note.startswith("left out: ") and "newer" in note for note in both.notes)
    assert [(each.name, len(each.trials)) for each in both.series] == [("a", 2), ("b", 2)]
    assert (both.limit_mib, one.limit_mib, len(one.series)) == (300.0, 300.0, 1)
    (writer.run_dir / "plan.json").write_text(json.dumps({"plan": {"probe": {"limit_bytes": 10**400}}}))
    chart = BatchSizeChart.from_run(tmp_path / "sweep")
    assert chart.limit_mib is None
    assert "the runs could take different amounts of memory, so there is no line of the limit" in chart.notes


def test_numbers_of_trials_too_large_to_be_drawn_are_not_there():
    rows = [trial(4, 200, 20.0), trial(8, 1e300, 1e300), {"batch_size": 2, "fits": True, "seconds": 1e-320}]
    speed, memory = BatchSizeChart.from_rows(rows).plot()
    assert [points(line) for line in speed.get_lines()] == [[(4, 20.0)]]
    assert [points(line) for line in memory.get_lines()] == [[(4, 200.0)]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"batch_size": 0, "fits": True}, "batch_size of row 0"),
        ({"batch_size": "four", "fits": True}, "batch_size of row 0"),
        ({"batch_size": math.nan, "fits": True}, "batch_size of row 0"),
        ({"batch_size": 4, "peak_bytes": -1}, "peak_bytes of row 0"),
        ({"batch_size": 4, "fits": "yes"}, "fits of row 0"),
        ({"size": 4}, "neither"),
    ],
)
def test_what_is_no_trial_is_refused_before_a_picture_is_written(row, message, tmp_path):
    with pytest.raises(InputError, match=message):
        create_optimization_visualizations(
            trials=[row], history_data=[{"step": 1, "learning_rate": 1.0}], output_dir=tmp_path / "plots"
        )
    assert not (tmp_path / "plots").exists()


def sample(second, used, gpu=0, attempt=1, **more):
    row = {"time": 1e9 + second, "attempt": attempt, "step": second // 2, "kind": "gpu", "gpu": gpu}
    return {**row, "memory_used_mib": used, **more}


def test_gpu_memory_has_a_line_a_card_its_peak_and_95_percent_of_its_total():
    rows = [FIRST, sample(0, 100.0), sample(0, 50.0, gpu=1), sample(1, 900.0), sample(2, 300.0), sample(3, None)]
    chart = GpuMemoryChart.from_rows(rows)
    ax = chart.plot()
    first, second, edge = ax.get_lines()
    assert points(first) == [(0, 100.0), (1, 900.0), (2, 300.0)]
    assert points(second) == [(0, 50.0)]
    assert list(edge.get_ydata()) == [950.0, 950.0]
    assert ax.collections[0].get_offsets().tolist() == [[1, 900.0], [0, 50.0]]
    assert [tuple(colour) for colour in ax.collections[0].get_edgecolors()] == [
        to_rgba(line.get_color()) for line in (first, second)
    ]
    assert legend(ax) == [
        "GPU 0, A100:\nhighest 900 MiB (90.0 %) at step 0",
        "GPU 1:\nhighest 50 MiB at step 0",
        "95 % of 1,000 MiB",
    ]
    assert ax.get_title(loc="left") == "GPU memory, n = 3 samples a GPU at most"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("seconds of recording", "memory used (MiB)")
    assert chart.notes == [
        "GPU 0: 1 of 4 samples do not say how much is used",
        "GPU 1: its total memory is not recorded, so there is no 95 % line",
    ]


def test_of_different_cards_each_95_percent_line_looks_as_its_card():
    totals = (1000.0, 2000.0, 1000.0, None)
    gpus = [{"gpu": gpu, "memory_total_mib": total} for gpu, total in enumerate(totals)]
    rows = [{**FIRST, "gpus": gpus}, *(sample(0, 100.0, gpu=gpu) for gpu in range(4))]
    ax = GpuMemoryChart.from_rows(rows).plot()
    *cards, small, large = ax.get_lines()
    assert [line.get_ydata()[0] for line in (small, large)] == [950.0, 1900.0]
    for card, line in zip(cards, (small, large), strict=False):
        assert (line.get_color(), line.get_linestyle()) == (card.get_color(), card.get_linestyle())
    assert small.get_color() != large.get_color()
    assert [text.partition("step 0")[2] for text in legend(ax)] == [
        "\nstraight line: 95 % of 1,000 MiB",
        "\nstraight line: 95 % of 2,000 MiB",
        "\nstraight line: 95 % of 1,000 MiB (that of GPU 0)",
        "",
    ]


def test_rows_given_rank_by_rank_are_the_same_as_in_the_order_of_time():
    rows = [FIRST, *(sample(10 * k, 1.0, rank=r, attempt=k // 2 + 1) for k in range(4) for r in (0, 1))]
    by_rank = [FIRST, *sorted(rows[1:], key=lambda row: row["rank"])]
    in_time, given = (GpuMemoryChart.from_rows(data) for data in (rows, by_rank))
    assert [one.times_s for one in in_time.series] == [[0, 10, 11, 21]] * 2
    assert given.table() == in_time.table()


def test_no_line_is_drawn_across_a_pause_or_from_one_attempt_to_the_next():
    rows = [FIRST, *(sample(second, 1.0) for second in (0, 1, 2, 1002, 1003))]
    rows += [sample(second, 2.0, attempt=2) for second in (90000, 90001)]
    chart = GpuMemoryChart.from_rows(rows)
    assert chart.series[0].stretches() == [0, 0, 0, 1, 1, 2, 2]
    seldom = [FIRST, *(sample(second, 1.0) for second in (0, 60, 120, 180, 480, 781))]  # 300 s is five times the usual
    assert GpuMemoryChart.from_rows(seldom).series[0].stretches() == [0, 0, 0, 0, 0, 1]
    ax = chart.plot()
    x, y = ax.get_lines()[0].get_data()
    begin = 1003 * 1.02  # what lies between two attempts is taken out
    assert np.flatnonzero(np.isnan(y)).tolist() == [3, 6]
    assert [v * 60 for v in x if v == v] == pytest.approx([0, 1, 2, 1002, 1003, begin, begin + 1])
    assert "a later attempt begins" in ax.get_xlabel()
    assert chart.begins == pytest.approx([begin])


def test_without_a_gpu_it_is_ram_and_says_so():
    rows = [
        {
            "time": float(i),
            "kind": "host",
            "step": i,
            "ram_used_mib": 10.0 * i,
            "ram_total_mib": 100.0,
            "process_rss_mib": i,
        }
        for i in range(3)
    ]
    chart = GpuMemoryChart.from_rows(rows)
    ax = chart.plot()
    machine, process = ax.get_lines()
    assert points(machine) == [(0, 0.0), (1, 10.0), (2, 20.0)]
    assert points(process) == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert legend(ax)[0] == "machine:\nhighest 20 MiB (20.0 %) at step 2\n95 % of 100 MiB: 95 MiB, above the picture"
    full = GpuMemoryChart.from_rows([{**row, "ram_total_mib": 40.0} for row in rows]).plot()
    assert list(full.get_lines()[2].get_ydata()) == [38.0, 38.0]
    assert legend(full)[0] == "machine:\nhighest 20 MiB (50.0 %) at step 2"
    assert ax.get_title(loc="left") == "No GPU was recorded: RAM, n = 3 samples"
    assert chart.notes == ["no GPU was recorded: RAM is shown instead"]
    with pytest.raises(NothingToDraw, match="no memory was recorded"):
        GpuMemoryChart.from_rows([FIRST])


def test_rows_that_went_through_a_data_frame_are_the_same():
    rows = [FIRST, sample(0, 100.0), sample(1, 900.0), sample(2, 300.0, attempt=2), sample(3, 7.0, gpu=1, rank=8)]
    of_frame, of_rows = (GpuMemoryChart.from_rows(data) for data in (pd.DataFrame(rows), rows))
    assert of_frame.table() == of_rows.table()
    assert of_frame.notes == of_rows.notes
    assert [one.name for one in of_frame.series] == ["GPU 0", "GPU 1 of rank 8"]
    assert BatchSizeChart.from_rows(pd.DataFrame(TRIALS)).table() == BatchSizeChart.from_rows(TRIALS).table()


def test_where_the_driver_is_silent_torchs_allocator_is_shown():
    chart = GpuMemoryChart.from_rows([FIRST, sample(0, None, torch_reserved_mib=7.0)])
    assert legend(chart.plot())[0] == "GPU 0, A100, torch's allocator:\nhighest 7 MiB (0.7 %) at step 0"
    assert "the driver does not say" in chart.notes[0]


def test_a_million_samples_are_thinned_and_their_extremes_stay():
    n = 1_000_000
    values = np.full(n, 5.0)
    values[123_456], values[777_777] = 9.0, 1.0
    kept = thin(np.arange(n), values, 2000)
    assert len(kept) <= 2004
    assert {0, 123_456, 777_777, n - 1} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_a_folder_of_runs_gives_four_pictures_the_same_each_time(make_run, tmp_path):
    for number, rate in enumerate((1e-5, 1e-4, 1e-3)):
        writer = make_run(f"r{number}", 30.0 + number, learning_rate=rate, per_device_train_batch_size=4)
        writer.rows("system.jsonl", [FIRST, sample(0, 10.0 + number), sample(1, 20.0)])
    first = create_optimization_visualizations(tmp_path / "sweep", output_dir=tmp_path / "a")
    assert [path.name for path in first] == [
        "01_hyperparameter_importance.png",
        "02_learning_rate_schedule.png",
        "03_batch_size.png",
        "04_gpu_memory.png",
    ]
    assert first.left_out == {}
    assert first.notes["04_gpu_memory.png"] == ["of 3 runs this is r2: the one with the best score"]
    again = create_optimization_visualizations(tmp_path / "sweep", output_dir=tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]


def test_of_one_run_what_there_is_and_nothing_of_nothing(make_run, tmp_path, caplog):
    writer = make_run("a", 30.0)
    pictures = create_optimization_visualizations(writer.run_dir, output_dir=tmp_path / "a")
    assert [path.name for path in pictures] == ["02_learning_rate_schedule.png"]
    assert "needs several that differ" in pictures.left_out["01_hyperparameter_importance.png"]
    assert "3 of 4 charts are left out" in caplog.text
    with pytest.raises(InputError, match="nothing to draw: pass runs="):
        create_optimization_visualizations(metric="x", output_dir=tmp_path / "b")


def test_what_nothing_was_passed_for_is_no_warning(tmp_path, caplog):
    history = [{"step": 1, "learning_rate": 1.0}]
    pictures = create_optimization_visualizations(history_data=history, output_dir=tmp_path)
    assert [path.name for path in pictures] == ["02_learning_rate_schedule.png"]
    assert len(pictures.left_out) == 3
    assert caplog.messages == []


def test_a_metric_that_is_not_there_is_refused_with_those_that_are(make_run, tmp_path):
    run = load_run(make_run("a", 30.0).run_dir)
    with pytest.raises(InputError, match=r"'eval_rougel' \(did you mean 'eval_rougeL'\?\).*: eval_loss, eval_rougeL\."):
        create_optimization_visualizations(run, metric="eval_rougel", output_dir=tmp_path / "plots")
    assert Sweep.from_runs([run], metric="rougeL").metric == "eval_rougeL"


def test_a_table_of_runs_in_a_file_is_refused_with_the_line_that_reads_it(tmp_path):
    (tmp_path / "sweep.csv").write_text("lr,score\n1,2\n")
    with pytest.raises(InputError, match=r"pandas\.read_csv\('.*sweep\.csv'\)"):
        create_optimization_visualizations(tmp_path / "sweep.csv")


def test_what_is_no_run_and_no_table_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="no run folder"):
        create_optimization_visualizations(tmp_path / "absent")
    for wrong in (7, [7], {"a": 1}, [{"lr": 1.0, "loss_of_what": 2.0}], [{"lr": 1.0, "score": "good"}]):
        with pytest.raises(InputError, match=r"runs must|Pass metric=|must be"):
            create_optimization_visualizations(wrong, output_dir=tmp_path / "plots")
    with pytest.raises(InputError, match="neither a trial of a batch size"):
        create_optimization_visualizations(trials=[{"step": 1}])
