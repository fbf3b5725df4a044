"""The page itself: made of whatever is there, the same each time, and nothing in it but text."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files

import orjson
import pytest
from hostile_run import ATTACKS, WORD, WRITING, hostile_run, make_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_monitor.report import report_html, write_report
from hf_monitor.report.one_page import SECTIONS
from hf_monitor.report.sections import findings
from hf_monitor.report.words import clean
from hf_monitor.run.reader import Run
from hf_monitor.run.rows import plain

VOID = {"meta", "br"}
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style body a main h1 h2 h3 h4 h5 nav ul li section p span div dl dt dd details summary "
        "pre code b table caption thead tbody tr th td figure figcaption article bdi ins del "
        "svg g path text tspan circle rect line polyline desc",
    )
)
STYLE = (files("hf_monitor.report") / "style.css").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Reads a page strictly: what is opened is closed, each id stands once, nothing is loaded or run."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.values: list[str] = []
        self.feed(page.decode("utf-8"))
        self.close()
        assert not self.open
        assert len(self.ids) == len(set(self.ids))
        assert {link.removeprefix("#") for link in self.links} <= set(self.ids)

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        for name, value in attrs:
            assert not name.startswith("on"), name
            assert name not in ("style", "src", "srcset", "action", "data", "xlink:href"), name
            self.values.append(value or "")
            if name == "id":
                self.ids.append(value)
            if name == "href" and value.startswith("#"):
                self.links.append(value)
            elif name == "href":  # it leads out of the page, and nothing else of the page's address goes with it
                assert value.startswith(("https://", "http://")), value
                assert dict(attrs).get("rel") == "noreferrer"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return hostile_run(tmp_path_factory.mktemp("runs") / "hostile")


@pytest.mark.no_cover
def test_every_section_is_made_of_a_hostile_run_and_every_text_comes_back_as_it_was(hostile):
    page = Page(report_html(hostile))
    assert [name for name in SECTIONS if name not in page.ids] in ([], ["gaps"])
    assert "could not be made" not in page.text
    assert "cannot be told from these rows" not in page.text
    for one in [*ATTACKS, *WRITING, WORD]:
        assert clean(one) in page.text


def test_the_same_run_gives_the_same_bytes_also_in_another_process(hostile, tmp_path):
    page = report_html(hostile)
    assert report_html(Run(hostile)) == page
    code = "import sys; from hf_monitor.report import write_report; write_report(*sys.argv[1:])"
    surroundings = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Seoul", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, hostile, tmp_path / "page.html"]
    subprocess.run(command, env=surroundings, check=True, timeout=60)
    assert (tmp_path / "page.html").read_bytes() == page


def test_a_section_that_fails_is_left_out_and_the_page_says_so(tmp_path, monkeypatch):
    def fail(material):
        raise ZeroDivisionError("<b>odd</b>")

    monkeypatch.setattr(findings, "findings", fail)
    page = Page(write_report(make_run(tmp_path / "run", 30, evaluations=2, n_texts=3)).read_bytes())
    assert "findings" not in page.ids
    assert {"verdict", "curves", "environment", "gaps"} <= set(page.ids)
    assert "The section “Findings” could not be made: ZeroDivisionError: <b>odd</b>" in page.text


def test_a_run_folder_with_nothing_but_run_json_has_a_page(tmp_path):
    (tmp_path / "run.json").write_text('{"run_id": "r"}')
    assert "nothing recorded" in Page(report_html(Run(tmp_path))).text
    (tmp_path / "run.json").write_text("no JSON")
    assert "run.json is not there or cannot be read" in Page(report_html(Run(tmp_path))).text


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**9)
    | st.floats()
    | st.sampled_from(["<b>", "train", "\x00\u202e", "7"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["class", "name", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = [
    "time",
    "attempt",
    "step",
    "kind",
    "event",
    "loss",
    "eval_loss",
    "eval_score",
    "name",
    "checkpoint",
    "type",
    "message",
]
KEYS += [
    "traceback",
    "standalone",
    "stops_training",
    "resumed_attempt",
    "lost_rows",
    "texts",
    "rule",
    "signals",
    "during",
]
NORMAL = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["train", "eval", "event", "alert", "text_scores", "log"]),
        "event": st.sampled_from(["train_begin", "train_end", "error", "save"]),
        "step": st.integers(0, 9),
        "attempt": st.integers(1, 2),
    }
)
ROWS = st.lists(
    st.builds(lambda a, b: {**a, **b}, NORMAL, st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)), max_size=5
)
FACTS = [
    "run_id",
    "attempts",
    "command",
    "working_folder",
    "git",
    "packages",
    "arguments",
    "devices",
    "precision",
    "data",
]
FACTS += ["max_steps", "model", "loss_scaling", "text_metrics", "alerts", "memory_total_mib", "created", "optimizer"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(rows=ROWS, facts=st.dictionaries(st.sampled_from(FACTS), VALUES, max_size=6))
def test_whatever_stands_in_a_folder_there_is_a_page_with_its_verdict(tmp_path, rows, facts):
    (tmp_path / "run.json").write_bytes(orjson.dumps(plain(facts)))
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(plain(row)) + b"\n" for row in rows) + b"{torn\n")
    page = Page(report_html(Run(tmp_path)))
    assert "verdict" in page.ids, page.text[-800:]
    assert "1 line of metrics.jsonl cannot be read" in page.text


def _luminance(colour: str) -> float:
    whole = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(whole[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_stands_out_from_its_paper_light_dark_and_printed():
    schemes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", STYLE)]
    assert len(schemes) == 3
    for colours in schemes:
        for paper in ("paper", "card"):
            for ink in ("ink", "quiet", "good", "warn", "bad", "link"):
                one, other = sorted((_luminance(colours[ink]), _luminance(colours[paper])))
                assert (other + 0.05) / (one + 0.05) >= 4.5, (ink, paper, colours[ink])
