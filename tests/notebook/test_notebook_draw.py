"""What a scene looks like: all that matters is there, hostile texts stay texts, it is small, and drawn seldom."""

import math
import re
import time
from html.parser import HTMLParser
from itertools import accumulate
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from made_scenes import BEGAN, row, scene, trained

from hf_monitor.notebook import curve_pictures
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.draw import draw
from hf_monitor.notebook.metrics_table import readings
from hf_monitor.notebook.pictures import curve_image
from hf_monitor.notebook.scene import Bar, Sample
from hf_monitor.report.line_plot import line_plot
from hf_monitor.report.picture import Series
from hf_monitor.report.watch.state import State

# What JupyterLab 4.6 leaves of an output that is not trusted; GitHub is alike. Without style, svg, script, progress.
TAGS = {
    *("a", "b", "br", "code", "details", "div", "i", "img", "ins", "span"),
    *("summary", "table", "td", "th", "tr", "u"),
}
STYLES = {
    *("background", "border", "border-collapse", "border-radius", "color", "display", "flex-wrap", "font-weight"),
    *("height", "margin", "margin-bottom", "margin-left", "margin-top", "max-width", "opacity", "overflow-wrap"),
    *("overflow-x", "padding", "word-wrap", "text-align", "vertical-align", "white-space", "width"),
}


class Reader(HTMLParser):
    """Reads a card strictly: balanced, with these tags only; keeps words, pictures and styles."""

    def __init__(self, html):
        super().__init__()
        self.open, self.words, self.images, self.links, self.styles = [], [], [], [], set()
        self.feed(html.partition("</style>")[2])
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        assert tag in TAGS, tag
        assert set(found) <= {"style", "class", "dir", "width", "alt", "src", "href", "target"}, found
        self.styles |= {one.partition(":")[0] for one in (found.get("style") or "").split(";") if one}
        self.open += [] if tag in ("br", "img") else [tag]
        self.images += [found] if tag == "img" else []
        self.links += [found["href"]] if tag == "a" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(drawing):
    assert isinstance(drawing, Drawing)
    drawing.html.encode()  # a lone surrogate would fail here, and on its way to the notebook
    drawing.text.encode()
    return Reader(drawing.html)


def test_a_card_says_what_matters_and_needs_no_style_sheet():
    found = read(draw(scene()))
    clock = time.strftime("%H:%M:%S", time.localtime(BEGAN + 200))
    for words in (
        f"t5-small-dialogue running for 3 min 20 s, as of {clock}",
        "training 400 of 800, 50 % · epoch 1.50 of 3, about 3 min left",
        "evaluation 12 · eval_ko",
        "metric latest change best at step loss",
        "error step 266: Overfitting since step 52",
        "Try: load_best_model_at_end=True",
        "text 7 · rougeL 12 prediction 민수는 목요일 부터 기차를",  # what differs is an element of its own
        "reference 민수는 목요일 에 기차를",
        "prediction (empty) reference ثلاثة رجال ואחת",
        "GPU 0 97 % busy 59.8 of 79.6 GiB 61 °C 412 W H100",
        "123 samples/s, 45,679 tokens/s, 1 s a step, waits for data 31 % of the time",
        "14:03:22 한국어 메시지",
        "folder: /tmp/outputs/demo Recorded in outputs/demo/monitor.",
    ):
        assert words in found.text
    assert found.links == ["./outputs/demo/monitor/report.html"]
    assert found.styles <= STYLES
    alts = [image["alt"].partition(":")[0] for image in found.images]
    assert alts == ["Loss", "Scores"]
    assert "<ins " in draw(scene()).html


