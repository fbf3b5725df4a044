import csv
import io
import json
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from hf_monitor.charts.fold_charts import FoldAccuracyChart, FoldF1Chart
from hf_monitor.charts.fold_labels import place_labels
from hf_monitor.charts.fold_scatter import FoldScatterChart
from hf_monitor.charts.fold_spread import FoldDistributionChart, FoldStatisticsChart
from hf_monitor.charts.fold_statistics import correlations, jitter, summarize
from hf_monitor.charts.folds import FoldResults
from hf_monitor.errors import InputError, NothingToDraw, RunFolderError
from hf_monitor.run import load_run
from hf_monitor.run.rows import encode_row

F1 = [0.80, 0.84, 0.76, 0.82, 0.78]  # mean 0.80, sd sqrt(0.001) = 0.0316..., median 0.80
ACCURACY = [0.90, 0.94, 0.88, 0.92, 0.86]
HALF = 2.7764451 * math.sqrt(0.001) / math.sqrt(5)  # of the 95 % t interval: t with 4 degrees of freedom, from a table
FIVE = [{"fold": k, "f1": f1, "accuracy": a} for k, f1, a in zip(range(1, 6), F1, ACCURACY, strict=True)]
CHARTS = [FoldF1Chart, FoldAccuracyChart, FoldScatterChart, FoldDistributionChart, FoldStatisticsChart]
ROUGE_F1 = "F1 (mean of ROUGE-1/2/L F1, 0-1)"


def folds(n):
    return [{"fold": k, "f1": 0.5 + k / 1000, "accuracy": 0.7 + (k * 7 % n) / 1000} for k in range(1, n + 1)]


def xy(line):
    return list(zip(line.get_xdata(), line.get_ydata(), strict=True))


def texts(found):
    return [text.get_text() for text in found]


def segments(collection):
    return [segment.tolist() for segment in collection.get_segments()]


# --- data


@pytest.mark.parametrize(
    "given",
    [
        FIVE,
        pd.DataFrame(FIVE),
        pd.DataFrame(FIVE).set_index("fold"),
        pd.DataFrame(FIVE).rename(columns={"fold": "Fold", "f1": "F1", "accuracy": "eval_accuracy"}),
        [{**row, "f1": np.float32(row["f1"]), "accuracy": Decimal(str(row["accuracy"]))} for row in FIVE],
        list(reversed(FIVE)),  # numbers are put in order
        (row for row in FIVE),
    ],
    ids=["rows", "frame", "index", "other names", "other numbers", "reversed", "generator"],
)
def test_results_are_the_same_from_each_form(given):
    results = FoldResults.read(given)
    assert results.folds == [1, 2, 3, 4, 5]
    assert results.values["f1"] == pytest.approx(F1)
    assert results.values["accuracy"] == pytest.approx(ACCURACY)
    assert results.notes == []


def test_folds_without_names_are_numbered_and_texts_keep_their_order():
    results = FoldResults.read([{"f1": 0.5}, {"f1": 0.6}])
    assert (results.folds, results.notes) == ([1, 2], ["rows without 'fold': numbered from 1"])
    assert FoldResults.read([{"fold": "나", "f1": 0.5}, {"fold": "가", "f1": 0.6}]).folds == ["나", "가"]
    assert FoldResults.read(pd.DataFrame({"fold": [1.0, 0.0], "f1": [0.5, 0.6]})).folds == [0, 1]


CSV = "fold,f1,accuracy\n1,0.41,0.5\n2,n/a,0.6\n3,0.44,0.7\n"


@pytest.mark.parametrize(
    ("given", "folds", "left_out"),
    [
        (
            pd.read_csv(io.StringIO(f"{CSV}mean,0.42,0.6\n")),
            [1, 2, 3],
            "'mean' is no fold",
        ),
        (
            pd.read_csv(io.StringIO(f"{CSV}Mean,0.42,0.6\nsd,0.01,0.1\n75%,9,9\n평균,0.4,0.6\n")),
            [1, 2, 3],
            "'Mean', 'sd', '75%', '평균' are no folds",
        ),
        (
            [{"fold": fold} for fold in ("fold_2", "fold_10", "std. dev.")],
            ["fold_2", "fold_10"],
            "'std. dev.' is no fold",
        ),
        (pd.DataFrame(FIVE[:2]).T.assign(mean=1.5).T, [1, 2], "'mean' is no fold"),
        (
            pd.DataFrame(FIVE[:2]).set_index("fold").T.assign(median=0.5).T.rename_axis("fold"),
            [1, 2],
            "'median' is no fold",
        ),
    ],
    ids=["mean", "several", "texts", "label", "index"],
)
def test_rows_of_means_are_no_folds_and_are_said(given, folds, left_out):
    results = FoldResults.read(given)
    assert results.folds == folds
    assert results.notes[0] == f"left out: {left_out}"


