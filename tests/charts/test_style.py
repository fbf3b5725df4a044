import io
from itertools import combinations

import matplotlib.style
import pytest
from colour_vision import VISION, ciede2000, contrast_on_white, lab, smallest_distance
from matplotlib import rc_context, rcParams
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.image import imread

from hf_monitor.charts.fold_charts import FoldF1Chart
from hf_monitor.charts.fold_spread import FoldDistributionChart
from hf_monitor.charts.history import TrainingHistoryChart
from hf_monitor.charts.style import dark_on_white, finish, new_figure, series_style, tick_labels


def colours(n):
    return [series_style(index).colour for index in range(n)]


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [  # Sharma, Wu & Dalal (2005), table 1: pairs 1, 7, 13, 16, 17, 25, 32 and 34
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, -0.001, 2.49), (50.0, 0.0009, -2.49), 4.8045),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_colour_distance_is_the_published_one(first, second, distance):
    assert ciede2000(first, second) == pytest.approx(distance, abs=5e-5)
    assert ciede2000(second, first) == pytest.approx(distance, abs=5e-5)


def test_colours_as_seen_are_right_where_they_are_known():
    assert lab("#FFFFFF") == pytest.approx((100, 0, 0), abs=1e-3)
    assert lab("#FF0000") == pytest.approx((53.24, 80.09, 67.20), abs=0.01)
    for vision in VISION:  # grey stays grey
        assert lab("#808080", vision) == pytest.approx(lab("#808080"), abs=0.01)
    red_and_olive = ["#C04040", "#7A7A00"]
    assert smallest_distance(red_and_olive, "deuteranopia") < smallest_distance(red_and_olive) / 2
    assert contrast_on_white("#000000") == pytest.approx(21)


@pytest.mark.parametrize("vision", VISION)
def test_series_are_apart_in_every_vision(vision):
    """The numbers that style.py states, rounded."""
    assert smallest_distance(colours(5), vision) >= 19.65
    assert smallest_distance(colours(6), vision) >= 18.95
    assert smallest_distance(colours(8), vision) >= 13.85


def test_series_have_enough_contrast_on_white():
    assert min(contrast_on_white(colour) for colour in colours(8)) >= 3


def test_every_second_channel_tells_series_apart_without_colour():
    styles = [series_style(index) for index in range(8)]
    for channel in ("colour", "marker", "line", "hatch"):
        assert len({getattr(style, channel) for style in styles}) == 8, channel


def test_series_after_the_last_colour_still_look_like_no_other():
    styles = [series_style(index) for index in range(64)]
    assert styles[8].colour == styles[0].colour
    for one, other in combinations(styles, 2):
        same = one.colour == other.colour
        assert not (same and (one.marker == other.marker or one.line == other.line or one.hatch == other.hatch))


def test_many_series_leave_the_axes_their_room():
    """Fifty: no warning of the layout (an error here), nothing out of the picture, and it is said."""
    figure, axes = new_figure(10.0, 3.4, 2)
    for ax, name in zip(axes, ("rougeL", "a model with quite a long name, Nr."), strict=True):
        for index in range(50):
            ax.plot([0, 1], [index, 0], label=f"{name} {index}")
        finish(ax, "title", "step", "score")
    few, many = ([text.get_text() for text in ax.get_legend().get_texts()] for ax in axes)
    assert few == [*(f"rougeL {index}" for index in range(11)), "and 39 more"]
    assert many[-2:] == ["a model with quite a long name, Nr. 6", "and 43 more"]
    figure.draw_without_rendering()
    for ax in axes:
        legend, frame = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert legend.y1 < ax.xaxis.get_tightbbox().y0
        assert figure.bbox.y0 <= legend.y0
        assert figure.bbox.x0 <= legend.x0
        assert legend.x1 <= figure.bbox.x1
        assert frame.width > 0.3 * figure.bbox.width
        assert frame.height > 0.25 * figure.bbox.height


def test_tick_labels_stand_where_they_belong_and_take_properties():
    _, (ax,) = new_figure(4.0, 3.0)
    tick_labels(ax.xaxis, [0, 2], ["$x$", "둘"], rotation=30)
    labels = ax.get_xticklabels()
    assert [(label.get_text(), label.get_position()[0]) for label in labels] == [("$x$", 0), ("둘", 2)]
    assert {(label.get_rotation(), label.get_parse_math()) for label in labels} == {(30.0, False)}


def test_our_figures_are_dark_on_white_in_a_dark_style_and_others_axes_keep_theirs(tmp_path):
    rows = [{"fold": k, "f1": 0.5 + k / 100, "accuracy": 0.6} for k in range(4)]
    spread, f1 = FoldDistributionChart.from_rows(rows), FoldF1Chart.from_rows(rows)
    with rc_context():
        rcParams.update(matplotlib.style.library["dark_background"])
        rcParams["savefig.facecolor"] = "black"
        ax, with_legend = spread.plot(), f1.plot()
        corner = imread(spread.save(tmp_path / "a.png"))[0, 0]
        in_notebook = imread(io.BytesIO(spread._repr_png_()))[0, 0]
        history = TrainingHistoryChart.from_rows([{"step": 1, "loss": 1.0}], model_name="m")
        history.plot()
        theirs = Figure().add_subplot()
        spread.plot(theirs)
    assert corner.tolist() == in_notebook.tolist() == [1, 1, 1, 1]
    assert history.figure._suptitle.get_color() == "black"
    assert to_rgba(ax.get_facecolor()) == (1, 1, 1, 1)
    legend = with_legend.get_legend().get_texts()
    texts = [ax._left_title, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_yticklabels(), *with_legend.texts, *legend]
    assert {text.get_color() for text in texts} == {"black"}
    assert {to_rgba(spine.get_edgecolor()) for spine in ax.spines.values()} == {(0, 0, 0, 1)}
    assert {line.get_color() for line in ax.get_ygridlines()} == {"#b0b0b0"}
    (intervals,), (others,) = ax.collections, theirs.collections
    assert [tuple(found.get_color()[0]) for found in (intervals, others)] == [(0, 0, 0, 1), (1, 1, 1, 1)]
    assert theirs._left_title.get_color() == "white"


def test_a_dark_style_leaves_texts_with_a_colour_of_their_own():
    with rc_context({"text.color": "white"}):
        _, (ax,) = new_figure(4.0, 3.0)
        own, other = ax.text(0, 0, "a", color="#990000"), ax.text(0, 0, "b")
        dark_on_white(ax)
    assert (own.get_color(), other.get_color()) == ("#990000", "black")
