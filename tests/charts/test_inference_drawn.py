"""The artists of the charts of inference, each number of them counted by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from hf_monitor.charts.confidence import ConfidenceChart
from hf_monitor.charts.distribution import Distribution
from hf_monitor.charts.error_cases import ErrorCasesChart
from hf_monitor.charts.inference import create_inference_visualizations
from hf_monitor.charts.inference_numbers import spearman, wilson
from hf_monitor.charts.model_comparison import ModelComparisonChart
from hf_monitor.charts.prediction_distribution import PredictionDistributionChart
from hf_monitor.charts.sample_ranking import SampleRankingChart
from hf_monitor.charts.style import new_figure
from hf_monitor.charts.text_layout import cut_middle, short_names
from hf_monitor.errors import InputError, NothingToDraw


def title(ax):
    return ax.get_title(loc="left")


def ticks(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bars(container):
    """Give both ends of the error bars of matplotlib's errorbar()."""
    (lines,) = container[2]
    return [segment.tolist() for segment in lines.get_segments()]


def texts(**scores):
    """Make rows with these scores."""
    return [
        {"prediction": "p", **dict(zip(scores, values, strict=True))} for values in zip(*scores.values(), strict=True)
    ]


def axes_of(distribution, **options):
    (ax,) = new_figure(6, 4)[1]
    distribution.draw(ax, "title", "x", **options)
    return ax


def test_few_values_have_their_median_and_its_interval_below_them():
    ax = axes_of(Distribution.of({"a": [6.0, 1, 2, 3, 4, 5], "b": [1.0, 3.0]}))
    (interval,) = ax.containers  # of two values there is none, and no bar of no width
    assert interval[0].get_xdata().tolist() == [3.5]
    assert bars(interval) == [[[1, -0.18], [6, -0.18]]]
    assert [line.get_xdata().tolist() for line in ax.get_lines() if line.get_marker() == "|"][-1] == [2.0]


def test_medians_of_bars_are_lines_and_numbers_that_can_be_read():
    found = Distribution.of({"a": [10.0] * 15 + [20.0] * 10, "b": [30.0] * 5}, whole=True)
    ax = axes_of(found)
    assert [segment[0][0] for segment in ax.collections[0].get_segments()] == [10, 30]
    assert legend(ax) == ["a (n = 25, median 10)", "b (n = 5, median 30)"]
    long = axes_of(Distribution.of({"a": [1234.0] * 30}, whole=True))
    assert legend(long) == ["a (n = 30, median 1,234)"]


def test_a_median_beyond_the_last_bar_is_said_and_does_not_stretch_the_axis():
    ax = axes_of(Distribution.of({"predictions": [10.0] * 1000, "references": [2000.0] * 4}, whole=True))
    assert ax.get_xlim()[1] < 25
    assert [segment[0][0] for segment in ax.collections[0].get_segments()] == [10]
    assert legend(ax)[1] == "references (n = 4, median 2,000, right of the axis)"


def test_bins_of_classes_have_wilson_intervals_at_their_mean_confidence():
    rows = [{"prediction": 1, "label": int(i < 5), "confidence": (0.5, 0.7)[i % 2]} for i in range(20)]
    _, ax = ConfidenceChart.from_rows(rows).plot()
    (first, second), ((low, high), (low_2, high_2)) = (
        ax.containers[0][0].get_xydata().tolist(),
        (
            wilson(3, 10),
            wilson(2, 10),
        ),
    )
    assert (first, second) == ([0.5, 0.3], [0.7, 0.2])
    assert bars(ax.containers[0]) == [
        [[0.5, pytest.approx(low)], [0.5, pytest.approx(high)]],
        [[0.7, pytest.approx(low_2)], [0.7, pytest.approx(high_2)]],
    ]
    assert legend(ax) == ["perfectly calibrated", "bins of 10 samples, 95 % Wilson interval"]
    assert [line.tolist() for line in ax.get_lines()[-1].get_data()] == [[0, 1], [0, 1]]
    # 10 samples each: |0.3 - 0.5| and |0.2 - 0.7|
    assert title(ax) == "Calibration: ECE 0.350 (bins of equal count, n = 20)"


