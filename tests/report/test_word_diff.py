import random
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.report import text_units, word_diff
from hf_monitor.report.text_cut import bytes_of, fair_limit, shorten, shown
from hf_monitor.report.text_units import graphemes, words
from hf_monitor.report.word_diff import Piece, diff_texts

FAMILY = "👨\u200d👩\u200d👧"
HAN_NFD = "\u1112\u1161\u11ab"


def marked(pieces):
    """Write pieces as a text with what differs in brackets."""
    return "".join(f"[{text}]" if kind == "differs" else text for text, kind, _ in pieces)


@pytest.mark.parametrize(
    ("left", "right", "as_left", "as_right"),
    [
        ("a red hat", "a grey hat", "a [red] hat", "a [grey] hat"),
        ("he didn't go", "he did go", "he [didn't] go", "he [did] go"),
        ("at 2:30 p.m.", "at 2:45 p.m.", "at [2:30] p.m.", "at [2:45] p.m."),
        ("one two three", "one three", "one [two] three", "one three"),
        # a speaker is one word, its particle another
        ("#Person1#은 간다", "#Person2#는 간다", "[#Person1#은] 간다", "[#Person2#는] 간다"),
        # the stem is another one, its particle is the same; and the other way round
        ("모자를 산다", "시계를 산다", "[모자]를 산다", "[시계]를 산다"),
        ("목요일에 쉰다", "목요일부터 쉰다", "목요일[에] 쉰다", "목요일[부터] 쉰다"),
        ("나는 간다", "나도 간다", "나[는] 간다", "나[도] 간다"),
        # not alike: days of the week have an ending in common that is no particle
        ("수요일 회의", "화요일 회의", "[수요일] 회의", "[화요일] 회의"),
        ("오후 5시에", "오후 2시에", "오후 [5]시에", "오후 [2]시에"),
        ("明日行く", "今日行く", "[明]日行く", "[今]日行く"),
        (f"{FAMILY} ok", "👨 ok", f"[{FAMILY}] ok", "[👨] ok"),
        ("cafe\u0301", "caf\u00e9", "cafe\u0301", "caf\u00e9"),  # written in two ways
        (f"회의를 {HAN_NFD}다", "회의를 한다", f"회의를 {HAN_NFD}다", "회의를 한다"),
        ("a  b\n", "a b", "a  b\n", "a b"),  # blanks are kept and not compared
        ("", "a", "", "[a]"),
    ],
)
def test_words_that_differ_are_marked_on_both_sides(left, right, as_left, as_right):
    diff = diff_texts(left, right)
    assert (marked(diff.left), marked(diff.right)) == (as_left, as_right)


ALPHABET = [
    "a",
    "b",
    " ",
    "\n",
    "가",
    "나",
    "는",
    "을",
    ".",
    "'",
    "1",
    "#P1#",
    FAMILY,
    "\u0301",
    HAN_NFD,
    "\u202e",
    "日",
]
TEXTS = st.lists(st.sampled_from(ALPHABET), max_size=25).map("".join)


@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS)
def test_pieces_are_the_text_and_what_is_not_marked_is_the_same_on_both_sides(left, right):
    diff = diff_texts(left, right)
    same = []
    for pieces, text in ((diff.left, left), (diff.right, right)):
        assert "".join(piece.text for piece in pieces) == text
        assert all(piece.text for piece in pieces)
        plain = "".join("" if piece.kind == "differs" else piece.text for piece in pieces)
        same.append("".join(unicodedata.normalize("NFC", plain).split()))
    assert same[0] == same[1]


@settings(max_examples=50, deadline=None)
@given(TEXTS)
def test_a_text_has_nothing_that_differs_from_itself(text):
    assert not [piece for piece in diff_texts(text, text).left if piece.kind == "differs"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
def test_the_common_words_are_as_many_as_can_be(one, other):
    best = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            best[i + 1][j + 1] = best[i][j] + 1 if a == b else max(best[i][j + 1], best[i + 1][j])
    pairs = word_diff._common(one, other)
    assert len(pairs) == best[-1][-1]
    assert all(one[i] == other[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)


def test_work_is_bounded_where_a_model_repeats_itself():
    """2,000 words, each of which could be matched with any: a table of two million entries if each were looked at."""
    chance = random.Random(0)
    one, other = (" ".join(chance.choices(["the", "cat"], k=3000)) for _ in range(2))
    diff = diff_texts(one, other)
    assert diff.shared > 0.75
    assert diff.left[-1].kind == diff.right[-1].kind == "gap"
    compared = "".join(piece.text for piece in diff.left)
    assert len(compared.split()) == word_diff.MAX_WORDS
    assert diff.left[-1].left_out == len(one) - len(compared)


def test_a_text_of_one_huge_word_is_compared_in_part():
    diff = diff_texts("a" * 50_000, "b")
    assert [(len(text), kind, out) for text, kind, out in diff.left] == [(10_000, "differs", 0), (0, "gap", 40_000)]


def test_characters_stay_whole():
    assert graphemes(f"{FAMILY}🇰🇷🇯🇵👍🏽e\u0301{HAN_NFD}\r\n") == [
        *(FAMILY, "🇰🇷", "🇯🇵", "👍🏽", "e\u0301", HAN_NFD, "\r\n")
    ]
    assert words("नमस्ते दुनिया <unk></s>") == ["नमस्ते", " ", "दुनिया", " ", "<unk>", "</s>"]
    assert text_units.is_hangul("가") is not text_units.is_hangul("a")


@pytest.mark.no_cover
@settings(max_examples=50, deadline=None)
@given(TEXTS, TEXTS, st.integers(0, 120))
def test_a_short_version_fits_and_counts_what_it_leaves_out(left, right, limit):
    pieces = diff_texts(left * 5, right * 5).left
    short = shorten(pieces, limit)
    assert bytes_of(short) <= max(limit, bytes_of([Piece("", "gap")]))
    assert sum(len(text) + out for text, _, out in short) == len(left * 5)
    parts = [part for piece in pieces for part in graphemes(piece.text)]
    assert all(part in parts for piece in short for part in graphemes(piece.text))


def test_a_long_text_is_shown_around_what_differs():
    text = " ".join(f"w{i}" for i in range(1500))
    short = shorten(diff_texts(text, text.replace("w700 ", "other ")).left, 400)
    assert [kind for _, kind, _ in short] == ["gap", "same", "differs", "same", "gap"]
    assert short[2].text == "w700"
    assert bytes_of(short) < 400


def test_short_texts_leave_their_room_to_long_ones():
    assert fair_limit([10, 100, 100], 110) == 50
    assert fair_limit([10, 20], 100) == 20
    assert fair_limit([], 100) == 0


def test_what_html_forbids_becomes_a_sign():
    assert shown("a\x00\x1b\r\nb\ud83d\t\x85") == "a␀␛\nb\ufffd\t\x85"