def test_a_fold_may_be_called_as_it_likes_where_none_is_numbered():
    results = FoldResults.read([{"fold": "max", "f1": 0.5}, {"fold": "anna", "f1": 0.6}])
    assert (results.folds, results.notes) == (["max", "anna"], [])


def test_the_cell_that_is_no_number_is_named_not_those_that_pandas_made_texts():
    frame = pd.read_csv(io.StringIO("fold,f1\n1,0.41\n2,oops\n3,0.44\n"))
    with pytest.raises(InputError, match=r"'f1' of fold 2 must be a number, got 'oops' \(str\).*errors='coerce'"):
        FoldResults.read(frame)
    frame["f1"] = pd.to_numeric(frame["f1"], errors="coerce")
    assert FoldResults.read(frame).values["f1"] == [0.41, None, 0.44]
    rows = [{"fold": "a", "f1": "?"}, {"fold": "b", "f1": 0.5}, {"fold": "c", "f1": "-"}]
    with pytest.raises(InputError, match=r"in every fold, got '\?' \(str\) in fold 'a', '-' \(str\) in fold 'c'\."):
        FoldResults.read(rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "fold_results is a int"),
        ({"fold": [1], "f1": [0.5]}, "fold_results is a dict"),
        ([{"fold": 1, "f1": 0.5}, 3], r"fold_results\[1\] is a int"),
        ([{"fold": 1, "f1": 0.5}, "fold_2"], r"fold_results\[1\] is a str"),
        ([{"fold": math.nan, "f1": 0.5}], r"'fold' of fold_results\[0\] .* got nan"),
        ([{"fold": 1, "f1": 0.5}, {"f1": 0.6}], r"fold_results\[1\] .* got None"),
        ([{"fold": -1, "f1": 0.5}], "got -1"),
        ([{"fold": 1.5, "f1": 0.5}], r"got 1\.5"),
        ([{"fold": True, "f1": 0.5}], "got True"),
        ([{"fold": 1, "f1": 0.5}, {"fold": "1", "f1": 0.6}], "there twice"),
        ([{"fold": 1, "f1": "0.5"}], r"'f1' of fold 1 must be a number, got '0.5' \(str\)"),
        ([{"fold": 1, "accuracy": True}], "got True"),
        ([{"fold": 1, "loss": 1.0}, {"fold": 2, "loss": "n/a"}], "'loss' of fold 2 must be a number"),
        ([{"fold": 1, "f1": -0.1}], r"'f1' of fold 1 is -0\.1"),
        ([{"fold": 1, "accuracy": 101}], "'accuracy' of fold 1 is 101"),
        ([{"fold": 1, "f1": 0.8}, {"fold": 2, "f1": 85.2}], "mixes two scales: 0.8 in fold 1, 85.2 in fold 2"),
        ([{"fold": 1, "f1": 0.8}, {"fold": 2, "f1": 1.2}], "'f1' of fold 2 is 1.2, and none is higher"),
        ([{"fold": 1, "accuracy": 1.5}], "'accuracy' of fold 1 is 1.5, and none is higher"),
        ([{"fold": 1, "f1": 1e200}], "'f1' of fold 1 is 1e\\+200"),
        (pd.DataFrame([[1, 2]], columns=["f1", "f1"]), "columns of the same name"),
    ],
)
def test_what_cannot_be_right_is_refused(given, said):
    with pytest.raises(InputError, match=said) as caught:
        FoldResults.read(given)
    assert not isinstance(caught.value, NothingToDraw)


def test_missing_and_infinite_values_are_left_out_and_said():
    rows = [
        {"fold": 1, "f1": 0.60, "accuracy": None},
        {"fold": 2, "f1": math.nan},
        {"fold": 3, "f1": 0.61, "accuracy": 0.9},
    ]
    rows += [{"fold": 4, "f1": math.inf, "accuracy": pd.NA}]
    results = FoldResults.read(rows)
    assert results.values == {"f1": [0.60, None, 0.61, None], "accuracy": [None, None, 0.9, None]}
    chart = FoldF1Chart.from_rows(rows)
    assert chart.notes == ["f1 is not finite (NaN or infinite) in 2 of 4 folds: fold 2, fold 4"]
    ax = chart.plot()
    assert xy(ax.get_lines()[1]) == [(0, 0.60), (2, 0.61)]
    assert ax.get_title(loc="left") == "F1 per fold (n = 2 of 4 folds)"
    assert "accuracy has no value in 3 of 4 folds: fold 1, fold 2, fold 4" in FoldAccuracyChart.from_rows(rows).notes
    with pytest.raises(NothingToDraw, match=r"no fold has a value of 'accuracy' \(metrics there: f1\)"):
        FoldScatterChart.from_rows([{"fold": 1, "f1": 0.5}])
    with pytest.raises(NothingToDraw, match="no fold has both"):
        FoldScatterChart.from_rows([{"f1": 0.5}, {"accuracy": 0.5}])
    with pytest.raises(NothingToDraw, match="no fold has a value of 'f1' or 'accuracy'"):
        FoldDistributionChart.from_rows([{"fold": 1, "eval_loss": 2.0}])
    for chart in CHARTS:
        with pytest.raises(NothingToDraw, match="there are no folds"):
            chart.from_rows([])