def test_a_bin_is_drawn_at_the_mean_of_its_confidences():
    rows = [{"prediction": 1, "label": 1, "confidence": 0.6 + 0.01 * i} for i in range(10)]
    chart = ConfidenceChart.from_rows(rows)
    _, ax = chart.plot()
    assert ax.containers[0][0].get_xdata().tolist() == [pytest.approx(0.645)]
    assert chart.ece is None
    assert title(ax) == "Calibration: too few samples for an ECE (n = 10)"


def test_samples_that_are_all_right_or_all_wrong_are_drawn():
    for label in (0, 1):
        rows = [{"prediction": 1, "label": label, "confidence": 0.9}] * 10
        _, ax = ConfidenceChart.from_rows(rows).plot()
        ((low, high),) = bars(ax.containers[0])
        assert (low[1], high[1]) == wilson(10 * label, 10)


def test_scores_by_confidence_have_t_intervals_that_stay_within_the_score():
    scores = [0.0, 100, 0, 100, 50, 100, 0, 100, 0, 100]
    rows = texts(rougeL=scores, confidence=[0.5 + i / 100 for i in range(10)])
    chart = ConfidenceChart.from_rows(rows)
    _, ax = chart.plot()
    # Mean 55, squared distances 55² * 4 + 45² * 5 + 5² = 22250, t(9) = 2.2622.
    half = 2.2622 * math.sqrt(22250 / 9 / 10)
    ((low, high),) = bars(ax.containers[0])
    assert low == [pytest.approx(0.545), pytest.approx(55 - half, abs=0.01)]
    assert high == [pytest.approx(0.545), pytest.approx(55 + half, abs=0.01)]
    assert legend(ax) == ["samples", "bins of 10 samples, 95 % t interval"]
    rho = spearman([row["confidence"] for row in rows], scores)
    assert rho.low < rho.value < rho.high
    assert title(ax) == f"Spearman's rho {rho.value:.2f}, 95 % {rho.low:.2f} to {rho.high:.2f} (n = 10)"
    most = ConfidenceChart.from_rows(texts(rougeL=[100.0] * 4 + [50.0], confidence=[0.5] * 5)).bins[0].outcome
    assert (most.value, most.high) == (90, 100)  # t alone would say 117.8
    _, few = ConfidenceChart.from_rows(rows[:2]).plot()
    assert bars(few.containers[0])[0][0] == bars(few.containers[0])[0][1]
    assert legend(few)[1] == "bins of 2 samples"


A = [1.0, 2, 3, 4, 5, 6]
B = [3.0, 2, 7, 1, 9, 6]


def test_two_models_have_the_mean_of_their_differences_and_its_interval():
    chart = ModelComparisonChart.from_rows(texts(f1=A), models={"B": texts(f1=B)}, model_name="A")
    scatter, counts = chart.plot()
    # Differences 2, 0, 4, -3, 4, 0: mean 7/6, squares 45 - 49/6, t(5) = 2.5706.
    half = 2.5706 * math.sqrt((45 - 49 / 6) / 5 / 6)
    said = " ".join(title(counts).split())
    interval = f"{7 / 6 - half:+.3g} to {7 / 6 + half:+.3g}"
    assert (
        said == f"Mean difference +1.17 95 % t interval {interval} B minus A sign test p = 0.62"
    )  # 2 * (1 + 4) / 2**4
    assert [line.tolist() for line in scatter.get_lines()[0].get_data()] == [[1, 9], [1, 9]]
    assert [bar.get_width() for bar in counts.patches] == [3, 2, 1]


def test_several_models_have_quantiles_and_means_of_their_differences():
    models = {"B": texts(loss=B), "C": texts(loss=A[::-1])}
    chart = ModelComparisonChart.from_rows(texts(loss=A), models=models, model_name="A")
    (ax,) = chart.plot()
    outer, inner = (collection.get_segments() for collection in ax.collections[:2])
    # Sorted -3, 0, 0, 2, 4, 4 and -5, -3, -1, 1, 3, 5; place of a quantile q: 5 q.
    assert [segment[:, 0].tolist() for segment in outer] == [pytest.approx([-2.25, 4]), pytest.approx([-4.5, 4.5])]
    assert [segment[:, 0].tolist() for segment in inner] == [pytest.approx([0, 3.5]), pytest.approx([-2.5, 2.5])]
    half = 2.5706 * math.sqrt((45 - 49 / 6) / 5 / 6)
    half_c = 2.5706 * math.sqrt(70 / 5 / 6)
    assert ax.containers[0][0].get_xdata().tolist() == [pytest.approx(7 / 6), 0]
    (b_low, b_high), (c_low, c_high) = bars(ax.containers[0])
    assert [b_low[0], b_high[0]] == pytest.approx([7 / 6 - half, 7 / 6 + half], abs=1e-3)
    assert [c_low[0], c_high[0]] == pytest.approx([-half_c, half_c], abs=1e-3)
    assert "mean, 95 % t interval" in legend(ax)
    assert ax.get_xlabel() == "difference of loss; lower is better"
    assert ticks(ax)[0] == "B\nn = 6: 1 better, 2 equal, 3 worse"
    assert (
        "higher is better"
        in ModelComparisonChart.from_rows(texts(f1=A), models={name: texts(f1=B) for name in "BC"})
        .plot()[0]
        .get_xlabel()
    )


