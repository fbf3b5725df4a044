import json
import math

import numpy as np
import pandas as pd
import pytest

from hf_monitor.charts import LossChart, TrainingHistoryChart, draw_history
from hf_monitor.charts.curves import curves_of
from hf_monitor.charts.thin import thin
from hf_monitor.diagnosis.overfitting import overfitting_onset
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run.writer import RunWriter

FALLS = [{"loss": 4.0 - step / 20, "step": step} for step in range(10, 70, 10)]
VALIDATION = {10: 3.5, 20: 3.0, 30: 2.8, 40: 2.9, 50: 3.1, 60: 3.4}
OVERFITTED = FALLS + [{"eval_loss": value, "step": step} for step, value in VALIDATION.items()]


def labels_of(ax):
    return [line.get_label() for line in ax.get_lines()]


def vertical_lines(ax):
    return [line for line in ax.get_lines() if list(line.get_ydata()) == [0, 1]]


def test_the_point_where_overfitting_begins_is_drawn_and_named():
    chart = LossChart.from_rows(OVERFITTED)
    (onset,) = chart.onsets
    assert onset == (30, 2.8, pytest.approx(3.25), 2.5, 1.0, 3, False)
    ax = chart.plot()
    (line,) = vertical_lines(ax)
    assert list(line.get_xdata()) == [30, 30]
    assert labels_of(ax)[1] == "validation loss, lowest 2.8 at step 30\noverfitting begins there"
    assert {"series": "eval_loss: overfitting begins", "step": 30, "value": 2.8} in chart.table()


DOWN = {step: 4.0 - step / 20 for step in range(10, 70, 10)}


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ({10: 4.0, 20: 3.5, 30: 3.0, 40: 2.5}, {10: 3.5, 20: 3.0, 30: 2.9, 40: 3.2}),  # one evaluation after the lowest
        ({10: 4.0, 20: 3.5, 30: 3.6, 40: 3.9}, {10: 3.5, 20: 3.0, 30: 3.2, 40: 3.4}),  # the training loss rises too
        ({10: 4.0, 20: 3.5, 30: 3.0, 40: 2.5}, {10: 3.5, 20: 3.0, 30: 3.01, 40: 3.02}),  # less than 1 %
        (DOWN, {10: 3.1, 20: 3.0, 30: 3.2, 40: 3.05, 50: 3.25, 60: 3.1}),  # it only scatters
        (DOWN, {10: 3.3, 20: 3.0, 30: 3.4, 40: 3.35, 50: 3.3, 60: 3.25}),  # it falls again
        ({10: math.nan, 20: math.nan}, {10: 3.5, 20: 3.0, 30: 3.2, 40: 3.4}),
    ],
)
def test_no_overfitting_without_its_evidence(train, validation):
    rows = [{"loss": value, "step": step} for step, value in train.items()]
    rows += [{"eval_loss": value, "step": step} for step, value in validation.items()]
    chart = LossChart.from_rows(rows)
    assert chart.onsets == [None]
    assert vertical_lines(chart.plot()) == []


def test_each_evaluation_set_has_an_onset_of_its_own():
    rows = FALLS + [
        {"eval_ko_loss": value, "eval_en_loss": 4.0 - step / 60, "step": step} for step, value in VALIDATION.items()
    ]
    chart = LossChart.from_rows(rows)
    assert [onset and onset.step for onset in chart.onsets] == [30, None]
    ax = chart.plot()
    (line,) = vertical_lines(ax)
    assert labels_of(ax)[1] == "validation loss (ko), lowest 2.8 at step 30\noverfitting begins there"
    assert (line.get_color(), line.get_linestyle()) == (
        ax.get_lines()[1].get_color(),
        ax.get_lines()[1].get_linestyle(),
    )


def test_overfitting_from_the_first_evaluation_on_may_have_begun_before():
    ax = LossChart.from_rows(FALLS + [{"eval_loss": 1 + step / 50, "step": step} for step in VALIDATION]).plot()
    assert labels_of(ax)[1] == "validation loss, lowest 1.2 at step 10\noverfitting begins there or before"


@pytest.mark.no_cover
@pytest.mark.parametrize(("n_evaluations", "most"), [(5, 0.08), (10, 0.08), (30, 0.05)])
def test_losses_that_only_scatter_are_seldom_called_overfitting_and_u_shapes_are_found(n_evaluations, most):
    draw = np.random.default_rng(0)
    steps = np.arange(1, n_evaluations + 1)
    down = np.linspace(4, 1, n_evaluations)

    def share(losses):
        return sum(overfitting_onset(steps, down, steps, losses()) is not None for _ in range(1000)) / 1000

    assert share(lambda: 1 + 0.01 * draw.standard_normal(n_evaluations)) <= most
    u_shape = 1 + 0.6 * (steps / n_evaluations - 0.5) ** 2
    assert share(lambda: u_shape * (1 + 0.003 * draw.standard_normal(n_evaluations))) >= 0.9


