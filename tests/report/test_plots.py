"""Pictures of a page: true to their data, well-formed, within their view box, with their data in a table."""

import itertools
import math
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.report.plots import Level, Mark, Series, bar_plot, histogram, line_plot, sparkline
from hf_monitor.report.svg_frame import WIDTH
from hf_monitor.report.svg_scale import Scale, linear_ticks, log_ticks, tick_labels
from hf_monitor.report.svg_text import FONT_SIZE, cut, width

NAN = float("nan")
few = settings(max_examples=40)
ANY = st.floats(-1e150, 1e150)
HOSTILE = ["<script>alert(1)</script>" * 400, '" onload="x', "한국어 평가 집합 " * 30, "\x00\ud800\u202e&amp;", ""]


def parsed(svg):
    return ElementTree.fromstring(str(svg))


def texts(svg):
    return [(element, element.text or "") for element in parsed(svg).iter("text")]


def path_points(svg, kind="s0"):
    """Points of the line of a series, in the view box."""
    group = next(one for one in parsed(svg).iter("g") if one.get("class") == kind)
    lines = [path.get("d") for path in group.iter("path") if path.get("class") != "dot"]
    return [tuple(map(float, pair.split())) for d in lines for pair in re.split("[ML]", d) if pair.strip()]


@pytest.mark.no_cover
@given(ANY, ANY, st.booleans())
def test_ticks_cover_the_range_ascend_and_are_few(low, high, whole):
    ticks = linear_ticks(low, high, whole=whole)
    assert ticks[0] <= min(low, high)
    assert ticks[-1] >= max(low, high)
    assert all(a < b for a, b in itertools.pairwise(ticks))
    assert 2 <= len(ticks) <= 9


@given(st.floats(1e-150, 1e150), st.floats(1, 1e150))
def test_logarithmic_ticks_cover_the_range_and_ascend(low, factor):
    high = min(low * factor, 1e150)
    ticks = log_ticks(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert all(a < b for a, b in itertools.pairwise(ticks))
    assert 2 <= len(ticks) <= 9


@pytest.mark.no_cover
@given(ANY, ANY)
def test_no_two_ticks_have_the_same_label(low, high):
    labels = tick_labels(linear_ticks(low, high))
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 24 for label in labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0, 100_000, ["0", "20k", "40k", "60k", "80k", "100k"]),
        (0, 5e-5, ["0", "1e-5", "2e-5", "3e-5", "4e-5", "5e-5"]),
        (-4000, 6000, ["-4,000", "-2,000", "0", "2,000", "4,000", "6,000"]),
        (1e6, 1e6 + 0.5, ["1,000,000.0", "1,000,000.1", "1,000,000.2", "1,000,000.3", "1,000,000.4", "1,000,000.5"]),
        (0, 4e150, ["0", "1e150", "2e150", "3e150", "4e150"]),
    ],
)
def test_ticks_are_written_short(low, high, labels):
    assert tick_labels(linear_ticks(low, high)) == labels


def test_powers_of_ten_are_written_short():
    ticks = log_ticks(0.0002, 40_000)
    labels = [label for _, label in Scale(ticks[0], ticks[-1], 0, 1, ticks, True).labelled]
    assert labels == ["1e-4", "0.01", "1", "100", "10k", "1M"]
    ticks = log_ticks(0.0008, 2)
    labels = [label for _, label in Scale(ticks[0], ticks[-1], 0, 1, ticks, True).labelled]
    assert labels == ["1e-4", "0.001", "0.01", "0.1", "1", "10"]


def test_a_place_on_an_axis_is_that_of_its_value():
    assert Scale(0, 10, 0, 100).at([0, 2.5, 10]).tolist() == [0, 25, 100]
    assert Scale(1, 100, 0, 100, logarithmic=True).at([1, 10, 100]).tolist() == [0, 50, 100]


@pytest.mark.no_cover
@few
@given(st.text(max_size=80), st.floats(20, 500))
def test_a_text_is_cut_to_its_room(name, room):
    assert width(cut(name, room)) <= room + 1e-6