def test_right_and_wrong_have_newcombes_interval():
    labels = [1] * 50
    first, other = [1] * 36 + [1] * 2 + [0] * 12, [1] * 36 + [0] * 2 + [1] * 12
    chart = ModelComparisonChart.from_rows(first, labels=labels, models={"B": other}, model_name="A")
    (ax,) = chart.plot()
    said = " ".join(title(ax).split())
    assert said.startswith("Accuracy differs by +0.2 95 % interval of paired shares +0.0569 to +0.34 B minus A")
    assert "McNemar's exact test p = 0.013" in said  # 2 of 14: 2 * (1 + 14 + 91) / 2**14
    three = ModelComparisonChart.from_rows(first, labels=labels, models={"B": other, "C": other}).plot()[0]
    assert "mean, 95 % interval of paired shares" in legend(three)


def test_of_errors_the_zero_is_the_good_one():
    chart = ModelComparisonChart.from_rows(
        texts(error=[1.0, 1, 1, 0, 0]), models={"B": texts(error=[0.0, 0, 0, 1, 0])}, model_name="A"
    )
    (ax,) = chart.plot()
    assert ticks(ax) == ["both error 0: 1", "only B\nerror 0: 3", "only A\nerror 0: 1", "neither error 0: 0"]


@pytest.mark.parametrize("values", [([12.3], [45.6]), ([0.0, 0.0], [100.0, 0.0]), ([0.0], [0.0])])
def test_two_values_of_a_score_are_not_right_and_wrong(values):
    ours, theirs = values
    chart = ModelComparisonChart.from_rows(texts(rougeL=ours), models={"B": texts(rougeL=theirs)}, model_name="A")
    assert "sign test" in title(chart.plot()[1])


def test_computed_scores_of_zero_are_not_right_and_wrong():
    chart = ModelComparisonChart.from_rows(["a", "b"], references=["x", "y"], models={"B": ["c", "d"]})
    assert not chart.compared[0].binary


def test_the_interval_of_differences_ends_where_differences_can_be_no_more():
    ours, theirs = [0.0] * 4 + [50.0], [100.0] * 5
    mean = ModelComparisonChart.from_rows(texts(rougeL=ours), models={"B": texts(rougeL=theirs)}).compared[0].mean
    # 90 ± 2.7764 * sqrt(500 / 5) = 62.2 to 117.8
    assert mean == (90, pytest.approx(62.236), 100)
    mean = ModelComparisonChart.from_rows(texts(rougeL=theirs), models={"B": texts(rougeL=ours)}).compared[0].mean
    assert mean == (-90, -100, pytest.approx(-62.236))


def test_names_that_begin_alike_stay_apart_and_the_first_ones_name_is_refused():
    names = [f"runs/2024-05-01-kobart-dialogsum-lr{k}e-4" for k in range(1, 6)]
    chart = ModelComparisonChart.from_rows(
        texts(f1=A), models={name: texts(f1=B) for name in names[1:]}, model_name=names[0]
    )
    (ax,) = chart.plot()
    drawn = [title(ax), *(tick.split("\n")[0] for tick in ticks(ax))]
    assert [f"lr{k}e-4" in text for k, text in enumerate(drawn, start=1)] == [True] * 5
    with pytest.raises(InputError, match="the first model has the same name"):
        ModelComparisonChart.from_rows(texts(f1=A), models={"A": texts(f1=B)}, model_name="A")