def test_a_validation_loss_that_never_was_a_number_is_said_and_nothing_fails():
    chart = LossChart.from_rows([{"eval_loss": math.nan, "step": 1}, {"eval_loss": math.inf, "step": 2}])
    (crosses,) = [line for line in chart.plot().get_lines() if line.get_marker() == "x"]
    assert list(crosses.get_xdata()) == [1, 2]
    assert crosses.get_label() == "validation loss, never a finite number: NaN or infinite (2)"
    assert chart.notes == ["no training loss was logged"]


def test_rows_a_table_a_run_and_its_folder_give_the_same_curves(tmp_path):
    writer = RunWriter(tmp_path / "run")
    for row in OVERFITTED:
        writer.row("train" if "loss" in row else "eval", row["step"], {k: v for k, v in row.items() if k != "step"})
    writer.close()
    from hf_monitor import load_run

    expected = {name: curve.table() for name, curve in curves_of(OVERFITTED).items()}
    assert expected["loss"][0] == {"series": "loss", "step": 10, "value": 3.5}
    for history in (pd.DataFrame(OVERFITTED), load_run(tmp_path / "run"), tmp_path / "run", iter(OVERFITTED)):
        found = {name: curve.table() for name, curve in curves_of(history).items()}
        assert found == expected
    assert LossChart.from_run(tmp_path / "run").table() == LossChart.from_rows(OVERFITTED).table()


@pytest.mark.parametrize(
    ("history", "words"),
    [
        ({"loss": 1.0, "step": 1}, "a history is a list of rows, got dict"),
        (3, "got int"),
        ([{"loss": 1.0, "step": 1}, "loss"], "row 1 of the history is str"),
    ],
)
def test_what_is_no_history_is_refused(history, words):
    with pytest.raises(InputError, match=words):
        curves_of(history)


def test_numbers_of_every_kind_and_what_is_none():
    rows = [
        {"step": 1, "loss": np.float32(0.5), "epoch": 0.1, "flag": True, "text": "x", "none": None},
        {"step": np.int64(2), "loss": 1},
        {"step": 3.0, "loss": 2.0},
        {"step": 3.5, "loss": 9.0},
        {"step": True, "loss": 9.0},
        {"step": 10**30, "loss": 9.0},
        {"loss": 9.0},
        {"step": 4, "loss": 2.0, "kind": "timing"},
    ]
    curves = curves_of(rows)
    assert {name: curve.table() for name, curve in curves.items()} == {
        "loss": [{"series": "loss", "step": step, "value": value} for step, value in ((1, 0.5), (2, 1.0), (3, 2.0))]
    }


def test_the_data_as_json_and_csv(tmp_path):
    chart = LossChart.from_rows([{"loss": 2.5, "step": 1}, {"loss": math.nan, "step": 2}])
    assert chart.to_json(tmp_path / "x.json") == tmp_path / "x.json"
    assert json.loads(chart.to_json()) == [
        {"series": "loss", "step": 1, "value": 2.5},
        {"series": "loss", "step": 2, "value": {"$float": "nan"}},
    ]
    assert (tmp_path / "x.json").read_text() == chart.to_json()
    assert chart.to_csv(tmp_path / "x.csv") == tmp_path / "x.csv"
    assert chart.to_csv() == "series,step,value\nloss,1,2.5\nloss,2,nan\n"
    assert (tmp_path / "x.csv").read_text() == chart.to_csv()


def test_a_history_takes_the_room_of_the_users_axes():
    from matplotlib.figure import Figure

    figure = Figure()
    mine, _ = figure.subplots(1, 2)
    axes = TrainingHistoryChart.from_rows([*OVERFITTED, {"learning_rate": 0.1, "step": 1}]).plot(mine)
    assert [ax.get_title(loc="left") for ax in axes] == ["Loss", "Learning rate"]
    assert all(ax.figure is figure for ax in axes)
    figure.draw_without_rendering()
    assert axes[1].get_window_extent().x1 <= mine.get_window_extent().x1 + 1
    figure.sca(mine)
    TrainingHistoryChart.from_rows([*OVERFITTED, {"learning_rate": 0.1, "step": 1}]).plot(mine)
    assert figure.gca() is mine
    with pytest.raises(InputError, match="got Figure"):
        LossChart.from_rows(OVERFITTED).plot(figure)
    with pytest.raises(InputError, match="2 panels"):
        TrainingHistoryChart.from_rows([*OVERFITTED, {"learning_rate": 0.1, "step": 1}]).plot(
            figure.add_axes((0, 0, 1, 1))
        )