def test_endless_names_are_cut_in_what_is_said():
    rows = [{"fold": "가" * 10_000, "f1": 0.5, "m" * 10_000: 0.1}, {"fold": 2, "accuracy": 0.5}]
    notes = FoldStatisticsChart.from_rows(rows).notes
    assert len(notes) == 4
    assert all(len(note) < 250 for note in notes)
    with pytest.raises(InputError) as caught:
        FoldResults.read([*rows, {"fold": "가" * 10_000}])
    assert len(str(caught.value)) < 300


def test_which_f1_is_meant_is_not_guessed():
    with pytest.raises(NothingToDraw, match="which of eval_f1, test_f1 is f1 is not clear"):
        FoldF1Chart.from_rows([{"eval_f1": 0.5, "test_f1": 0.6}])
    with pytest.raises(NothingToDraw, match="f1_macro"):
        FoldF1Chart.from_rows([{"f1_macro": 0.5}])
    assert FoldF1Chart.from_rows([{"f1": 0.5, "eval_f1": 0.6}]).f1.values == [0.5]


def test_numbers_too_large_to_be_drawn_are_left_out_and_said():
    rows = [{"fold": k, "f1": 0.5, "loss": loss} for k, loss in enumerate((1.7e308, -1.7e308, 10**400, 2.0, 3.0))]
    chart = FoldStatisticsChart.from_rows(rows)
    assert chart.panels["loss"][0].points == [(3, 2.0), (4, 3.0)]
    assert chart.notes == [
        "loss is not finite (NaN or infinite) in 1 of 5 folds: fold 2",
        "loss is too large to be drawn (beyond 1e150) in 2 of 5 folds: fold 0, fold 1",
    ]


@pytest.mark.parametrize("values", [(0.8, 1.2), (0.8, 85.0), (1.1, 1.4)])
def test_of_other_scores_no_scale_is_said_where_it_is_not_clear(values):
    results = FoldResults.read([{"f1": 0.5, "train_f1": value} for value in values])
    assert [(series.scale, series.label) for series in results.all_series()][1] == ("train_f1", "train_f1")


def test_percentages_are_drawn_as_they_are_and_the_axis_says_so():
    chart = FoldF1Chart.from_rows([{"fold": 1, "f1": 80.0}, {"fold": 2, "f1": 82.0}])
    assert chart.f1.values == [80.0, 82.0]
    assert chart.plot().get_ylabel() == "f1 (as given, 0-100)"


# --- run folders


def write_run(folder, *rows, ended="train_end", facts=None):
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"format": 1, "run_id": "x", "attempts": [], **(facts or {})}))
    begin = {"kind": "event", "event": "train_begin", "step": 0}
    lines = [begin, *rows, {"kind": "event", "event": ended, "step": 9}]
    head = {"time": 1.0, "attempt": 1, "step": 9}
    (folder / "metrics.jsonl").write_bytes(b"".join(encode_row({**head, **row}) for row in lines))


def fold_row(k, f1):
    scores = {"rouge1": 40.0, "rouge2": 0.5, "rougeL": 30.0, "eval_loss": 2.0, "n_samples": 8}
    return {"kind": "fold", "fold": k, "n_folds": 3, "f1": f1, "accuracy": f1 + 0.1, **scores}


def evaluation(step, *rouges, **more):
    return {
        "kind": "eval",
        "step": step,
        **dict(zip(("eval_rouge1", "eval_rouge2", "eval_rougeL"), rouges, strict=True)),
        **more,
    }


def test_a_folder_of_folds_is_read_in_the_order_of_their_numbers(tmp_path):
    for k in (10, 2, 1):
        write_run(tmp_path / f"fold_{k}" / "monitor", fold_row(k, k / 100))
    write_run(tmp_path / "fold_3" / "monitor", ended="error")
    (tmp_path / "fold_4").mkdir()
    (tmp_path / "plots").mkdir()
    results = FoldResults.read(tmp_path)
    assert results.folds == [1, 2, 10]
    assert results.values["f1"] == [0.01, 0.02, 0.10]
    assert results.notes == [
        "fold_4: left out, there is no run in it",
        "fold 3: left out, it has no evaluation, the run is crashed at step 9",
    ]
    chart = FoldF1Chart.from_run(tmp_path)
    assert chart.plot().get_ylabel() == ROUGE_F1
    assert FoldAccuracyChart.from_run(tmp_path).plot().get_ylabel() == "token accuracy (teacher forced)"
    # ROUGE goes to 100 in our runs, also where all of it is below 1; numbers of samples are no metric.
    panels = FoldStatisticsChart.from_run(tmp_path).panels
    assert {label: [s.name for s in group] for label, group in panels.items()} == {
        "score (0-1)": ["f1", "accuracy"],
        "score (0-100)": ["rouge1", "rouge2", "rougeL"],
        "eval_loss": ["eval_loss"],
    }
    by_hand = FoldResults.read([tmp_path / "fold_2", load_run(tmp_path / "fold_10")])
    assert (by_hand.folds, by_hand.values["f1"]) == ([2, 10], [0.02, 0.10])