def test_long_names_lose_their_middle_what_all_begin_with_or_get_a_number():
    assert cut_middle("abcdefghij", 7) == "abc…hij"
    assert cut_middle("abcdefghij", 7, 0.2) == "abcde…j"
    assert cut_middle("가나다라마", 7) == "가…마"  # two columns each
    assert short_names(["one", "two"], 3) == ["one", "two"]
    assert short_names(["x" * 30 + "/a", "x" * 30 + "/b"], 9) == ["xxxx…xx/a", "xxxx…xx/b"]
    assert short_names(["run-1-xxxx", "run-2-xxxx"], 5) == ["…1…xx", "…2…xx"]  # the middle is where they differ
    same = "x" * 20
    assert short_names([f"{same}{k}{same}" for k in "ab"], 7) == ["1. …xxx", "2. …xxx"]
    assert short_names([same, same], 5) == ["xx…xx"] * 2  # one name


@pytest.mark.parametrize("classes", [False, True])
def test_the_title_of_two_models_stays_in_the_picture(classes):
    names = {"model_name": "gogamza/WWWWWWWWWWWWWWWWWWW-v2", "models": {"한국어요약모델두번째것이다": None}}
    if classes:
        names["models"] = dict.fromkeys(names["models"], [0, 1, 1] * 9)
        chart = ModelComparisonChart.from_rows([1, 0, 1] * 9, labels=[1] * 27, **names)
    else:
        names["models"] = dict.fromkeys(names["models"], texts(rougeL=[b * 9.87 for b in B]))
        chart = ModelComparisonChart.from_rows(texts(rougeL=[a * 12.34 for a in A]), **names)
    axes = chart.plot()
    chart.figure.draw_without_rendering()
    for ax in axes:
        box = ax._left_title.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= chart.figure.bbox.width
        assert box.y1 <= chart.figure.bbox.height
    if not classes:
        assert axes[0]._left_title.get_window_extent().x1 <= axes[1]._left_title.get_window_extent().x0


@pytest.mark.parametrize(
    "rows",
    [
        lambda name: PredictionDistributionChart.from_run(name, model_name="gogamza/kobart-summarization-dialogsum"),
        lambda name: ConfidenceChart.from_run(name, model_name="gogamza/kobart-summarization-dialogsum"),
    ],
)
def test_a_long_name_leaves_the_step_in_the_title(rows, tmp_path):
    from hf_monitor.run.writer import RunWriter

    writer = RunWriter(tmp_path / "run")
    writer.begin_attempt()
    row = {"step": 968, "name": "predict", "index": 0, "prediction": "p", "confidence": 0.5, "score": 0.5}
    writer.rows("predictions.jsonl", [row])
    writer.close()
    said = title(rows(tmp_path / "run").plot()[0])
    assert said.endswith("predict, step 968")
    assert "gogamza/ko" in said


def test_samples_without_a_score_are_cases_too():
    rows = [
        {"prediction": "fine a", "rougeL": 100.0},
        {"prediction": "", "rougeL": None},
        {"prediction": "poor", "rougeL": 9.0},
    ]
    chart = ErrorCasesChart.from_rows(rows)
    assert [(case.prediction, case.score) for case in chart.cases] == [("poor", 9.0), ("", None)]
    assert chart.notes == ["rougeL: 1 of 3 samples have no value; those with a kind of error come after the others"]
    perfect = ErrorCasesChart.from_rows(
        [{"prediction": "a b c d e f", "input": "a b c d e f", "reference": "a b c d e f", "rougeL": 100.0}]
    )
    assert perfect.plot()[1].texts[0].get_text().startswith("All samples have the best rougeL (0-100)")


def test_of_losses_the_highest_are_the_worst_and_zero_is_no_error():
    chart = ErrorCasesChart.from_rows(
        [{"prediction": p, "word_error_rate": e} for p, e in (("a", 0.1), ("b", 0.9), ("c", 0.0))]
    )
    assert [(case.prediction, case.score) for case in chart.cases] == [("b", 0.9), ("a", 0.1)]
    turned = ErrorCasesChart.from_rows(
        [{"prediction": p, "distance": e} for p, e in (("a", 1.0), ("b", 9.0), ("c", 0.5))], greater_is_better=False
    )
    assert [case.prediction for case in turned.cases] == ["b", "a"]


