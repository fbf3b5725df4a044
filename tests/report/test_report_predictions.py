import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.report.material import Material
from hf_monitor.report.pages import fragment
from hf_monitor.report.sections.predictions import predictions
from hf_monitor.run import RunWriter
from hf_monitor.run.reader import Rows, Run

LONG = "가나다 <script>alert(1)</script> & \"onload='x' "


def made(rows, config=None, name="eval", step=3):
    """A run with these rows of texts."""
    run = Run("/nowhere")
    run.facts = {"arguments": config or {}}
    run.predictions = Rows({"name": name, "step": step, "time": 1.0, "index": i, **row} for i, row in enumerate(rows))
    return Material(run)


def texts(n, **more):
    return [{"prediction": f"text {i}", "references": [f"ref {i}"], "rougeL": float(i), **more} for i in range(n)]


def labels(group):
    return [sample.label for sample in group.samples]


class Reader(HTMLParser):
    """Tags that are left open, and all text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.said = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert {name for name, _ in attrs}.isdisjoint({"style", "onload", "onerror", "src"})
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.said.append(data)


def read(section):
    html = str(fragment("sections/predictions.html", section=section))
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return html, reader


def test_nothing_recorded_is_said():
    material = made([])
    assert predictions(material) is None
    assert "No predictions were recorded" in material.gaps[0]


def test_best_and_worst_with_their_ranks():
    (one,) = predictions(made(texts(20))).evaluations
    assert one.title == "eval, step 3: 20 texts"
    best, worst = one.groups
    assert (best.title, labels(best)) == ("The best 5 of 20 by rougeL", ["19", "18", "17", "16", "15"])
    assert (worst.title, labels(worst)) == ("The worst 5 of 20 by rougeL", ["0", "1", "2", "3", "4"])
    assert best.samples[0].notes == ["rougeL 19", "rank 1 of 20"]
    assert one.picture.alt
    assert one.scores.rows[0][:4] == ("rougeL", 20, 9.5, 0.0)


@pytest.mark.parametrize(
    ("n", "best", "worst"), [(2, ["1"], ["0"]), (3, ["2"], ["0", "1"]), (5, ["4", "3"], ["0", "1", "2"])]
)
def test_few_texts_are_shown_once(n, best, worst):
    (one,) = predictions(made(texts(n))).evaluations
    assert [labels(group) for group in one.groups] == [best, worst]


def test_one_text_is_neither_best_nor_worst():
    (one,) = predictions(made(texts(1))).evaluations
    assert [group.title for group in one.groups] == ["The only one"]


def test_equal_scores_are_no_ranking():
    (one,) = predictions(made(texts(9, rougeL=0.0))).evaluations
    (group,) = one.groups
    assert (group.title, labels(group)) == ("The first 3", ["0", "1", "2"])
    assert "Not ranked: all have rougeL 0" in group.note
    assert one.picture is None


def test_of_equal_scores_the_first_ones_are_shown():
    rows = texts(20)
    for row in rows[4:]:
        row["rougeL"] = 50.0
    best, worst = predictions(made(rows)).evaluations[0].groups
    assert labels(best) == ["4", "5", "6", "7", "8"]
    assert best.note == "16 texts have this rougeL, 50; the first ones are shown."
    assert best.samples[0].notes[1] == "rank 1 of 20 (16 share it)"
    assert labels(worst) == ["0", "1", "2", "3", "9"]
    assert worst.note == ""


def test_the_metric_is_the_one_of_the_run():
    rows = [{**row, "wer": 100.0 - i} for i, row in enumerate(texts(12))]
    config = {"metric_for_best_model": "eval_wer", "greater_is_better": False}
    (one,) = predictions(made(rows, config)).evaluations
    assert one.groups[0].title == "The best 5 of 12 by wer"
    assert labels(one.groups[0])[0] == "11"
    (one,) = predictions(made(rows, {"metric_for_best_model": "loss"})).evaluations  # none of a single text
    assert one.groups[0].title.endswith("by rougeL")


def test_texts_without_scores_or_references_are_examples():
    (one,) = predictions(made([{"prediction": "a b"}, {"prediction": "c"}])).evaluations
    (group,) = one.groups
    assert "no scores were recorded" in group.note
    assert group.samples[0].reference is None
    assert "2 of 2 predictions have no reference to be compared with." in one.facts


def test_what_stands_out_is_counted():
    rows = texts(12)
    rows[0] |= {"prediction": "", "rougeL": math.nan}
    rows[1] |= {"prediction": "ref 1"}
    rows[2] |= {"ended": False}
    for row in rows[5:9]:
        row["prediction"] = "the same"
    rows.append({"references": ["no prediction"]})
    rows.append({"prediction": ["a list"]})
    (one,) = predictions(made(rows)).evaluations
    said = " ".join(one.facts)
    for sentence in (
        "1 of 12 predictions are the reference, letter by letter.",
        "1 of 12 predictions are empty.",
        "4 of 12 predictions are one and the same text: “the same”.",
        "1 of 12 predictions were ended by the length limit.",
        "2 of 14 rows have no text under 'prediction' and are left out.",
        "1 of 12 texts have no rougeL and no rank.",
    ):
        assert sentence in said
    notes = [note for group in one.groups for sample in group.samples for note in sample.notes]
    assert "3 other predictions are the same text" in notes


def test_a_sample_that_is_there_twice_is_shown_once():
    rows = [*texts(3), *[{"prediction": "p", "references": ["r"], "input": "i", "rougeL": 99.0}] * 6]
    best, worst = predictions(made(rows)).evaluations[0].groups
    assert labels(best) == ["3", "2"]
    assert labels(worst) == ["0", "1"]


def test_the_reference_that_fits_best_is_shown():
    rows = [{"prediction": "a red hat", "references": ["something else", "a red cap"], "rougeL": 1.0}]
    (sample,) = predictions(made(rows)).evaluations[0].groups[0].samples
    assert "".join(piece.text for piece in sample.reference) == "a red cap"
    assert "of 2 references the one with most words in common" in sample.notes


def test_the_test_set_comes_first_and_three_are_shown():
    material = made([])
    names = ["eval_a", "eval_b", "test", "eval_c", "eval_d"]
    material.run.predictions = Rows({"name": name, "time": 1.0, **row} for name in names for row in texts(3))
    section = predictions(material)
    assert [one.title.split(":")[0] for one in section.evaluations] == ["test", "eval_a", "eval_b"]
    assert section.notes == ["Not shown: eval_c, eval_d (predictions.jsonl has them)."]


def test_marks_are_elements_and_explained_and_the_empty_text_is_called_so():
    rows = [{"prediction": "a red hat", "references": ["a grey hat"]}, {"prediction": " \n", "references": ["x"]}]
    html, reader = read(predictions(made(rows)))
    assert '<ins class="differs">red</ins>' in html
    assert '<del class="differs">grey</del>' in html
    assert "Marked in a prediction" in "".join(reader.said)
    assert html.count("(empty)") == 1


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Three sets of texts that are long, hostile, right-to-left, or made of emoji."""
    writer = RunWriter(tmp_path_factory.mktemp("hostile"))
    writer.begin_attempt()
    long = [LONG * 300, "&" * 10_000, "하나 둘 " * 3000, "<" * 10_000, "the " * 3000]
    odd = [
        "<script>alert(1)</script>",
        "שלום \u202e abc",
        "👨\u200d👩\u200d👧 e\u0301",
        "\x00\x1b[31m",
        "\ud83d",
        "",
        5,
    ]
    rows = [
        {"index": i, "prediction": text, "references": [LONG * 50, str(text)[::-1]], "input": LONG * 400}
        for i, text in enumerate([*long, *odd])
    ]
    for name in ("test", "eval", f"<b>{'x' * 500}"):
        scores = [{"name": name, "rougeL": float(i), "<i>": i / 3} for i in range(len(rows))]
        writer.rows("predictions.jsonl", [{**row, **score} for row, score in zip(rows, scores, strict=True)])
    return Material(Run(writer.run_dir))


def test_hostile_and_long_texts_are_text_and_take_at_most_40_kb(hostile):
    section = predictions(hostile)
    html, reader = read(section)
    assert len(html.encode("utf-8", "strict")) < 40_000
    assert reader.tags.isdisjoint({"script", "b>", "i", "img"})
    assert "<script>alert(1)</script>" in "".join(reader.said)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", html)
    assert "Long texts are shortened" in section.notes[-1]
    assert re.search(r"\[… [\d,]+ characters …\]", html)


ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.text(max_size=3))
ROWS = st.dictionaries(
    st.sampled_from(["prediction", "references", "input", "index", "rougeL", "ended", "confidence", "name", "step"]),
    ANY | st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(ROWS, max_size=6), st.dictionaries(st.sampled_from(["metric_for_best_model", "greater_is_better"]), ANY)
)
def test_whatever_is_in_the_rows_there_is_a_section_or_a_reason(rows, config):
    material = made(rows, config)
    section = predictions(material)
    if section is None:
        assert material.gaps
    else:
        read(section)