def test_what_is_over_says_so_and_a_number_that_is_none_stands_out():
    drawing = draw(scene(trained(broken={400}), "crashed", ending="ValueError: no <b>text</b>"))
    found = read(drawing)
    assert "crashed after 3 min 20 s ValueError: no <b>text</b> training" in found.text
    assert "as of" not in found.text
    assert re.search(r"background:#b3261e[^>]*>NaN</span>", drawing.html)
    assert drawing.text.splitlines()[:3] == [
        "t5-small-dialogue: crashed after 3 min 20 s",
        "ValueError: no <b>text</b>",
        "training 400 of 800, 50 %, epoch 1.50 of 3, about 3 min left",
    ]
    assert "loss NaN (best 0.9824 at step 392)" in drawing.text


def test_colours_are_legible_on_white_and_on_black():
    def light(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        return sum(
            share * (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4)
            for share, one in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
        )

    def contrast(one, other):
        low, high = sorted((light(one), light(other)))
        return (high + 0.05) / (low + 0.05)

    html = draw(scene(trained(alerts=3, broken={400}))).html.partition("</style>")[2]
    words = set(re.findall(r'style="color:(#\w{6})"', html))
    assert len(words) == 2
    assert all(contrast(colour, page) >= 4 for colour in words for page in ("#ffffff", "#111111"))
    badges = set(re.findall(r"background:(#\w{6});color:#fff", html))
    assert len(badges) == 3
    assert all(contrast(colour, "#ffffff") >= 4.5 for colour in badges)


def test_pictures_are_whole_svg_with_the_points_of_the_curves():
    title = "a <b> & 'q' \"w\" 한"
    series = [Series(title, [float(x) for x in range(60)], [100 * math.sin(x * x) for x in range(60)])]
    (image,) = read(draw(scene(State(), samples=(), pictures=[curve_image(title, series)]))).images
    head, _, svg = image["src"].partition(",")
    assert head == "data:image/svg+xml"
    assert image["alt"].startswith(f"\u2068{title}: ")
    ElementTree.fromstring(unquote(svg))
    (line,) = re.findall(r"d='(M[^'l]+l[^'v]+)'", unquote(svg))
    numbers = [float(one) for one in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", line)]
    (whole,) = re.findall(r'd="M([^"]+L[^"]+)"', str(line_plot(title, series).svg))
    points = [float(one) for pair in whole.split("L") for one in pair.split()]
    assert list(accumulate(numbers[::2])) == pytest.approx(points[::2], abs=1e-6)
    assert list(accumulate(numbers[1::2])) == pytest.approx(points[1::2], abs=1e-6)


def test_metrics_are_those_asked_for_else_the_first_and_the_rest_is_counted():
    state = State()
    values = {f"m{place}": float(place) for place in range(20)}
    state.feed([row("log", step, loss=1.0 / step, accuracy=step / 10, **values) for step in (1, 2, 3)])
    found = read(draw(scene(state, samples=())))
    assert "loss 0.3333 -0.167 0.3333 3" in found.text
    assert "and 10 more metrics" in found.text
    assert [image["alt"].partition(":")[0] for image in found.images] == ["Loss", "accuracy", "m0"]
    found = read(draw(scene(state, samples=(), metrics=("accuracy", "bleu"))))
    assert "accuracy 0.3 +0.1 0.3 3 not logged so far: bleu" in found.text
    assert [image["alt"].partition(":")[0] for image in found.images] == ["accuracy"]


def test_scores_stand_together_before_what_is_of_the_training():
    names = [one.name for one in readings(scene())]
    assert names[:2] == ["loss", "eval_loss"]
    assert names[-2:] == ["learning_rate", "grad_norm"]


def test_which_way_is_better_is_told_as_the_reader_tells_it():
    state = State({"arguments": {"metric_for_best_model": "mine", "greater_is_better": False}})
    state.feed([row("eval", step, eval_wer=0.5 / step, eval_mine=2.0 * step, eval_f1=step / 4) for step in (1, 2)])
    found = read(draw(scene(state, samples=())))
    for words in ("eval_wer 0.25 -0.25 0.25 2", "eval_mine 4 +2 2 1", "eval_f1 0.5 +0.25 0.5 2"):
        assert words in found.text


def test_what_got_better_is_green_and_what_nobody_can_judge_has_neither_colour_nor_best():
    state = State()
    for step, loss, rouge in ((1, 3.0, 20.0), (2, 1.0, 30.0)):
        state.feed([row("eval", step, eval_loss=loss, eval_rougeL=rouge, eval_wer=1 / loss, eval_gen_len=1.0 * step)])
    state.feed(
        [row("log", step, lr=0.5 / step, huge=4e11 * step, loss_raw=0.0, nonfinite_steps=1.0) for step in (1, 2)]
    )
    drawing = draw(scene(state, samples=()))
    coloured = dict(re.findall(r">([\w.]+)</td><td[^>]*>[^<]*</td><td[^>]*><span class=\"hfm-(\w+)\"", drawing.html))
    assert coloured == {"eval_loss": "better", "eval_rougeL": "better", "eval_wer": "worse"}
    found = read(drawing)
    for words in (
        "lr 0.25 -0.25 huge 800,000,000,000 +400,000,000,000 nonfinite_steps 1 ",
        "eval_gen_len 2 ",
    ):
        assert words in found.text


def test_what_must_be_known_stands_on_top():
    drawing = draw(scene(warnings=["The disk takes <nothing>."]))
    assert "as of" in read(drawing).text.partition("warning The disk takes <nothing>. training 400 of 800")[0]
    assert drawing.text.splitlines()[1] == "The disk takes <nothing>."


def test_of_one_value_each_there_is_no_change_and_no_best():
    state = State()
    state.feed([row("eval", 4, eval_loss=2.0, eval_rougeL=30.0)])
    found = read(draw(scene(state, samples=(), bars=(), messages=(), links=(), notes=())))
    assert found.text.endswith("metric latest eval_loss 2 eval_rougeL 30")


def points_in(image):
    """Give how many points the longest line of a picture has."""
    lines = re.findall(r"d='M[^'l]+l([^'v]+)'", unquote(image["src"]))
    return max(len(re.findall(r"-?(?:\d+\.?\d*|\.\d+)", line)) // 2 + 1 for line in lines)


def test_a_picture_has_eight_lines_at_most_of_some_240_points_and_two_pictures_stand_side_by_side():
    state = State()
    sets = {f"eval_{place}_loss": 1.0 + place for place in range(20)}
    for step in range(1, 1001):
        state.feed([row("train", step, loss=math.sin(step), **({} if step % 100 else sets))])
    (image,) = read(draw(scene(state, samples=()))).images
    assert 200 <= points_in(image) <= 240
    assert len(set(re.findall(r"class='(s\d)'", unquote(image["src"])))) == 8
    assert len(re.findall("; eval_", image["alt"])) == 7
    assert " more" not in image["alt"]
    beside, margin, frame = 2 * int(image["width"]), 2 * 12, 2 * (12 + 1)
    assert beside + margin + frame <= 828  # of a cell in JupyterLab: 1280 wide, with the file browser


def test_a_spike_stays_where_it_was_among_a_million_steps():
    state = State()
    for step in range(1, 5001):
        state.feed([row("train", step, loss=100.0 if step == 3777 else 0.5 if step == 1234 else 1.0)])
    found = read(draw(scene(state, samples=())))
    assert "highest 100 at step 3,777" in found.images[0]["alt"]
    assert "lowest 0.5 at step 1,234" in found.images[0]["alt"]
    state.feed([row("train", step, loss=value) for step, value in ((5001, 2.0), (5002, 4.0), (5003, 3.0))])
    assert "to 3 at step 5,003" in read(draw(scene(state, samples=()))).images[0]["alt"]


def test_an_input_is_one_line_and_a_short_one_needs_no_unfolding():
    def drawn(text):
        return draw(scene(State(), samples=[Sample("1", "a", ("a",), text)])).html

    assert "<details" not in drawn("x" * 200)
    assert "<details" not in drawn("who?\nme.")
    for dialogue, most in (("#Person1#: hello\n#Person2#: hello\n" * 9, 84), ("한국어 대화" * 99, 48)):
        (summary,) = re.findall("<summary>(.*?)… .*?</summary>", drawn(dialogue), re.DOTALL)
        assert "\n" not in summary
        assert most - 12 < len(summary) <= most


def test_a_resumed_attempt_and_alerts_are_marked():
    state = trained()
    state.feed([{**row("event", 200, event="train_begin", resumed_attempt=1), "attempt": 2}])
    state.feed([{**row("train", 201, loss=1.5), "attempt": 2}])
    losses = unquote(read(draw(scene(state))).images[0]["src"])
    assert "attempt 2</text>" in losses
    assert "rule 0</text>" in losses


WORD = "o" * 10_000
HOSTILE = [
    "<script>alert(1)</script>",
    '" onload="alert(3)',
    "' onmouseover='alert(4)",
    "</style><img src=x onerror=alert(6)>",
    "javascript:alert(9)",
    "\u202eright to left ثلاثة\u2067",
    "\x00\x07\x1b[31m red\x7f\x85 \ud800 \ufffe",
    "👩🏽‍💻 a\u0301\u200b\nsecond line",
    WORD,
]


def test_hostile_texts_stay_texts():
    for text in HOSTILE:
        state = State()
        state.feed([row("event", 0, event="train_begin", max_steps=10)])
        state.feed(
            [
                row("eval", step, **{text: 1.0 * step, f"eval_{text}_loss": 2.0, f"eval_{text}_bleu": 3.0})
                for step in (1, 2)
            ]
        )
        state.feed([row("alert", 2, rule=text, severity=text, sentence=text, suggestions=[text])])
        state.feed_samples([{"kind": "gpu", "attempt": 1, "gpu": 0, "step": 1, "throttle": [text], "phase": text}])
        drawing = _hostile(state, text)
        found = read(drawing)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", drawing.html + drawing.text)
        # What turns the direction of a text stays in the blocks of the texts, where it turns nothing else.
        around = re.sub(r'<td dir="auto".*?</td>', "", drawing.html, flags=re.DOTALL)
        assert not re.search("[\u202e\u2067]", around + drawing.text)
        assert all(href.startswith("./") for href in found.links)
        assert len(drawing.html) < 120_000
        assert len(drawing.text) < 4000


def _hostile(state, text):
    made = scene(
        state,
        text,
        ending=text,
        bars=[Bar(text, math.nan, math.inf, text), Bar(text, 5, 0)],
        samples=[Sample(text, text, (f"{text} x", text), text, text), Sample("1", f"{text} y", (text,))],
        messages=[text],
        notes=[text],
        links=[(text, text), (text, f"/{text}")],
        metrics=(text, "eval_no", f"eval_{text}_bleu", f"eval_{text}_loss"),
    )
    made.title = text
    return draw(made)


def test_a_long_training_is_small_and_a_curve_that_stands_still_is_not_drawn_anew(monkeypatch):
    drawn = []
    image = curve_pictures.curve_image
    monkeypatch.setattr(
        curve_pictures, "curve_image", lambda title, *rest, **more: drawn.append(title) or image(title, *rest, **more)
    )
    state = trained(10_000, 100, alerts=20)
    long = scene(state, length=3000)
    first = draw(long)
    assert len(first.html.encode()) < 60_000  # 37 kB
    assert draw(long) == first
    assert drawn == ["Loss", "Scores"]
    state.feed([row("train", 10_001, loss=1.0)])
    began = time.process_time()
    assert draw(long) != first
    assert time.process_time() - began < 0.25  # 18 ms here
    assert drawn == ["Loss", "Scores", "Loss"]
