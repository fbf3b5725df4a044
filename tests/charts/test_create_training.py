import math
from pathlib import Path

import pandas as pd
import pytest

from hf_monitor.charts.history import TrainingHistoryChart
from hf_monitor.charts.training import create_training_visualizations
from hf_monitor.errors import InputError

FOLDS = [{"fold": 1, "f1": 0.81, "accuracy": 0.84}, {"fold": 2, "f1": 0.83, "accuracy": 0.86}]
HISTORY = [{"loss": 2.0, "step": 1}, {"loss": 1.0, "eval_loss": 1.5, "step": 2}]
NAMES = [
    "01_fold_f1_performance.png",
    "02_fold_accuracy_comparison.png",
    "03_f1_vs_accuracy_scatter.png",
    "04_performance_distribution.png",
    "05_performance_statistics.png",
    "06_training_history.png",
    "07_loss_comparison.png",
]


@pytest.mark.no_cover
def test_seven_pictures_by_their_names_and_the_same_bytes_again(tmp_path):
    first = create_training_visualizations(FOLDS, model_name="KoBART", output_dir=tmp_path / "a", history_data=HISTORY)
    frames = {"fold_results": pd.DataFrame(FOLDS), "history_data": pd.DataFrame(HISTORY)}
    again = create_training_visualizations(model_name="KoBART", output_dir=tmp_path / "b", **frames)
    assert [path.name for path in first] == NAMES
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == NAMES
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first.left_out == {}
    assert first.notes["03_f1_vs_accuracy_scatter.png"] == ["too few folds for a correlation: 2, from 5 on"]


def test_what_is_missing_is_left_out_and_said(tmp_path, caplog):
    pictures = create_training_visualizations([{"fold": 1, "f1": 0.8}], output_dir=tmp_path)
    assert [path.name for path in pictures] == [NAMES[0], *NAMES[3:5]]
    assert "'accuracy'" in pictures.left_out[NAMES[1]]
    assert pictures.left_out[NAMES[5]] == "no history_data was given"
    assert "2 of 7 charts are left out" in caplog.text  # of what was given
    nothing = create_training_visualizations([], output_dir=tmp_path / "none", history_data=[])
    assert nothing == []
    assert list(nothing.left_out) == NAMES


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"fold_results": [{"fold": math.nan, "f1": 0.5}], "history_data": HISTORY},
        {"fold_results": FOLDS, "history_data": 3},
        {"fold_results": FOLDS, "history_data": "history.csv"},
        {"fold_results": FOLDS, "history_data": ["loss"]},
    ],
    ids=["nothing", "fold", "history", "file", "row"],
)
def test_what_is_wrong_raises_before_any_picture_is_written(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("history.csv").write_text("step,loss\n1,2.0\n")
    with pytest.raises(InputError):
        create_training_visualizations(**given, output_dir=tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_all_but_the_folds_is_passed_by_name(tmp_path):
    with pytest.raises(TypeError, match="positional"):
        create_training_visualizations(FOLDS, tmp_path)  # would be the model's name


def test_the_model_stands_at_the_left_of_the_history_cut_as_elsewhere():
    chart = TrainingHistoryChart.from_rows(HISTORY, model_name="m" * 100)
    chart.plot()
    title = chart.figure._suptitle
    assert (title.get_text(), title.get_ha()) == ("m" * 59 + "…", "left")