def test_of_a_long_curve_the_lowest_and_the_highest_value_are_drawn_and_in_the_table():
    y = np.random.default_rng(0).normal(size=100_000)
    y[70_003], y[31] = -50, 40
    plot = line_plot("Loss", [Series("loss", range(100_000), y)], source="metrics.jsonl")
    drawn = [point[1] for point in path_points(plot.svg)]
    foot, top = max(drawn), min(drawn)
    assert foot - top == pytest.approx(90 / 100 * 190, abs=0.3)  # of -50 to 50
    assert len(drawn) < 1000
    assert len(str(plot.svg)) < 20_000
    assert (70_003, -50.0) in plot.table.rows
    assert (31, 40.0) in plot.table.rows
    assert 290 <= len(plot.table.rows) <= 310
    assert "100,000 rows" in plot.table.note
    assert "metrics.jsonl" in plot.table.note
    assert "pale" in plot.notes[0]


def test_a_long_curve_that_does_not_scatter_is_drawn_as_it_is():
    plot = line_plot("Learning rate", [Series("lr", range(5000), np.linspace(1e-3, 0, 5000))])
    assert not plot.notes
    assert 'class="all"' not in plot.svg


def test_what_is_no_finite_number_is_a_cross_and_is_said_and_the_rest_is_drawn():
    plot = line_plot("Loss", [Series("loss", [1, 2, 3, 4], [2.0, NAN, math.inf, 1.0])])
    crosses = next(path for path in parsed(plot.svg).iter("path") if path.get("class") == "lost")
    assert crosses.get("d").count("M") == 2
    assert plot.notes == ["Crosses at the foot: loss: no finite number at 2 points, first at step 2."]
    assert plot.alt == (
        "Loss: loss: from 2 at step 1 to 1 at step 4 (2 points); no finite number at 2 points, first at step 2"
    )
    assert len(plot.table.rows) == 4
    assert math.isnan(plot.table.rows[1][1])


def test_the_alternative_text_says_where_it_goes_and_the_lowest():
    plot = line_plot("Loss", [Series("loss", [10, 950, 968], [8.1, 0.39, 0.42])])
    assert plot.alt == "Loss: loss: from 8.1 at step 10 to 0.42 at step 968, lowest 0.39 at step 950 (3 points)"
    plot = line_plot("GPU", [Series("GPU 0", [0, 1.5], [3, 3])], x_label="time (min)")
    assert plot.alt == "GPU: GPU 0: 3 throughout, from 0 min to 1.5 min (2 points)"


def test_a_spike_makes_the_axis_logarithmic_and_the_axis_says_so():
    y = [2.0, 1.5, 1e6, 1.2, 1.0]
    assert "loss (log scale)" in line_plot("Curve", [Series("loss", range(5), y)], y_label="loss").svg
    assert "log scale" not in line_plot("Curve", [Series("loss", range(5), [*y[:4], -1.0])], y_label="loss").svg


def test_a_line_is_not_joined_over_a_break_and_a_single_point_is_a_dot():
    joined = line_plot("a", [Series("a", range(100), range(100))])
    broken = line_plot("a", [Series("a", range(100), range(100), breaks=[50, 51])])
    assert joined.svg.count("M0") == 0
    d = next(path.get("d") for path in parsed(broken.svg).iter("path") if "L" in path.get("d"))
    assert d.count("M") == 2
    assert 'class="dot"' in broken.svg
    assert 'class="dot"' in line_plot("a", [Series("a", [7], [3.0])]).svg


def test_a_table_has_a_column_for_each_series_and_nothing_where_one_has_no_value():
    plot = line_plot("Loss", [Series("train", [1, 2], [5, 4]), Series("eval", [2, 3], [6, NAN])])
    assert list(plot.table.head) == ["step", "train", "eval"]
    assert plot.table.rows[:2] == [(1, 5.0, None), (2, 4.0, 6.0)]
    assert math.isnan(plot.table.rows[2][2])


