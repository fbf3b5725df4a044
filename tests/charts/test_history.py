import math
import subprocess
import sys

import pytest

from hf_monitor.charts import LossChart, TrainingHistoryChart, draw_history
from hf_monitor.errors import InputError

HISTORY = [
    {"loss": 4.0, "grad_norm": 2.0, "learning_rate": 1e-3, "epoch": 0.1, "step": 10},
    {"eval_loss": 3.5, "eval_rougeL": 10.0, "eval_bleu": 1.0, "eval_runtime": 2.0, "step": 10},
    {"loss": 2.0, "grad_norm": math.nan, "learning_rate": 5e-4, "epoch": 0.2, "step": 20},
    {"eval_loss": 3.0, "eval_rougeL": 20.0, "eval_bleu": 4.0, "eval_runtime": 2.0, "step": 20},
    {"loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-4, "epoch": 0.3, "step": 30},
    {"eval_loss": 3.2, "eval_rougeL": 15.0, "eval_bleu": 3.0, "eval_runtime": 2.0, "step": 30},
    {"train_runtime": 9.0, "train_loss": 2.3, "step": 30},
]


def points(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def test_loss_chart_draws_the_numbers_of_the_history():
    ax = LossChart.from_rows(HISTORY).plot()
    train, validation = ax.get_lines()
    assert points(train) == [(10, 4.0), (20, 2.0), (30, 1.0)]
    assert points(validation) == [(10, 3.5), (20, 3.0), (30, 3.2)]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["training loss", "validation loss, lowest 3 at step 20"]
    (ring,) = ax.collections  # around the lowest point
    assert ring.get_offsets().tolist() == [[20, 3.0]]


def test_series_differ_in_colour_and_in_a_second_channel():
    train, validation = LossChart.from_rows(HISTORY).plot().get_lines()
    assert train.get_color() != validation.get_color()
    assert train.get_linestyle() != validation.get_linestyle()
    assert train.get_marker() != validation.get_marker()


def test_history_has_a_panel_for_what_there_is_and_none_for_what_is_missing():
    chart = TrainingHistoryChart.from_rows(HISTORY)
    assert list(chart.panels) == ["Loss", "Text scores (0-100)", "Learning rate", "Gradient norm"]
    axes = chart.plot()
    assert [len(ax.get_lines()) for ax in axes] == [2, 2, 1, 2]
    assert points(axes[3].get_lines()[0]) == [(10, 2.0), (30, 1.0)]  # the NaN is not drawn as 0
    crosses = axes[3].get_lines()[1]
    assert (list(crosses.get_xdata()), crosses.get_marker()) == ([20], "x")
    assert crosses.get_label() == "grad_norm: NaN or infinite"
    assert list(TrainingHistoryChart.from_rows([{"loss": 1.0, "step": 1}]).panels) == ["Loss"]


def test_several_evaluation_sets_get_panels_and_curves_of_their_own():
    rows = [{"eval_ko_rougeL": 1.0, "eval_ko_loss": 1.0, "eval_en_rougeL": 2.0, "eval_en_loss": 2.0, "step": 1}]
    assert list(TrainingHistoryChart.from_rows(rows).panels) == [
        "Loss",
        "Text scores (0-100), ko",
        "Text scores (0-100), en",
    ]
    labels = [line.get_label() for line in LossChart.from_rows(rows).plot().get_lines()]
    assert labels == ["validation loss (ko), lowest 1 at step 1", "validation loss (en), lowest 2 at step 1"]


def test_an_evaluation_repeated_at_a_step_counts_as_it_was_last():
    rows = [{"eval_loss": 1.0, "step": 5}, {"eval_loss": 0.5, "step": 5}]
    (line,) = LossChart.from_rows(rows).plot().get_lines()
    assert points(line) == [(5, 0.5)]


def test_an_evaluation_outside_of_the_training_is_no_point_of_its_curve():
    rows = [
        {"eval_loss": 1.0, "step": 5, "kind": "eval"},
        {"eval_loss": 9.0, "step": 5, "kind": "eval", "standalone": True},
    ]
    (line,) = LossChart.from_rows(rows).plot().get_lines()
    assert points(line) == [(5, 1.0)]


def test_equal_curves_are_drawn_once_under_both_names_and_a_long_legend_stands_below_the_axes():
    scores = {"eval_rouge1": 3.0, "eval_rouge2": 1.0, "eval_rougeL": 2.0, "eval_rougeLsum": 2.0, "eval_bleu": 0.5}
    (ax,) = TrainingHistoryChart.from_rows([{**scores, "step": step} for step in (1, 2)]).plot()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["rouge1", "rouge2", "rougeL = rougeLsum", "bleu"]
    assert len(ax.get_lines()) == 4
    (ax_of_equals,) = TrainingHistoryChart.from_rows([{"eval_rouge1": 0.0, "eval_rouge2": 0.0, "step": 1}]).plot()
    assert [text.get_text() for text in ax_of_equals.get_legend().get_texts()] == ["rouge1 = rouge2"]
    assert ax_of_equals.get_ylim()[0] == 0
    ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y1 <= ax.get_window_extent().y0
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_legends_stay_within_the_picture_and_leave_the_axes_their_room():
    """Also with several sets of long names, and where all scores are equal (an untrained model)."""
    sets = ("a", "korean", "dialogsum_validation_part_of_2021")
    keys = ("loss", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "score")
    rows = [{"step": step, "loss": 1.0} for step in (1, 2)]
    for row in rows:
        for j, name in enumerate(sets):
            for i, key in enumerate(keys):
                same = name == "korean" and key != "loss"
                row[f"eval_{name}_{key}"] = 0.0 if same else row["step"] + i + 10.0 * j
    axes = TrainingHistoryChart.from_rows(rows).plot()
    figure = axes[0].figure
    figure.draw_without_rendering()  # a warning of the layout is an error here
    for ax in axes:
        legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert frame.width > 0.3 * figure.bbox.width
        assert figure.bbox.x0 <= legend.x0
        assert legend.x1 <= figure.bbox.x1


def test_a_single_curve_is_named_and_keeps_its_colour():
    ax = LossChart.from_rows([{"eval_loss": 1.0, "step": 1}]).plot()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["validation loss, lowest 1 at step 1"]
    ax.figure.draw_without_rendering()
    assert all(tick == int(tick) for tick in ax.get_xticks())
    (history,) = TrainingHistoryChart.from_rows([{"eval_loss": 1.0, "step": 1}]).plot()
    both = TrainingHistoryChart.from_rows([{"eval_loss": 1.0, "loss": 1.5, "step": 1}]).plot()[0]
    assert history.get_lines()[0].get_color() == both.get_lines()[1].get_color()


@pytest.mark.parametrize("chart", [LossChart, TrainingHistoryChart])
def test_without_data_it_says_what_it_needs(chart):
    with pytest.raises(InputError, match="log_history"):
        chart.from_rows([{"epoch": 1.0, "step": 3}, {"text": "x", "step": 4}])


@pytest.mark.no_cover
def test_pictures_by_their_names_same_bytes_each_time(tmp_path):
    first = draw_history(HISTORY, tmp_path / "a")
    second = draw_history(HISTORY, tmp_path / "b")
    assert [path.name for path in first] == ["06_training_history.png", "07_loss_comparison.png"]
    for left, right in zip(first, second, strict=True):
        assert left.read_bytes() == right.read_bytes()
        assert left.read_bytes().startswith(b"\x89PNG")
    assert draw_history([{"epoch": 1.0, "step": 3}], tmp_path / "c") == []


def test_pyplot_is_not_imported_and_rcparams_stay(tmp_path):
    code = (
        "import sys, matplotlib\n"
        # Reading rcParams['backend'] itself chooses a backend, so it is asked for in the way that does not.
        "def state():\n"
        "    values = {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "    return values, matplotlib.get_backend(auto_select=False)\n"
        "before = state()\n"
        "from hf_monitor.charts import draw_history\n"
        f"assert draw_history([{{'loss': 1.0, 'step': 1}}], {str(tmp_path)!r})\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
        "assert state() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_chart_can_be_drawn_into_axes_of_the_users(tmp_path):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert LossChart.from_rows(HISTORY).plot(ax) is ax