def test_without_a_row_of_the_fold_its_best_evaluation_is_taken_and_said(tmp_path):
    write_run(
        tmp_path / "fold_1" / "monitor",
        evaluation(3, 30.0, 10.0, 20.0, eval_token_accuracy=0.4),
        evaluation(6, 45.0, 15.0, 30.0, eval_token_accuracy=0.5, eval_loss=3.0, eval_runtime=1.0),
        evaluation(9, 30.0, 15.0, 30.0, eval_token_accuracy=0.6),
        ended="error",
    )
    write_run(
        tmp_path / "fold_2" / "monitor",
        evaluation(3, 30.0, 15.0, 30.0, eval_loss=1.0),
        evaluation(6, 45.0, 15.0, 30.0, eval_loss=2.0),
        facts={"arguments": {"metric_for_best_model": "loss", "greater_is_better": False}},
    )
    results = FoldResults.read(tmp_path)
    assert results.values["f1"] == pytest.approx([0.30, 0.25])
    assert results.values["accuracy"] == [0.5, None]
    assert "runtime" not in results.values
    assert results.notes == [
        "fold 1: no row of kind 'fold', taken from the best of 3 evaluations by f1 (step 6)"
        ", the run is crashed at step 9",
        "fold 2: no row of kind 'fold', taken from the best of 2 evaluations by eval_loss (step 3)",
    ]
    assert results.labels == {"f1": ROUGE_F1, "accuracy": "token accuracy (teacher forced)"}


def test_rouge_of_unknown_scale_makes_no_f1(tmp_path):
    write_run(tmp_path / "a", evaluation(3, 0.4, 0.2, 0.3, eval_accuracy=0.5))
    results = FoldResults.read([tmp_path / "a"])
    assert "f1" not in results.values
    assert "0-1 or 0-100 is not clear" in results.notes[0]
    assert results.labels == {"accuracy": "eval_accuracy"}
    write_run(tmp_path / "b", evaluation(3, 0.4, 0.2, 0.3), facts={"text_metrics": {"eval": "nrefs:1"}})
    assert FoldResults.read([tmp_path / "b"]).values["f1"] == pytest.approx([0.003])


@pytest.mark.parametrize(
    ("n_folds", "said"),
    [
        ({1: 5, 2: 5}, ["3 of 5 folds (n_folds) are missing: fold 3, 4, 5"]),
        ({0: 3, 1: 3}, ["1 of 3 folds (n_folds) are missing: fold 2"]),
        ({1: 2, 2: 2}, []),
        (
            {1: 5, 2: 5, 3: 3},
            ["the folds are not of one cross-validation: n_folds is 3 in fold 3; 5 in fold 1, fold 2"],
        ),
    ],
)
def test_folds_that_are_missing_or_of_another_cross_validation_are_said(tmp_path, n_folds, said):
    for k, n in n_folds.items():
        write_run(tmp_path / f"fold_{k}" / "monitor", {**fold_row(k, 0.5), "n_folds": n})
    assert FoldResults.read(tmp_path).notes == said