@pytest.mark.parametrize("n", [0, 1, 10])
def test_histories_of_few_rows(n, tmp_path):
    rows = [{"step": step, "loss": 1.0 / step} for step in range(1, n + 1)]
    if n == 0:
        with pytest.raises(NothingToDraw):
            LossChart.from_rows(rows)
        return
    (line,) = LossChart.from_rows(rows).plot().get_lines()
    assert list(line.get_ydata()) == [1.0 / step for step in range(1, n + 1)]
    assert list(line.get_xdata()) == list(range(1, n + 1))


@pytest.mark.no_cover  # the loop over the rows is covered by the others; traced, a million of them take long
def test_a_million_rows_are_thinned_so_that_extremes_stay(tmp_path):
    n = 1_000_000
    rows = [{"step": step, "loss": 2.0 + step % 7} for step in range(n)]
    rows[123_457]["loss"], rows[700_001]["loss"] = 99.0, -5.0
    chart = LossChart.from_rows(rows)
    all_values, means = chart.plot().get_lines()
    shown = dict(zip(all_values.get_xdata().tolist(), all_values.get_ydata().tolist(), strict=True))
    assert len(shown) <= 4000
    assert (shown[123_457], shown[700_001], shown[0], shown[n - 1]) == (99.0, -5.0, 2.0, 2.0 + (n - 1) % 7)
    assert all(rows[step]["loss"] == value for step, value in shown.items())
    size = -(-n // 300)
    assert means.get_label() == f"training loss\n(means of {size:,}; pale: all values)"
    assert means.get_xdata()[0] == (size - 1) / 2
    assert means.get_ydata()[0] == pytest.approx(sum(row["loss"] for row in rows[:size]) / size)
    assert draw_history(rows[:10], tmp_path)[0].exists()


@pytest.mark.parametrize(
    "x", [np.arange(10_000), np.sort(np.r_[np.arange(9_990), np.full(10, 10**6)]), np.zeros(10_000)]
)
def test_thin_keeps_ends_and_extremes_of_every_column(x):
    y = np.random.default_rng(0).normal(size=len(x))
    kept = thin(x, y, 400)
    assert len(kept) <= 400
    assert np.all(np.diff(kept) > 0)
    assert {0, len(x) - 1, int(y.argmin()), int(y.argmax())} <= set(kept.tolist())
    columns = np.minimum((x - x[0]) * 100 // max(x[-1] - x[0], 1), 99)
    for column in np.unique(columns):
        inside, chosen = y[columns == column], y[kept][columns[kept] == column]
        assert (inside.min(), inside.max()) == (chosen.min(), chosen.max())


def test_a_spike_makes_the_axis_logarithmic_and_says_so():
    rows = [{"loss": 1e6 if step == 3 else 2.0, "step": step} for step in range(1, 20)]
    ax = LossChart.from_rows(rows).plot()
    assert (ax.get_yscale(), ax.get_ylabel()) == ("log", "loss (logarithmic)")
    assert LossChart.from_rows(OVERFITTED).plot().get_yscale() == "linear"
    assert LossChart.from_rows([*rows, {"loss": 0.0, "step": 30}]).plot().get_yscale() == "linear"


def test_scores_below_zero_are_seen():
    (ax,) = TrainingHistoryChart.from_rows([{"step": step, "eval_score": -3.0 - step} for step in (1, 2)]).plot()
    low, high = ax.get_ylim()
    assert low < -5 < -4 < high


def test_what_a_metric_is_follows_from_its_values_and_neighbours_not_from_its_end():
    panels = TrainingHistoryChart.from_rows([{"eval_rouge1": 0.31, "eval_f1_score": 0.8, "step": 1}]).panels
    assert {title: [curve.name for curve in curves] for title, curves in panels.items()} == {
        "Text scores": ["eval_rouge1"],
        "Other evaluation metrics (0-1)": ["eval_f1_score"],
    }
    assert list(TrainingHistoryChart.from_rows([{"eval_ko_score": 31.0, "eval_ko_loss": 2.0, "step": 1}]).panels) == [
        "Loss",
        "Text scores (0-100), ko",
    ]


def test_what_was_logged_and_is_not_drawn_is_said():
    rows = [{"loss": 1.0, "my_number": 7.0, "eval_perplexity": 30.0, "eval_runtime": 3.0, "step": 1}]
    assert "logged, not drawn: my_number, eval_perplexity" in TrainingHistoryChart.from_rows(rows).notes


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"loss": 1.0}, {"loss": 2.0, "step": 1.5}], "got 'loss' in 2 rows without a whole 'step'"),
        ([{"loss": "1.0", "step": 1}], "got 'loss' that is no number but str"),
        ([{"accuracy": 1.0, "step": 1}], "got numbers of 'accuracy'"),
    ],
)
def test_rows_that_nothing_can_be_drawn_of_are_told_apart(rows, words):
    with pytest.raises(NothingToDraw, match=words):
        LossChart.from_rows(rows)


