import io
import logging
import subprocess
import sys
import unicodedata
from collections import Counter

import pytest
from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

from hf_monitor.charts import fonts
from hf_monitor.charts.fonts import dress, families, shown, text_columns, text_style
from hf_monitor.charts.style import finish, new_figure, tick_labels

FAMILY_EMOJI = "👩\u200d👩\u200d👧"
HOSTILE = {
    "<script>": ("<script>", 0),
    "$x$": ("$x$", 0),
    "$\\foo$": ("$\\foo$", 0),
    "뷁": ("뷁", 0),
    "손실 −1": ("손실 −1", 0),
    "a\n\tb\r\n": ("a b", 0),
    "a\x00b": ("aU+0000b", 1),
    "\x1b[31mred": ("U+001B[31mred", 1),
    "\u202egnp.exe": ("U+202Egnp.exe", 1),
    "\ud800": ("U+D800", 1),
    "a\u200bb": ("aU+200Bb", 1),
    "\u3164": ("U+3164", 1),
    "🎉": ("U+1F389", 1),
    "😀": ("😀", 0),  # DejaVu Sans has it
    "❤\ufe0f": ("❤", 0),
    FAMILY_EMOJI: ("U+1F469U+200DU+1F469U+200DU+1F467", 5),
    "שלום عالم": ("שלום عالم", 0),
    unicodedata.normalize("NFD", "학습"): ("학습", 0),
    "가\u0301": ("가U+0301", 1),  # in DejaVu Sans only, which has no 가
    "é\u0301\u0302\u0303\u0304": ("é\u0301\u0302\u0303U+0304", 1),
    "x" * 10_000: ("x" * 39 + "…", 0),
    "가" * 10_000: ("가" * 19 + "…", 0),
    "🎉" * 10_000: ("U+1F389" * 5 + "…", 5),
    "a\u0301" * 10_000: ("á" * 39 + "…", 0),
    " " * 10_000 + "a" + " " * 10_000 + "b": ("a…", 0),
    "_name": (" _name", 0),
    "": ("", 0),
    " \n": ("", 0),
}


@pytest.fixture
def korean():
    if len(families()) == 1:
        pytest.skip('needs a Korean font: pip install "hf-monitor[korean]"')


@pytest.fixture
def packaged():
    return fonts._packaged_font()


@pytest.fixture
def no_korean(monkeypatch):
    """As where there is no Korean font, neither known nor packaged nor new on the disk."""
    monkeypatch.setattr(fonts, "_KOREAN", ())
    monkeypatch.setattr(fonts, "_KOREAN_FILES", ())
    monkeypatch.setattr(fonts, "_packaged_font", lambda: None)
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    caches = (fonts._korean_family, fonts._look_on_disk, fonts._say_how_to_get_a_font)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


def has_glyphs(text):
    maps = [FT2Font(findfont(FontProperties(family=[name]))).get_charmap() for name in families()]
    return all(any(ord(char) in charmap for charmap in maps) for char in text)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:12]))
def test_hostile_texts_become_a_line_that_the_fonts_have(korean, text):
    line, count = HOSTILE[text]
    uncovered = Counter()
    assert shown(text, uncovered=uncovered) == line
    assert uncovered.total() == count
    assert has_glyphs(line)
    assert text_columns(line) <= 40


def test_what_is_not_drawn_is_counted_by_character(korean):
    uncovered = Counter()
    shown(f"🎉🎉{FAMILY_EMOJI}", limit=80, uncovered=uncovered)
    shown("🎉", uncovered=uncovered)
    assert uncovered == {"🎉": 3, "👩": 2, "\u200d": 2, "👧": 1}
    shown("x" * 50 + "🎉", uncovered=uncovered)  # cut off, so not drawn
    assert uncovered["🎉"] == 3


@pytest.mark.no_cover
def test_whatever_the_character_the_line_is_covered(korean):
    line = "".join(shown(f"a{chr(code)}") for code in range(0x21, 0x30000, 7))
    assert has_glyphs(line)
    assert "U+" in line


class Awkward:
    def __str__(self):
        raise RuntimeError("no")


def test_texts_need_not_be_texts():
    assert shown(None) == "None"
    assert shown(0.5) == "0.5"
    assert shown(b"x") == "b'x'"
    assert shown(Awkward()) == "<Awkward without text>"
    assert shown(10**5000) == "<int without text>"  # Python refuses to write it


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8])
def test_no_line_is_longer_than_its_limit_and_no_character_is_cut_in_two(limit):
    for text in ("abcdefghijk", "가나다라마바사", "🎉🎉🎉"):
        line = shown(text, limit)
        assert text_columns(line) <= limit
        assert line.removesuffix("…").replace("U+1F389", "🎉") in text
    assert shown("ab", 2) == "ab"
    assert shown("abc", 2) == "a…"