def test_folders_that_hold_no_run_are_refused(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run folders of folds"):
        FoldResults.read(tmp_path)
    with pytest.raises(RunFolderError, match="there is no run folder"):
        FoldResults.read(tmp_path / "nowhere")
    with pytest.raises(InputError, match="must be a path or a Run, got int"):
        FoldResults.from_runs([3])


def test_fold_results_json_is_the_table_of_its_folds(tmp_path):
    for k in (1, 2):
        write_run(tmp_path / f"fold_{k}" / "monitor", fold_row(k, k / 100))
    table = tmp_path / "fold_results.json"
    table.write_text(json.dumps([fold_row(k, k / 10) for k in (1, 2)]))
    given = sorted(tmp_path.glob("fold_*"))
    assert table in given
    runs = FoldResults.read(given)
    assert runs.values["f1"] == [0.01, 0.02]
    assert runs.notes[0] == "fold_results.json: not read, it is the table of the same folds"
    for rows in (FoldResults.read(table), FoldResults.read([str(table)])):
        assert (rows.values["f1"], rows.labels["f1"]) == ([0.1, 0.2], ROUGE_F1)
    for wrong, said in (("[{", "is no JSON"), ('{"f1": 1}', "must hold a list")):
        table.write_text(wrong)
        with pytest.raises(InputError, match=said):
            FoldResults.read(table)


def test_a_table_in_a_file_is_refused_with_the_line_that_reads_it(tmp_path):
    (tmp_path / "folds.csv").write_text("fold,f1\n1,0.5\n")
    for given in (tmp_path / "folds.csv", [tmp_path / "folds.csv"]):
        with pytest.raises(InputError, match=r"pandas\.read_csv\('.*folds\.csv'\)"):
            FoldResults.read(given)


def test_what_is_true_of_many_runs_is_said_once(tmp_path):
    for k in range(12):
        write_run(tmp_path / f"r{k}" / "monitor", {"kind": "eval", "step": 3, "eval_loss": 1.0})
    with pytest.raises(NothingToDraw) as caught:
        FoldF1Chart.from_run(tmp_path)
    assert str(caught.value) == (
        "no fold has a value of 'f1' (metrics there: eval_loss); r0, r1, r2, r3, r4 and 7 more: no row of kind 'fold', "
        "taken from its only evaluation"
    )


# --- statistics


def test_summary_by_hand():
    s = summarize(F1)
    assert (s.n, s.mean, s.median, s.lowest, s.highest) == (5, pytest.approx(0.8), 0.80, 0.76, 0.84)
    assert s.sd == pytest.approx(math.sqrt(0.001))
    assert s.interval == pytest.approx((0.8 - HALF, 0.8 + HALF))
    assert summarize([0.4, 0.6]).interval == pytest.approx((0.5 - 12.7062047 * 0.1, 0.5 + 12.7062047 * 0.1))
    assert summarize([0.1] * 3)[1:] == (0.1, 0.0, 0.1, 0.1, 0.1, (0.1, 0.1))
    assert summarize([0.5]) == (1, 0.5, None, 0.5, 0.5, 0.5, None)


def test_correlations_by_hand_and_none_without_variance():
    assert correlations([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx((0.8, 0.8))
    assert correlations([1, 2, 3], [1, 8, 27])[1] == pytest.approx(1.0)
    assert correlations([1, 1, 2, 3], [5, 5, 6, 7])[1] == pytest.approx(1.0)  # equal ones share a rank
    assert correlations([1, 2], [3, 3]) is None


def test_jitter_keeps_neighbours_apart_and_within():
    offsets = jitter(19, 0.3)
    assert max(map(abs, offsets)) <= 0.15
    assert min(abs(a - b) for i, a in enumerate(offsets) for b in offsets[:i]) > 0.005
    assert jitter(1, 0.3) == [0.0]


# --- charts


@pytest.mark.parametrize("n", [2, 5, 50])
def test_f1_of_each_fold_with_mean_interval_best_and_worst(n):
    rows = FIVE if n == 5 else folds(n)
    values = [row["f1"] for row in rows]
    mean = sum(values) / n
    t = {2: 12.7062047, 5: 2.7764451, 50: 2.0095752}[n]
    half = t * math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
    chart = FoldF1Chart.from_rows(rows, model_name="KoBART $x$")
    ax = chart.plot()
    line, points, best, worst = ax.get_lines()
    assert line.get_ydata() == pytest.approx([mean, mean])
    assert xy(points) == list(enumerate(values))
    (band,) = ax.patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((mean - half, mean + half))
    assert xy(best) == [(values.index(max(values)), max(values))]
    assert xy(worst) == [(values.index(min(values)), min(values))]
    labels = texts(ax.get_legend().get_texts())
    assert f"best: fold {values.index(max(values)) + 1}, {max(values):.3f}" in labels
    assert f"95 % t interval of the mean\n[{mean - half:.3f}, {mean + half:.3f}]" in labels
    assert texts(ax.texts) == ([f"{v:.3f}" for v in values] if n <= 10 else [])
    assert len(ax.get_xticks()) <= 13
    assert texts(ax.get_xticklabels())[:2] == (["1", "5"] if n == 50 else ["1", "2"])
    assert ax.get_title(loc="left") == f"KoBART $x$: F1 per fold (n = {n} folds)"
    table = chart.table()
    assert table[:n] == [{"what": "fold", "metric": "f1", "fold": r["fold"], "value": r["f1"]} for r in rows]
    assert table[n]["interval_low"] == pytest.approx(mean - half)
    assert [row["what"] for row in table[n:]] == ["mean", "best", "worst"]
    assert json.loads(chart.to_json()) == table
    assert len(list(csv.DictReader(io.StringIO(chart.to_csv())))) == n + 3


def test_one_fold_has_no_interval_and_equal_folds_no_best():
    one = FoldF1Chart.from_rows(FIVE[:1])
    ax = one.plot()
    assert ([xy(line) for line in ax.get_lines()], len(ax.patches)) == ([[(0, 0.8)]], 0)
    assert one.notes == ["one fold: no mean and no interval"]
    equal = FoldF1Chart.from_rows([{"f1": 0.0}] * 3)
    assert len(equal.plot().get_lines()) == 2
    assert "f1 is the same in all folds: no best and no worst" in equal.notes
    tied = FoldF1Chart.from_rows([{"f1": 0.5}, {"f1": 0.7}, {"f1": 0.7}])
    assert "best: fold 2 and 1 more, 0.700" in texts(tied.plot().get_legend().get_texts())


def test_an_interval_beyond_the_possible_is_cut_in_the_picture_and_said():
    chart = FoldF1Chart.from_rows([{"f1": 0.4}, {"f1": 0.9}])
    ax = chart.plot()
    assert ax.get_ylim() == pytest.approx((-0.1, 1.1))
    (band,) = ax.patches
    assert (band.get_y(), band.get_height()) == (0.0, 1.0)
    low, high = chart.f1.summary.interval
    assert high > 1.1  # the number itself stays
    band = f"95 % t interval of the mean\n[{low:.3f}, {high:.3f}]\n(goes on below 0 and above 1)"
    assert band in texts(ax.get_legend().get_texts())
    assert "the 95 % t interval reaches beyond the possible values and is cut at 0 and 1 in the picture" in chart.notes


def test_cut_intervals_end_in_arrows_where_they_go_on():
    rows = [{"f1": 0.9, "accuracy": 0.5}, {"f1": 0.99, "accuracy": 0.52}, {"f1": 0.94, "accuracy": 0.51}]
    low = summarize([row["f1"] for row in rows]).interval[0]
    accuracy = summarize([row["accuracy"] for row in rows]).interval
    ax = FoldDistributionChart.from_rows(rows).plot()
    assert segments(ax.collections[0]) == [
        [[pytest.approx(0.125), pytest.approx(low)], [pytest.approx(0.125), 1.0]],
        [[pytest.approx(1.125), pytest.approx(accuracy[0])], [pytest.approx(1.125), pytest.approx(accuracy[1])]],
    ]
    assert [(line.get_marker(), xy(line)) for line in ax.get_lines()[3:]] == [("^", [(pytest.approx(0.125), 1.0)])]
    assert "(arrow: goes on)" in ax.get_xlabel()
    ax = FoldStatisticsChart.from_rows(rows).plot()
    assert segments(ax.collections[1])[0] == [[pytest.approx(low), 0], [1.0, 0]]
    assert [(line.get_marker(), xy(line)) for line in ax.get_lines()[:1]] == [(">", [(1.0, 0)])]
    assert "arrow: interval goes on" in ax.get_xlabel()
    ax = FoldAccuracyChart.from_rows([{"accuracy": 90.0}, {"accuracy": 99.0}]).plot()
    (band,) = ax.patches
    assert band.get_y() + band.get_height() == pytest.approx(100.0)
    assert texts(ax.get_legend().get_texts())[0].endswith("(goes on above 100)")


def test_accuracy_of_each_fold_against_its_mean_beside_other_accuracies():
    rows = [{**row, "train_accuracy": row["accuracy"] + 0.05, "test_accuracy": 90.0 + row["fold"]} for row in FIVE]
    chart = FoldAccuracyChart.from_rows(rows)
    ax = chart.plot()
    mean_line, points, train_mean, train_points = ax.get_lines()
    assert [points.get_ydata().tolist(), train_points.get_ydata().tolist()] == [ACCURACY, [a + 0.05 for a in ACCURACY]]
    assert points.get_xdata() == pytest.approx([k - 0.06 for k in range(5)])
    assert mean_line.get_ydata() == pytest.approx([0.9, 0.9])
    assert train_mean.get_ydata() == pytest.approx([0.95, 0.95])
    stems, _ = ax.collections
    assert [(s[0][1], s[1][1]) for s in segments(stems)] == [(pytest.approx(0.9), a) for a in ACCURACY]
    (band,) = ax.patches  # of the accuracy itself
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.9 - HALF, 0.9 + HALF))
    labels = texts(ax.get_legend().get_texts())
    assert labels == [
        f"accuracy\nline: mean 0.900\n95 % t interval [{0.9 - HALF:.3f}, {0.9 + HALF:.3f}]",
        f"train_accuracy\nline: mean 0.950\n95 % t interval [{0.95 - HALF:.3f}, {0.95 + HALF:.3f}]",
        "stem: from the mean to the fold",
        "95 % t interval of the mean\nof accuracy",
    ]
    keys = ax.get_legend().legend_handles[:2]
    assert [(key.get_marker(), key.get_linestyle()) for key in keys] == [
        (line.get_marker(), mean.get_linestyle()) for line, mean in ((points, mean_line), (train_points, train_mean))
    ]
    assert chart.notes == ["test_accuracy is left out: it has another scale"]
    assert points.get_marker() != train_points.get_marker()
    assert len(chart.table()) == 12


def test_accuracy_of_50_folds_and_of_one():
    rows = folds(50)
    lines = FoldAccuracyChart.from_rows(rows).plot().get_lines()
    assert xy(lines[1]) == [(k, row["accuracy"]) for k, row in enumerate(rows)]
    ax = FoldAccuracyChart.from_rows(FIVE[:1]).plot()
    (only,) = ax.get_lines()
    assert xy(only) == [(0, 0.9)]
    assert (texts(ax.get_legend().get_texts()), ax.get_title(loc="left")) == (
        ["accuracy"],
        "Accuracy per fold (n = 1 fold)",
    )


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_scatter_of_f1_against_accuracy(n):
    rows = FIVE[:n] if n <= 5 else folds(n)
    chart = FoldScatterChart.from_rows(rows)
    ax = chart.plot()
    (points,) = ax.get_lines()
    assert xy(points) == [(row["accuracy"], row["f1"]) for row in rows]
    said = ax.get_title(loc="left").split("\n")[1]
    if n == 5:
        assert said == "Pearson r = 0.90, Spearman ρ = 0.90, n = 5"  # f1 and accuracy swap two neighbouring ranks
        assert [row["value"] for row in chart.table()[5:]] == pytest.approx([0.9, 0.9])
    elif n < 5:
        assert said == "too few folds for a correlation (from 5 on)"
        assert chart.notes == [f"too few folds for a correlation: {n}, from 5 on"]
    if n <= 5:
        assert texts(ax.texts) == [str(row["fold"]) for row in rows]
        assert [text.xy for text in ax.texts] == [(row["accuracy"], row["f1"]) for row in rows]
    else:  # those at the ends only
        assert set(texts(ax.texts)) == {"1", "50", "7"}
        assert chart.notes[-1].startswith("for lack of room without a name: fold 2, fold 3, fold 4, fold 5, fold 6, ")
        assert chart.notes[-1].endswith(" and 39 more")


def test_equal_points_share_a_label_and_have_no_correlation():
    chart = FoldScatterChart.from_rows([{"f1": 0.5, "accuracy": 0.6}] * 5)
    ax = chart.plot()
    assert texts(ax.texts) == ["1, 2, 3, 4 and 1 more"]
    assert chart.correlation is None
    assert "no correlation" in ax.get_title(loc="left")


def test_labels_do_not_lie_on_one_another_nor_outside():
    points = [(0.02 * k, 0.5) for k in range(12)]
    placed, left_out = place_labels(points, {k: f"fold {k}" for k in range(12)}, (0, 1, 0, 1), (6, 4))
    boxes = []
    for text, (index, dx, dy, ha) in placed:
        long, x = 6.5 * len(text), points[index][0] * 432 + dx
        left = x - {"left": 0, "right": long, "center": long / 2}[ha]
        boxes.append((left, left + long, 144 + dy - 6, 144 + dy + 6))
    assert len(boxes) >= 4
    assert sorted([index for _, (index, *_) in placed] + left_out) == list(range(12))
    rows = [{"fold": f"rather long, {k}", "f1": 0.5, "accuracy": 0.5 + k / 50} for k in range(12)]
    chart = FoldScatterChart.from_rows(rows)
    drawn = texts(chart.plot().texts)
    assert len(drawn) < 12
    missing = [f"rather long, {k}" for k in range(12) if f"rather long, {k}" not in drawn]
    (said,) = [note for note in chart.notes if "lack of room" in note]
    assert said.startswith(f"for lack of room without a name: {', '.join(missing[:8])}")
    assert all(left >= 0 and right <= 432 for left, right, _, _ in boxes)
    for i, a in enumerate(boxes):
        assert not any(a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3] for b in boxes[:i])


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_distribution_shows_each_fold_as_a_point_with_the_mean_and_from_20_on_a_box(n):
    rows = FIVE[:n] if n <= 5 else folds(n)
    chart = FoldDistributionChart.from_rows(rows)
    ax = chart.plot()
    lines = [line for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert [list(line.get_ydata()) for line in lines[:2]] == [[row[m] for row in rows] for m in ("f1", "accuracy")]
    assert all(abs(x - place) <= 0.15 for place, line in enumerate(lines[:2]) for x in line.get_xdata())
    assert texts(ax.get_xticklabels()) == [f"f1\nn = {n}", f"accuracy\nn = {n}"]
    assert lines[0].get_marker() != lines[1].get_marker()
    assert ("box" in ax.get_xlabel()) == (n == 50)
    if n == 1:
        assert len(ax.collections) == 0
        assert chart.notes == ["one value: no interval and no sd (f1, accuracy)"]
        return
    means = [sum(row[m] for row in rows) / n for m in ("f1", "accuracy")]
    assert list(lines[2].get_ydata()) == pytest.approx(means)
    (intervals,) = ax.collections
    expected = [summarize([row[m] for row in rows]).interval for m in ("f1", "accuracy")]
    expected = [(max(low, 0.0), min(high, 1.0)) for low, high in expected]
    assert [(s[0][1], s[1][1]) for s in segments(intervals)] == [pytest.approx(e) for e in expected]
    if n == 50:  # f1 is 0.501 ... 0.550
        box = ax.get_lines()[0].get_ydata()
        assert (min(box), max(box)) == pytest.approx((0.51325, 0.53775))


def test_two_folds_stand_above_one_another_with_their_mean_beside_them():
    ax = FoldDistributionChart.from_rows([{"f1": 0.5}, {"f1": 0.6}]).plot()
    points, mean = ax.get_lines()[:2]
    assert points.get_xdata() == pytest.approx([0.012, -0.012], abs=0.001)  # around the tick
    assert mean.get_xdata() == pytest.approx([0.11])
    assert ax.get_title(loc="left") == "Distribution over the folds (n = 2 folds)"


def test_whiskers_reach_the_lowest_and_the_highest_however_far_they_are():
    values = [0.5] * 10 + [0.51] * 10 + [0.1, 0.9]
    ax = FoldDistributionChart.from_rows([{"f1": value} for value in values]).plot()
    _, lower, upper, *_ = ax.get_lines()
    assert (min(lower.get_ydata()), max(upper.get_ydata())) == (0.1, 0.9)
    assert "whiskers: lowest and highest" in ax.get_xlabel()


def test_scales_that_differ_get_panels_of_their_own():
    rows = [
        {**row, "rouge1": 40.0 + row["fold"], "eval_loss": 2.0, "perplexity": 120.0, "name": "x", "n_folds": 5}
        for row in FIVE
    ]
    first, second = FoldDistributionChart.from_rows(rows).plot()
    assert (first.get_ylabel(), second.get_ylabel()) == ("score (0-1)", "rouge1 (as given, 0-100)")
    chart = FoldStatisticsChart.from_rows(rows)
    assert list(chart.panels) == ["score (0-1)", "rouge1 (as given, 0-100)", "eval_loss", "perplexity"]
    assert chart.notes == ["no metrics, not drawn: name, n_folds"]
    axes = chart.plot()
    assert [texts(ax.get_yticklabels()) for ax in axes] == [
        ["f1", "accuracy"],
        ["rouge1"],
        ["eval_loss"],
        ["perplexity"],
    ]


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_statistics_are_drawn_and_written(n):
    rows = FIVE[:n] if n <= 5 else folds(n)
    chart = FoldStatisticsChart.from_rows(rows)
    ax = chart.plot()
    found = [summarize([row[m] for row in rows]) for m in ("f1", "accuracy")]
    means, medians = ax.get_lines()[-2:]
    assert xy(means) == [(s.mean, row) for row, s in enumerate(found)]
    assert xy(medians) == [(s.median, row) for row, s in enumerate(found)]
    spans, intervals = ax.collections
    assert segments(spans) == [[[s.lowest, row], [s.highest, row]] for row, s in enumerate(found)]
    ends = [(k, max(s.interval[0], 0.0), min(s.interval[1], 1.0)) for k, s in enumerate(found) if s.interval]
    assert segments(intervals) == [[[low, k], [high, k]] for k, low, high in ends]
    if n == 5:
        assert ax.texts[0].get_text() == (
            f"mean 0.800 [{0.8 - HALF:.3f}, {0.8 + HALF:.3f}]   sd 0.032   median 0.800   min 0.760   max 0.840   n = 5"
        )
    assert chart.table()[0]["interval_low"] == (found[0].interval[0] if n > 1 else None)


def test_many_metrics_are_limited_and_what_is_left_out_is_said():
    rows = [{"f1": 0.5, **{f"metric_{k}": 0.1 for k in range(20)}, **{f"other_{k}": 1000.0 + k for k in range(9)}}] * 2
    chart = FoldStatisticsChart.from_rows(rows)
    assert [len(group) for group in chart.panels.values()] == [12, 1, 1, 1, 1, 1]
    (said,) = [note for note in chart.notes if note.startswith("left out")]
    assert "metric_19" in said
    assert "other_8" in said


def test_the_legend_of_six_accuracies_stays_within_the_picture():
    names = ["accuracy", "train_accuracy", "b_accuracy", "c_accuracy", "d_accuracy", "e_accuracy"]
    chart = FoldAccuracyChart.from_rows([dict.fromkeys(names, 0.9), dict.fromkeys(names, 0.99)], model_name="m" * 99)
    ax = chart.plot()
    chart.figure.draw_without_rendering()
    assert len(ax.get_legend().get_texts()) == 8
    assert ax.get_legend().get_window_extent().y0 >= 0


@pytest.mark.no_cover
@pytest.mark.parametrize("chart", CHARTS)
def test_long_names_and_many_metrics_stay_within_the_picture(chart):
    rows = [{"fold": f"a rather long name of fold {k}" * 3, "f1": 0.5 + k / 50, "accuracy": 0.6} for k in range(12)]
    made = chart.from_rows(rows, model_name="a model with quite a long name, of a group " * 9)
    made.plot()
    figure = made.figure
    figure.draw_without_rendering()  # a warning of the layout is an error here
    for ax in figure.axes:
        assert ax.get_window_extent().width > 0.35 * figure.bbox.width
        boxes = [text.get_window_extent() for text in [*ax.texts, ax._left_title, ax.xaxis.label, ax.yaxis.label]]
        boxes += [ax.get_legend().get_window_extent()] if ax.get_legend() else []
        for box in (box for box in boxes if box.width):
            assert figure.bbox.x0 <= box.x0
            assert box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0
            assert box.y1 <= figure.bbox.y1