def test_rows_of_a_short_series_stay_when_a_long_one_is_thinned():
    plot = line_plot("Loss", [Series("t", range(9000), range(9000)), Series("e", range(7, 9000, 500), range(18))])
    assert [row[2] for row in plot.table.rows if row[2] is not None] == list(range(18))


@pytest.mark.parametrize("n", [0, 1, 12])
def test_whatever_it_is_called_a_picture_is_well_formed_and_its_texts_lie_within_it_apart(n):
    series = [Series(HOSTILE[k % 5], range(30), [k + x for x in range(30)]) for k in range(n)]
    marks = [Mark(k % 30, HOSTILE[k % 5] or f"alert {k}", "bad") for k in range(n * 5)]
    plot = line_plot(HOSTILE[0], series, x_label=HOSTILE[2], y_label=HOSTILE[1], marks=marks, levels=[Level(3, "<b>")])
    root = parsed(plot.svg)
    height = float(root.get("viewBox").split()[3])
    boxes = []
    for element, said in texts(plot.svg):
        size = 13.0 if "word" in element.get("class", "") else FONT_SIZE
        long, x, y = width(said, size), float(element.get("x")), float(element.get("y"))
        left = x - {"end": long, "middle": long / 2}.get(element.get("text-anchor"), 0)
        assert left >= -0.5
        assert left + long <= WIDTH + 0.5
        assert size * 0.7 <= y <= height
        boxes.append((left, left + long, y - size * 0.7, y))
    for k, (a, b, c, d) in enumerate(boxes):
        assert not any(a < f and e < b and c < h and g < d for e, f, g, h in boxes[:k])
    assert not {element.tag for element in root.iter()} - {"svg", "g", "path", "text"}
    known = {"class", "viewBox", "role", "aria-label", "d", "x", "y", "text-anchor", "stroke-dasharray"}
    assert not {name for element in root.iter() for name in element.attrib} - known


@few
@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=30))
def test_any_numbers_make_a_picture_with_places_that_are_numbers(points):
    plot = line_plot("a", [Series("a", [x for x, _ in points], [y for _, y in points])], marks=[Mark(NAN, "x")])
    parsed(plot.svg)
    assert "nan" not in re.sub('aria-label="[^"]*"', "", str(plot.svg))
    assert "inf" not in str(plot.svg)[80:].split('">')[0]


@few
@given(st.lists(st.one_of(st.none(), st.floats()), max_size=12), st.lists(st.floats(), max_size=40))
def test_any_numbers_make_bars_a_histogram_and_a_sparkline(values, many):
    bars = bar_plot("a", [str(k) for k in range(len(values))], values)
    shown = histogram("a", many)
    parsed(bars.svg)
    parsed(shown.svg)
    assert len(bars.table.rows) == len(values)
    assert sum(row[2] for row in shown.table.rows) == sum(abs(value) <= 1e150 for value in many)
    assert (sparkline(many) == "") == (not any(abs(value) <= 1e150 for value in many))


def test_a_bar_is_as_long_as_its_value():
    svg = bar_plot("a", ["x", "y", "z"], [1.0, -2.0, None], intervals=[(0.5, 1.5), None, None]).svg
    one, two = (float(rect.get("width")) for rect in parsed(svg).iter("rect"))
    assert two == pytest.approx(2 * one, rel=0.01)
    assert "not known" in svg


def test_a_sparkline_says_from_where_to_where_and_leaves_a_gap():
    svg = sparkline([3, 2, NAN, 1], label="loss")
    assert parsed(svg).get("aria-label") == "loss: from 3 to 1"
    assert next(parsed(svg).iter("path")).get("d").count("M") == 2


def test_pictures_need_no_matplotlib_and_no_torch():
    code = (
        "import sys, hf_monitor.report.plots, hf_monitor.report.sections.curves, hf_monitor.report.sections.machine, "
    )
    code += (
        "hf_monitor.report.sections.trials; print({'matplotlib', 'torch', 'transformers', 'pandas'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