@pytest.mark.no_cover
def test_hostile_texts_are_drawn_without_a_warning(korean, caplog):
    """As title, labels, legend, ticks, annotation; warnings are errors here."""
    lines = [shown(text) for text in HOSTILE]
    figure, (ax,) = new_figure(12.0, 9.0)
    ax.plot([0, 1], [0, 1], label=lines[2])
    finish(ax, "".join(lines[:4]), lines[1], lines[2], legend=True)
    ax.get_legend().set_title(lines[2])
    tick_labels(ax.xaxis, range(len(lines)), lines, rotation=90)
    ax.annotate(lines[2], (0, 0))
    dress(ax)
    for text in (ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.get_legend().get_texts(), *ax.texts):
        assert text.get_fontfamily() == families()
        assert not text.get_parse_math()
    assert not ax.get_legend().get_title().get_parse_math()
    with caplog.at_level(logging.WARNING):
        figure.savefig(io.BytesIO())
    assert caplog.records == []


def test_categories_of_a_user_are_not_parsed_either(korean):
    figure, (ax,) = new_figure(4.0, 3.0)
    ax.bar(["$\\foo$", "가"], [1, 2])
    finish(ax, "", "", "")
    dress(ax)
    figure.savefig(io.BytesIO())
    assert [(label.get_text(), label.get_parse_math()) for label in ax.get_xticklabels()] == [
        ("$\\foo$", False),
        ("가", False),
    ]


def test_fonts_are_dejavu_and_then_one_for_korean(korean):
    first, second = families()
    assert first == "DejaVu Sans"
    assert {ord(char) for char in "가뷁힣"} <= fonts._charmap(second)
    assert ord("−") in fonts._charmap(first)
    before = len(fontManager.ttflist)
    assert families() == [first, second]
    assert len(fontManager.ttflist) == before  # added once


def test_without_a_korean_font_it_is_said_once_with_the_command(no_korean, caplog):
    assert families() == ["DejaVu Sans"]
    uncovered = Counter()
    assert shown("학습 a", uncovered=uncovered) == "U+D559U+C2B5 a"
    assert uncovered == {"학": 1, "습": 1}
    assert shown("漢") == "U+6F22"
    (record,) = caplog.records
    assert record.name == "hf_monitor.charts"
    assert 'pip install "hf-monitor[korean]"' in record.getMessage()


def test_without_a_korean_font_other_texts_are_no_reason_to_speak(no_korean, caplog):
    assert shown("é − 🎉") == "é − U+1F389"
    assert caplog.records == []


def test_a_font_installed_after_matplotlib_made_its_list_is_found(packaged, no_korean, monkeypatch, caplog):
    if packaged is None:
        pytest.skip("needs the font file of koreanize-matplotlib")
    entries = [entry for entry in fontManager.ttflist if entry.name != "NanumGothic"]
    monkeypatch.setattr(fontManager, "ttflist", entries)
    monkeypatch.setattr(fonts, "_KOREAN", ("NanumGothic",))
    monkeypatch.setattr(fonts, "_KOREAN_FILES", ("nanumgothic",))
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(packaged)])
    assert families() == ["DejaVu Sans"]
    assert shown("학습") == "학습"
    assert families() == ["DejaVu Sans", "NanumGothic"]
    assert caplog.records == []


def test_text_style_pins_the_file_whose_coverage_was_looked_up(korean):
    style = text_style()
    assert style["fontweight"] == style["fontstyle"] == "normal"
    assert style["usetex"] is style["parse_math"] is False


@pytest.mark.parametrize(
    "settings",
    [
        "{'text.usetex': True}",
        "{'font.family': ['No Such Font'], 'font.style': 'italic', 'axes.titleweight': 'bold'}",
    ],
)
def test_rcparams_of_the_user_neither_break_the_texts_nor_change(korean, settings):
    code = (
        "import io, logging, sys, warnings, matplotlib\n"
        "warnings.simplefilter('error')\n"
        "logging.basicConfig(level='WARNING', stream=sys.stdout)\n"
        f"matplotlib.rcParams.update({settings})\n"
        "def state():\n"
        "    values = {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}\n"
        "    return values, matplotlib.get_backend(auto_select=False)\n"
        "before = state()\n"
        "from hf_monitor.charts.fonts import dress, shown\n"
        "from hf_monitor.charts.style import finish, new_figure, tick_labels\n"
        "figure, (ax, log) = new_figure(8.0, 3.0, 2)\n"
        "ax.plot([-1e-6, 2e-6], [-1, 2], label=shown('가 $x$'))\n"
        "finish(ax, shown('제목 $'), shown('단계'), 'y', legend=True)\n"
        "log.set_xscale('log')\n"
        "log.plot([1e-5, 1], [0, 1])\n"
        "tick_labels(log.yaxis, [0, 1], [shown('하나'), shown('$\\\\foo$')])\n"
        "for axes in (ax, log):\n"
        "    dress(axes)\n"
        "figure.savefig(io.BytesIO())\n"
        "assert state() == before\n"
        "for name in ('matplotlib.pyplot', 'koreanize_matplotlib', 'torch', 'pandas'):\n"
        "    assert name not in sys.modules, name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