@pytest.mark.no_cover
def test_tensors_of_one_element_are_numbers():
    import torch

    assert curves_of([{"loss": torch.tensor(1.5), "step": 1}])["loss"].values.tolist() == [1.5]


def test_the_trainers_own_state_file_is_a_history(tmp_path):
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": OVERFITTED}))
    assert LossChart.from_rows(tmp_path / "trainer_state.json").table() == LossChart.from_rows(OVERFITTED).table()
    assert LossChart.from_rows({"log_history": OVERFITTED}).table() == LossChart.from_rows(OVERFITTED).table()
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match="holds no log_history"):
        LossChart.from_rows(tmp_path / "other.json")


def test_csv_is_written_whole_whatever_is_in_it(tmp_path):
    chart = LossChart.from_rows([{"loss": 1.0, "eval_\ud800_loss": 1.0, "step": 1}])
    chart.to_csv(tmp_path / "new" / "x.csv")
    assert (tmp_path / "new" / "x.csv").read_text() == "series,step,value\nloss,1,1.0\neval_\\ud800_loss,1,1.0\n"


def test_a_chart_shows_itself_in_a_notebook():
    assert LossChart.from_rows(OVERFITTED)._repr_png_().startswith(b"\x89PNG")


def test_what_was_not_given_is_no_warning_and_what_is_missing_is_one(tmp_path, caplog):
    from hf_monitor import create_training_visualizations

    pictures = create_training_visualizations(history_data=OVERFITTED, output_dir=tmp_path)
    assert caplog.messages == []
    assert len(pictures.left_out) == 5
    assert repr(pictures) == (
        f"<2 pictures in {str(tmp_path)!r}, 5 left out (.left_out), 1 with notes (.notes): 06_training_history.png, "
        "07_loss_comparison.png>"
    )
    create_training_visualizations([{"fold": 1, "f1": 0.5}], history_data=OVERFITTED, output_dir=tmp_path)
    (message,) = caplog.messages
    assert message.startswith("2 of 7 charts are left out: 02_fold_accuracy_comparison.png")
    with pytest.raises(InputError, match="output_dir"):
        create_training_visualizations(history_data=OVERFITTED, output_dir=None)


@pytest.mark.no_cover
def test_characters_without_a_glyph_are_counted_over_all_pictures(tmp_path):
    from hf_monitor import create_training_visualizations

    folds = [{"fold": k, "f1": 0.5 + k / 10, "accuracy": 0.6} for k in (1, 2)]
    pictures = create_training_visualizations(
        folds, model_name="\U00013000", output_dir=tmp_path, history_data=OVERFITTED
    )
    assert len(pictures) == 7
    assert pictures.uncovered == {"\U00013000": 7}  # a hieroglyph, once in each title


def test_few_points_are_all_kept():
    assert thin(np.arange(4000), np.zeros(4000)).tolist() == list(range(4000))


def test_numbers_too_large_to_be_drawn_are_crosses_at_the_foot():
    rows = [
        {"step": step, "loss": loss, "eval_loss": -loss, "learning_rate": loss}
        for step, loss in enumerate((1.0, 1e308, -1e308, 2.0, 3.0))
    ]
    chart = LossChart.from_rows(rows)
    line, lost, *_ = chart.plot().get_lines()
    assert list(zip(*line.get_data(), strict=True)) == [(0, 1.0), (3, 2.0), (4, 3.0)]
    assert list(lost.get_xdata()) == [1, 2]
    assert lost.get_label() == "training loss: NaN, infinite or beyond 1e150 (2)"
    history = TrainingHistoryChart.from_rows(rows)
    history.plot()
    for figure in (chart.figure, history.figure):
        figure.draw_without_rendering()  # a warning is an error here
