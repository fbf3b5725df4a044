"""The four charts of inference: what is drawn is what was counted by hand."""

import math

import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from matplotlib.ft2font import FT2Font, LoadFlags

from hf_monitor.charts import error_finding
from hf_monitor.charts.confidence import ConfidenceChart
from hf_monitor.charts.distribution import Distribution
from hf_monitor.charts.error_cases import ErrorCasesChart
from hf_monitor.charts.fonts import families
from hf_monitor.charts.inference_numbers import Estimate
from hf_monitor.charts.model_comparison import ModelComparisonChart
from hf_monitor.charts.prediction_distribution import PredictionDistributionChart
from hf_monitor.charts.sample_ranking import SampleRankingChart
from hf_monitor.charts.text_layout import text_width, wrapped
from hf_monitor.errors import InputError, NothingToDraw


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def ticks(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


@pytest.mark.no_cover
def test_few_lengths_are_points_with_their_median_beside_those_of_the_references():
    chart = PredictionDistributionChart.from_rows(["a b", "a b c", ""], references=["a b c d", ["a", "b c d"], None])
    assert chart.lengths.values == {"predictions": [2, 3, 0], "references": [4, 2]}  # of two references the mean
    lengths, scores = chart.plot()
    points = [series.get_offsets().tolist() for series in lengths.collections if isinstance(series, PathCollection)]
    assert [[x for x, _ in series] for series in points] == [[2, 3, 0], [4, 2]]
    assert lengths.get_xlabel().startswith("length in words")
    assert ticks(lengths) == ["predictions\nn = 3", "references\nn = 2"]
    assert scores.get_xlabel().startswith("score (0-100)")
    assert not lengths.containers  # below 6 values the median has no interval, and no bar of no width
    assert chart.notes[-1] == "score: 1 of 3 samples have no value"
    assert {"panel": "length in words", "series": "predictions", "what": "point", "value": 3.0} in chart.table()
    assert not lengths.patches  # no histogram of three values


def test_many_lengths_are_bars_with_the_same_edges_and_the_longest_text_does_not_flatten_them():
    texts = ["가 나" * (1 + i % 5) for i in range(200)] + ["가" * 10_000]
    chart = PredictionDistributionChart.from_rows(texts, references=["가나다"] * 201)
    lengths = chart.lengths
    assert chart.unit == "characters"  # Korean; blanks do not count
    assert lengths.edges[-1] < 20
    assert (lengths.beyond, lengths.largest) == (1, 10_000)
    assert [sum(counts) for counts in lengths.counts.values()] == [201, 201]  # the longest one is in the last bar
    bars, outline = chart.plot()[0].patches
    assert list(bars.get_data().values) == lengths.counts["predictions"]
    assert list(outline.get_data().edges) == lengths.edges
    assert bars.get_fill()
    assert not outline.get_fill()
    assert "in the last bar also 1 above it, up to 10,000" in chart.figure.axes[0].get_xlabel()


@pytest.mark.parametrize("values", [[5.0] * 30, [0.0] * 30, [1.0] * 29 + [2.0], [-3.5, 8.25] * 20])
def test_every_value_is_in_a_bar(values):
    for whole in (False, True):
        found = Distribution.of({"x": [round(value) for value in values] if whole else values}, whole=whole)
        assert sum(found.counts["x"]) == len(values)
        assert len(found.edges) <= 33


def test_classes_are_counted_predicted_beside_true():
    chart = PredictionDistributionChart.from_rows(["긍정", "부정", "긍정"], labels=["긍정", "긍정", None])
    assert chart.classes == {"긍정": (2, 2), "부정": (1, 0)}
    assert chart.accuracy.value == 0.5
    (ax,) = chart.plot()
    assert widths(ax) == [2, 1, 2, 0]
    assert ticks(ax) == ["긍정", "부정"]
    assert "accuracy 0.500 (95 % Wilson interval 0.095 to 0.905)" in ax.get_title(loc="left")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["predicted (n = 3)", "true (n = 2)"]
    assert chart.notes == ["1 of 3 samples have no label"]
    many = PredictionDistributionChart.from_rows(list(range(50)))
    assert list(many.classes)[-1] == "(30 other classes)"
    assert sum(predicted for predicted, _ in many.classes.values()) == 50


def test_confidence_of_classes_is_calibrated_against_what_was_right():
    rows = [{"prediction": int(i % 2 == 0), "label": 1, "confidence": 0.6} for i in range(20)]
    rows += [{"prediction": 1, "label": 1, "confidence": 0.9} for _ in range(20)]
    chart = ConfidenceChart.from_rows(rows)
    assert [(one.n, one.confidence, one.outcome.value) for one in chart.bins] == [
        (20, pytest.approx(0.6), 0.5),
        (20, pytest.approx(0.9), 1.0),
    ]
    assert chart.ece == pytest.approx(0.1)
    _, ax = chart.plot()
    points, *_ = ax.containers[0]
    assert points.get_ydata().tolist() == [0.5, 1.0]
    assert ax.get_title(loc="left") == "Calibration: ECE 0.100 (bins of equal count, n = 40)"


def test_confidence_of_texts_is_held_against_their_score():
    rows = [{"prediction": "a", "confidence": i / 20, "f1": float(i)} for i in range(20)]
    chart = ConfidenceChart.from_rows([*rows, {"prediction": "b", "f1": 3.0}, {"prediction": "c", "confidence": 0.1}])
    assert chart.rho == Estimate(1.0, None, None)
    assert [one.outcome.value for one in chart.bins] == [4.5, 14.5]
    assert chart.notes == ["1 of 22 samples have no confidence"]
    distribution, by_confidence = chart.plot()
    assert sum(distribution.patches[0].get_data().values) == 21
    assert by_confidence.collections[0].get_offsets().tolist() == [[i / 20, i] for i in range(20)]
    assert by_confidence.get_title(loc="left") == "Spearman's rho 1.00 (n = 20)"
    few = ConfidenceChart.from_rows(rows[:9])
    assert few.rho is None
    assert few.plot()[1].get_title(loc="left") == "Too few samples for a correlation (n = 9)"
    same = ConfidenceChart.from_rows([{**row, "confidence": 0.5} for row in rows])
    assert same.plot()[1].get_title(loc="left") == "No correlation: one of the two does not vary (n = 20)"
    with pytest.raises(NothingToDraw, match="predict_texts"):
        ConfidenceChart.from_rows(["a"])


def test_samples_are_sorted_by_score_and_the_other_metrics_follow():
    rows = [
        {"prediction": "a", "index": i, "rougeL": s, "mine": m}
        for i, s, m in ((7, 10.0, 3), (8, 90.0, None), (9, 50.0, 5))
    ]
    chart = SampleRankingChart.from_rows([*rows, {"prediction": "b", "index": 10, "mine": 4}])
    assert chart.order == [8, 9, 7]
    assert chart.sorted_scores == {"rougeL": [90, 50, 10], "mine": [None, 5, 3]}
    assert chart.notes == ["rougeL: 1 of 4 samples have no value"]
    line, strips = chart.plot()
    assert line.get_lines()[0].get_ydata().tolist() == [90, 50, 10]
    assert line.get_lines()[0].get_xdata().tolist() == [1, 2, 3]
    assert strips.images[0].get_clim() == (0, 1)
    drawn = strips.images[0].get_array()
    assert drawn[0].tolist() == [0.9, 0.5, 0.1]
    assert (drawn.mask[1, 0], drawn[1, 1:].tolist()) == (True, [1.0, 0.0])  # missing, not 0
    assert ticks(strips) == ["rougeL\n0 to 100", "mine\n3 to 5"]
    assert chart.table()[0] == {"rank": 1, "sample": 8, "rougeL": 90.0, "mine": None}
    assert SampleRankingChart.from_rows([{"prediction": "a", "wer": w} for w in (0.5, 0.1)]).order == [1, 0]


def test_strips_of_many_samples_are_means_of_neighbours():
    rows = [{"prediction": "a", "rougeL": float(i % 100)} for i in range(1000)]
    chart = SampleRankingChart.from_rows([*rows, {"prediction": "a", "rougeL": 0.5}])
    strips, ranges = chart.strips()
    assert (len(strips[0]), ranges) == (400, [(0.0, 100.0)])
    assert strips[0][0] == pytest.approx(0.99)
    line = chart.plot()[0].get_lines()[0]
    assert (line.get_ydata()[0], line.get_ydata()[-1]) == (99, 0)


def test_classes_of_one_model_or_texts_without_scores_cannot_be_compared():
    with pytest.raises(NothingToDraw, match="right or wrong"):
        SampleRankingChart.from_rows([1, 0], labels=[1, 1])
    with pytest.raises(NothingToDraw, match="scores or references"):
        SampleRankingChart.from_rows(["a"])


def test_two_models_are_drawn_against_each_other_with_wins_and_losses():
    a = [{"prediction": "p", "f1": f} for f in (1.0, 2.0, 3.0, 4.0)]
    b = [{"prediction": "q", "f1": f} for f in (2.0, 2.0, 5.0, 1.0)]
    chart = ModelComparisonChart.from_rows(a, models={"나": b}, model_name="가")
    scatter, bars = chart.plot()
    assert scatter.collections[0].get_offsets().tolist() == [[1, 2], [2, 2], [3, 5], [4, 1]]
    assert widths(bars) == [2, 1, 1]
    assert ticks(bars) == ["나\nbetter: 2", "equal: 1", "가\nbetter: 1"]
    assert bars.get_title(loc="left") == "Mean difference +0\n나 minus 가\nsign test p = 1"  # four pairs: no interval
    assert [line.tolist() for line in scatter.get_lines()[0].get_data()] == [[1, 5], [1, 5]]
    assert chart.compared[0].p == 1.0
    assert {"what": "pair", "model": "나", "first": 3.0, "other": 5.0} in chart.table()


def test_two_models_of_classes_are_right_or_wrong_together():
    chart = ModelComparisonChart.from_rows([1, 1, 0, 0, 1], labels=[1, 1, 1, 1, 1], models={"B": [1, 0, 1, 1, 0]})
    (bars,) = chart.plot()
    assert ticks(bars) == ["both right: 1", "only B\nright: 2", "only the first model\nright: 2", "neither right: 0"]
    assert widths(bars) == [1, 2, 2, 0]


def test_several_models_are_drawn_by_their_differences_to_the_first():
    rows = [{"prediction": "p", "f1": float(f)} for f in range(11)]
    models = {f"+{k}": [{**row, "f1": row["f1"] + k} for row in rows] for k in (1, 2)}
    chart = ModelComparisonChart.from_rows(rows, models={**models, "empty": [{"prediction": "p"}] * 11}, model_name="A")
    assert chart.notes == ["empty: 11 of 11 matched samples lack f1", "empty: no sample in common that has f1"]
    (ax,) = chart.plot()
    assert [segment.tolist() for segment in ax.collections[0].get_segments()] == [[[1, 0], [1, 0]], [[2, -1], [2, -1]]]
    assert ax.containers[0][0].get_xdata().tolist() == [1, 2]
    assert ticks(ax) == ["+1\nn = 11: 11 better, 0 equal, 0 worse", "+2\nn = 11: 11 better, 0 equal, 0 worse"]


ROWS = [
    {"prediction": "fine words", "reference": "fine words", "rougeL": 100.0, "index": 0},
    {"prediction": "", "reference": "something", "rougeL": 0.0, "index": 1, "confidence": 0.25},
    {"prediction": " ", "reference": "else", "rougeL": 0.0, "index": 2},
    {"prediction": "a b c d e f", "reference": "x y z u v w", "input": "so a b c d e f", "rougeL": 5.0, "index": 3},
]


def test_the_worst_samples_are_shown_and_kinds_of_errors_counted():
    chart = ErrorCasesChart.from_rows(ROWS)
    assert chart.kinds == {"empty": 2, "repetition": 0, "same text": 0, "copied": 1, "too short": 0, "too long": 0}
    # Of two empty ones the first, and that there is another; the perfect one is no error.
    assert [(case.sample, case.score, case.kinds) for case in chart.cases] == [
        (1, 0.0, ("empty",)),
        (3, 5.0, ("copied",)),
    ]
    kinds, texts = chart.plot()
    assert widths(kinds) == [2, 0, 0, 1, 0, 0]
    assert ticks(kinds)[3] == "copied  1"
    assert kinds.get_xlabel() == "samples, of n = 4; below: the worst one, one of each kind, and the next worst"
    head, body = [text.get_text() for text in texts.texts][:2]
    assert head == "1.  sample 1  ·  rougeL (0-100): 0  ·  confidence 0.25  ·  empty  ·  and 1 more like it"
    assert body == "      reference: something\n      prediction: (empty)"
    assert len(ErrorCasesChart.from_rows(ROWS, max_errors=1).cases) == 1
    for wrong in (0, 21, True, 2.0):
        with pytest.raises(InputError, match="max_errors"):
            ErrorCasesChart.from_rows(ROWS, max_errors=wrong)


def scored(*rows):
    return [{"prediction": text, "reference": "one two three", "rougeL": score} for text, score in rows]


def test_fine_texts_are_no_cases_though_there_is_room():
    chart = ErrorCasesChart.from_rows(
        scored(("one two four", 79), ("", 0), ("three four", 30), ("one or three", 83), (" ", 0))
    )
    assert [(case.sample, case.alike) for case in chart.cases] == [(1, 1), (2, 0)]
    assert chart.notes[-1] == "no cases, since without a kind of error and better than the median rougeL: 2"
    same = ErrorCasesChart.from_rows(scored(("one two four", 79), ("one or three", 79)))
    assert len(same.cases) == 2


def test_each_kind_of_error_that_is_counted_has_a_case_as_far_as_there_is_room():
    poor = [(f"text number {i}", float(i)) for i in range(8)]
    rows = scored(*poor, ("no " * 30, 60.0), ("", 70.0), ("x", 80.0), ("y", 9.0))
    chart = ErrorCasesChart.from_rows(rows)
    assert {kind: n for kind, n in chart.kinds.items() if n} == {
        "empty": 1,
        "repetition": 1,
        "too short": 2,
        "too long": 1,
    }
    # The worst one, then the gravest kinds (the repetition is too long as well), then the next worst.
    for room, samples in ((1, [0]), (2, [0, 9]), (3, [0, 8, 9]), (4, [0, 11, 8, 9]), (5, [0, 1, 11, 8, 9])):
        some = ErrorCasesChart.from_rows(rows, max_errors=room)
        assert [case.sample for case in some.cases] == samples
    listed = [(row["sample"], row["kind"]) for row in chart.table() if row["what"] == "sample"]
    assert listed == [(8, "repetition, too long"), (9, "empty"), (10, "too short"), (11, "too short")]


def test_without_scores_the_gravest_errors_are_shown(monkeypatch):
    rows = [{"prediction": text, "ended": ended} for text, ended in (("good", True), ("cut", False), ("", True))]
    chart = ErrorCasesChart.from_rows(rows)
    assert [case.prediction for case in chart.cases] == ["", "cut"]
    assert chart.kinds == {"empty": 1, "repetition": 0, "same text": 0, "at the limit": 1}
    monkeypatch.setattr(error_finding, "MAX_CHECKED", 2)
    some = ErrorCasesChart.from_rows(rows)
    assert some.n_checked == 2
    assert some.notes[0] == "kinds of errors are counted in 2 of 3 samples (seeded sample)"
    fine = ErrorCasesChart.from_rows(["good"])
    assert fine.plot()[1].texts[0].get_text() == "No error was found in 1 sample."


def test_of_classes_the_surest_wrong_ones_are_shown_and_confusions_counted():
    rows = [
        {"prediction": p, "label": t, "confidence": c}
        for p, t, c in (("a", "b", 0.5), ("a", "b", 0.9), ("b", "b", 1.0))
    ]
    chart = ErrorCasesChart.from_rows(rows)
    assert chart.kinds == {"b → a": 2}
    assert [case.sample for case in chart.cases] == [1, 0]
    assert {"what": "sample", "sample": 1, "score": None, "kind": "b → a"} in chart.table()
    assert "true: b" in chart.plot()[1].texts[1].get_text()


def test_texts_are_wrapped_by_their_width_and_cut_with_an_ellipsis():
    assert wrapped("one two three", 6, 5) == ["one two", "three"]
    assert wrapped("one two three", 5, 1) == ["one tw…"]
    assert wrapped("가나다라마바사", 3.2, 9) == ["가나다", "라마바", "사"]
    assert wrapped("가나다라마바사", 3.2, 2) == ["가나다", "라마…"]
    assert wrapped("", 5, 2) == [""]
    for text in ("W" * 500, "가" * 500, "ab " * 300, "a" + "👍" * 300):
        assert all(text_width(line) <= 40 for line in wrapped(text, 40, 8))


@pytest.mark.no_cover
def test_no_character_is_wider_than_it_is_taken_for():
    seen = set()
    for family in families():
        font = FT2Font(findfont(family))
        own = set(font.get_charmap()) - seen  # the first font that has a character draws it
        seen |= own
        for code in own:
            if chr(code).isprintable() and (code < 0x2000 or 0x3130 <= code < 0xFB00):  # letters, Hangul, Han
                width = font.load_char(code, flags=LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM
                assert width <= text_width(chr(code)), chr(code)


@pytest.mark.parametrize("own_axes", [False, True])
def test_no_text_runs_out_of_the_picture(own_axes):
    texts = ["W" * 10_000, "가나 다" * 2000, "<script>$x$ $\\foo$ " * 50, "OQ@%m" * 900]
    chart = ErrorCasesChart.from_rows(
        texts, references=["r"] * 4, inputs=[text[::-1] for text in texts], model_name="$뷁$" * 99
    )
    room = Figure(figsize=(9, 11), layout="constrained").add_subplot(2, 1, 1) if own_axes else None
    axes = chart.plot(room)
    figure = axes[0].figure
    figure.draw_without_rendering()
    assert len(axes[1].texts) == (2 if own_axes else 8)  # the four cases, or as many as have room
    for text in axes[1].texts:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        if not own_axes:
            assert box.y0 >= 0
            assert box.y1 <= axes[0].get_window_extent().y0


def test_one_sample_is_enough_for_each_chart():
    row = {"prediction": "a", "reference": "b c", "confidence": 0.5, "input": "d", "index": 0}
    for chart in (PredictionDistributionChart, ConfidenceChart, SampleRankingChart, ErrorCasesChart):
        made = chart.from_rows([row])
        made.plot()
        assert all(
            not isinstance(value, float) or math.isfinite(value) for line in made.table() for value in line.values()
        )
    assert ModelComparisonChart.from_rows([row], models={"B": [row]}).compared[0].ties == 1