def test_poor_scores_are_neither_perfect_nor_from_0_to_1():
    poor = [{"prediction": f"p{i}", "rougeL": 1.0} for i in range(3)]
    assert len(ErrorCasesChart.from_rows(poor).cases) == 3  # 1 of 100, or 1 of 1: not known
    zero = ["x"] * 25
    chart = PredictionDistributionChart.from_rows(zero, references=["y"] * 25)
    assert chart.metric == "score (0-100)"
    assert chart.scores.edges[-1] == 100
    ranking = SampleRankingChart.from_rows(zero, references=["y"] * 25)
    assert ranking.strips()[1][0] == (0.0, 100.0)
    assert ranking.plot()[0].get_ylim()[1] == pytest.approx(103)
    likert = ErrorCasesChart.from_rows([{"prediction": f"p{i}", "score": s} for i, s in enumerate((1, 5, 3))])
    assert likert.metric == "score"
    assert [case.score for case in likert.cases] == [1, 3]  # 5 is better than the median


@pytest.mark.parametrize("n", [3, 30])
def test_ticks_of_lengths_are_whole_numbers(n):
    for length, ends in ((0, (-0.6, 2.5)), (17, (14.5, 19.5))):
        ax = axes_of(Distribution.of({"a": [float(length)] * n}, whole=True))
        assert ax.get_xlim() == ends
        assert all(tick.is_integer() for tick in ax.get_xticks())


def test_rouge_lsum_may_be_the_first_metric():
    for names in (["rougeLsum", "rougeL"], ["rougeL", "rougeLsum"]):
        chart = SampleRankingChart.from_rows(["a b", "b"], references=["a b", "c"], metrics=names)
        assert list(chart.sorted_scores) == names[:1]
        assert chart.plot()[0].get_lines()[0].get_ydata().tolist() == [100, 0]


def test_confusions_keep_both_classes_and_all_right_classes_are_said():
    long = [f"아주 아주 긴 클래스 이름 {k} 번" for k in (1, 2)]
    chart = ErrorCasesChart.from_rows([long[1]], labels=[long[0]])
    true, predicted = ticks(chart.plot()[0])[0].split(" → ")
    assert (true[-3:], predicted.split("  ")) == ("1 번", [true.replace("1 번", "2 번"), "1"])
    right = ErrorCasesChart.from_rows([1] * 9, labels=[1] * 9).plot()
    assert not right[0].axison
    assert right[1].texts[0].get_text() == "No error was found in 9 samples."
    with pytest.raises(NothingToDraw, match="no labels"):
        ErrorCasesChart.from_rows([1, 0])


def test_lengths_are_in_characters_where_some_texts_have_no_words():
    unit = {
        "words": ["a text in English"] * 9,
        "characters": ["a text"] * 9 + ["회의는 세 시"],  # mixed
    }
    assert {PredictionDistributionChart.from_rows(own).unit: own for own in unit.values()} == unit
    assert PredictionDistributionChart.from_rows(["これは長い文章です。"] * 3).unit == "characters"


def test_other_models_may_be_arrays_and_series():
    rows = [{"prediction": 1, "label": 1}, {"prediction": 0, "label": 1}]
    for other in (np.array([1, 1]), pd.Series([1, 1]), [1, 1]):
        assert ModelComparisonChart.from_rows(rows, models={"B": other}).compared[0].wins == 1
    pipeline = [{"label": 1, "score": 0.9}, {"label": 1, "score": 0.8}]
    assert ModelComparisonChart.from_rows(rows, models={"B": pipeline}).compared[0].wins == 1


def test_samples_with_other_inputs_are_not_compared(tmp_path):
    a = [{"index": i, "input": f"x{i}", "prediction": "p", "f1": float(i)} for i in range(3)]
    b = [{"index": i, "input": f"y{i}", "prediction": "p", "f1": 9.0} for i in range(3)]
    with pytest.raises(
        NothingToDraw, match=r"no other model with a sample in common .*3 samples of one index have different"
    ):
        ModelComparisonChart.from_rows(a, models={"B": b})
    chart = ModelComparisonChart.from_rows(a, models={"B": [{**b[0], "input": "x2"}, a[1], b[2]]})
    assert chart.compared[0].pairs == [(1.0, 1.0), (2.0, 9.0)]  # x1 by its index, x2 by its input
    assert "2 samples of one index have different inputs" in " ".join(chart.notes)
    made = create_inference_visualizations(a, models={"B": b}, output_dir=tmp_path)
    assert "no other model" in made.left_out["03_sample_comparison.png"]
