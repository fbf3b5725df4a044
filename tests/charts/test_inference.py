"""``create_inference_visualizations``: four pictures from texts, classes, rows or a run folder, or why not."""

import pytest

from hf_monitor.charts.error_cases import ErrorCasesChart
from hf_monitor.charts.inference import create_inference_visualizations
from hf_monitor.charts.model_comparison import ModelComparisonChart
from hf_monitor.charts.prediction_distribution import PredictionDistributionChart
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.run.reader import load_run
from hf_monitor.run.writer import RunWriter

NAMES = ["01_prediction_distribution.png", "02_confidence.png", "03_sample_comparison.png", "04_error_cases.png"]


@pytest.fixture
def run_dir(tmp_path):
    """A run that crashed: an evaluation of two steps, then a prediction; no end."""
    folder = tmp_path / "monitor"
    writer = RunWriter(folder)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    for step, name in ((1, "eval"), (2, "eval"), (2, "test")):
        rows = [
            {
                "step": step,
                "name": name,
                "index": i,
                "input": f"대화 {i}",
                "prediction": f"{name} {step} 요약" * (i + 1),
                "references": ["요약"],
                "score": 10.0 * i + step,
                "confidence": 0.5,
            }
            for i in range(3)
        ]
        rows[0]["sampled"] = {"rows": 3, "of": 9, "seed": 0}
        writer.rows("predictions.jsonl", rows)
    writer.close()
    return folder


@pytest.mark.no_cover
def test_four_pictures_from_a_crashed_run_and_the_same_bytes_again(run_dir, tmp_path):
    first = create_inference_visualizations(run_dir, output_dir=tmp_path / "a", models={"before": run_dir})
    assert [path.name for path in first] == NAMES
    assert first.left_out == {}
    assert first.notes[NAMES[0]] == ["the run kept 3 of 9 predictions (seeded sample)"]
    again = create_inference_visualizations(load_run(run_dir), output_dir=tmp_path / "b", models={"before": run_dir})
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in first]


def test_of_a_run_the_latest_evaluation_is_taken_or_the_one_asked_for(run_dir):
    latest = PredictionDistributionChart.from_run(run_dir, model_name="kobart")
    assert latest.of == "kobart, test, step 2"
    assert latest.scores.values == {"score": [2.0, 12.0, 22.0]}
    asked = ErrorCasesChart.from_run(run_dir, evaluation="eval", max_errors=1)
    assert (asked.of, asked.cases[0].prediction) == ("eval, step 2", "eval 2 요약")
    with pytest.raises(InputError, match=r"evaluation='dev' is not among .* 'eval', 'test'"):
        PredictionDistributionChart.from_run(run_dir, evaluation="dev")


def test_runs_that_are_compared_have_the_names_of_their_folders(run_dir, tmp_path):
    chart = ModelComparisonChart.from_run(run_dir, models={"before": run_dir})
    assert chart.first == run_dir.parent.name  # not "monitor"
    rows = load_run(run_dir).latest_predictions("test")
    assert ModelComparisonChart.from_rows(models={"A": rows, "B": run_dir}).first == "A"
    assert ModelComparisonChart.from_run(run_dir, models={run_dir.parent.name: run_dir}).first == "the first model"
    made = create_inference_visualizations(models={"A": run_dir}, evaluation="eval", output_dir=tmp_path / "plots")
    assert NAMES[2] in [path.name for path in made]  # one model: its samples by their score
    for models in (None, {}):
        with pytest.raises(InputError, match="there are no predictions"):
            create_inference_visualizations(models=models, output_dir=tmp_path / "none")


def written(folder, names, *, trained):
    """Write a run with a prediction of step 0 for each name."""
    writer = RunWriter(folder)
    writer.begin_attempt()
    if trained:
        writer.event("train_begin", 0)
    row = {"step": 0, "index": 0, "prediction": "p", "score": 5.0}
    writer.rows("predictions.jsonl", [{**row, "name": name} for name in names])
    writer.close()
    return folder


def test_runs_without_a_common_evaluation_say_which_to_ask_for(tmp_path):
    first = written(tmp_path / "a", ["eval", "predict"], trained=True)
    for names, said in ((["eval"], "evaluation='eval' takes one that both have"), (["dev"], "none of one name")):
        other = written(tmp_path / names[0], names, trained=True)
        with pytest.raises(InputError, match=rf"model 'B': of the first run the latest .* 'predict'; .*{said}"):
            ModelComparisonChart.from_run(first, models={"B": other})
    assert ModelComparisonChart.from_run(first, models={"B": tmp_path / "eval"}, evaluation="eval").compared


def test_where_nothing_was_trained_the_title_has_no_step(tmp_path):
    for trained, of in ((True, "predict, step 0"), (False, "predict")):
        folder = written(tmp_path / str(trained), ["predict"], trained=trained)
        assert PredictionDistributionChart.from_run(folder).of == of


def test_what_is_missing_is_left_out_and_said(tmp_path):
    made = create_inference_visualizations(["a text"], output_dir=tmp_path)
    assert [path.name for path in made] == [NAMES[0], NAMES[3]]
    assert "predict_texts" in made.left_out[NAMES[1]]
    assert "no scores or references" in made.left_out[NAMES[2]]
    nothing = create_inference_visualizations([], output_dir=tmp_path / "nothing")
    assert (list(nothing), list(nothing.left_out)) == ([], NAMES)


def test_a_wrong_value_is_an_error_before_any_picture(tmp_path):
    rows = [{"prediction": "a", "confidence": 0.5}, {"prediction": "b", "confidence": -2}]
    for arguments in (
        {"predictions": rows},
        {"predictions": ["a"], "max_errors": 0},
        {"predictions": ["a"], "models": ["b"]},
        {"predictions": ["a"], "models": {"B": [{"prediction": "b", "n_tokens": "many"}]}},
        {"predictions": ["a"], "metrics": ["rougeL"]},
    ):
        with pytest.raises(InputError):
            create_inference_visualizations(**arguments, output_dir=tmp_path / "plots")
    with pytest.raises(RunFolderError):
        create_inference_visualizations(tmp_path / "no run", output_dir=tmp_path / "plots")
    assert not (tmp_path / "plots").exists()
