import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_monitor.loggers.levels import LevelGuess, level_number
from hf_monitor.loggers.lines import LineAssembler, clean_text

TERMINAL_PIECES = st.sampled_from(
    [
        *[
            "a",
            "bc",
            "한국어",
            "50%",
            " ",
            "    ",
            "\t",
            "\n",
            "\r",
            "\r\n",
            "\b",
            "\x00",
            "\x07",
            "\x1b",
            "\x85",
            "\u2028",
        ],
        *["\x1b[A", "\x1b[2A", "\x1b[K", "\x1b[2K", "\x1b[1K", "\x1b[J", "\x1b[2J", "\x1b[31m", "\x1b[0m", "\x1b[5D"],
        *[
            "\x1b[3C",
            "\x1b[7G",
            "\x1b[B",
            "\x1b[E",
            "\x1b[F",
            "\x1b]0;title\x07",
            "\x1b]0;title\x1b\\",
            "\x1b(B",
            "\x1b7",
        ],
    ]
)
TERMINAL_TEXT = st.lists(TERMINAL_PIECES | st.text(max_size=4), max_size=30).map("".join)


def assemble(*chunks, **options):
    assembler = LineAssembler(**options)
    lines = [line for chunk in chunks for line in assembler.feed(chunk)]
    return lines + assembler.finish()


@pytest.mark.no_cover
@given(TERMINAL_TEXT, st.data(), st.booleans())
def test_the_cutting_into_chunks_does_not_change_the_lines(text, data, nested):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert assemble(*chunks, drawn_again=lambda text: nested) == assemble(text, drawn_again=lambda text: nested)


def state(assembler):
    rows = [[getattr(row, name) for name in row.__slots__] for row in assembler._rows]
    return rows, {name: value for name, value in vars(assembler).items() if name not in ("_rows", "_drawn_again")}


@given(st.lists(st.one_of(TERMINAL_TEXT, st.text("ab ~", max_size=3).map(lambda text: f"{text}\n")), max_size=60))
def test_the_short_way_of_plain_lines_leads_where_the_long_one_does(chunks):
    short, long = LineAssembler(), LineAssembler()
    for chunk in chunks:
        expected = long.feed(chunk)
        lines = short.plain_line(chunk[:-1]) if chunk.endswith("\n") and chunk[:-1].isprintable() else None
        assert (short.feed(chunk) if lines is None else lines) == expected
        assert state(short) == state(long)


@given(TERMINAL_TEXT)
def test_a_line_holds_no_control_characters_and_is_never_blank(text):
    for line in assemble(text):
        assert line.splitlines() == [line]
        assert line.strip()
        assert line.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)


@pytest.mark.no_cover
@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20), max_size=60))
def test_plain_lines_come_through_unchanged_and_at_once(texts):
    assembler = LineAssembler()

    assert [assembler.feed(text + "\n") for text in texts] == [[text] for text in texts]
    assert assembler.finish() == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("half", ["half"]),
        ("10%\r20%\r30%\n", ["30%"]),
        ("\r10%\r100%\r     \r", []),
        ("12345\rab\n", ["ab345"]),
        ("12345\r\x1b[Kab\n", ["ab"]),
        ("abc\b\bX\n", ["aXc"]),
        ("\x1b[1;31mred\x1b[0m and \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", ["red and link"]),
        ("\x1b]0;never ended\nnext\n", ["next"]),
        ("a\tb\n", ["a       b"]),
        ("x\u2028y\x85z\n", ["x yz"]),
        ("\ud800\n", ["\\ud800"]),
        ("\n\n \n", []),
        ("first\nsecond\n\x1b[2Afirst, better\n", ["first", "second", "first, better"]),
    ],
)
def test_what_a_terminal_would_show(text, lines):
    assert assemble(text) == lines


def test_a_progress_display_gives_one_line_an_interval_and_its_end():
    assembler = LineAssembler(interval_seconds=5)
    lines = []
    for tenth in range(200):
        lines += [(tenth / 10, line) for line in assembler.feed(f"\r{tenth}/200", tenth / 10)]
    lines += [(20.0, line) for line in assembler.feed("\r200/200\n", 20.0)]

    assert lines == [(5.0, "50/200"), (10.0, "100/200"), (15.0, "150/200"), (20.0, "200/200")]
    assert assembler.finish() == []


def test_messages_in_between_do_not_hide_a_progress_display_for_ever():
    assembler = LineAssembler(interval_seconds=5)
    lines = []
    for second in range(12):
        lines += assembler.feed(f"\r{second}/12", second)
        lines += assembler.feed("\r     \r", second + 0.1)
        lines += assembler.feed(f"message {second}\n", second + 0.1)

    assert [line for line in lines if "message" not in line] == ["5/12", "10/12"]


def test_a_slow_progress_display_gives_a_line_at_each_step():
    assembler = LineAssembler(interval_seconds=5)

    assert [assembler.feed(f"\r{step}/3", step * 60) for step in range(4)] == [[], ["1/3"], ["2/3"], ["3/3"]]


def test_a_row_redrawn_from_above_is_not_repeated_at_each_drawing():
    assembler = LineAssembler(interval_seconds=5)
    lines = assembler.feed("a 0\nb 0\n")
    for number in range(1, 50):
        lines += assembler.feed(f"\x1b[2A\x1b[2Ka {number}\n\x1b[2Kb {number}\n", number / 10)
    lines += assembler.feed("plain text\n", 5.0)

    assert lines == ["a 0", "b 0", "a 49", "b 49", "plain text"]


def test_a_message_above_rows_that_rich_redraws_gives_no_line_of_theirs():
    assembler = LineAssembler(interval_seconds=5)
    wiped = "\r\x1b[2K\x1b[1A\x1b[2K"  # rich's way up; the last row has no newline
    lines = [assembler.feed("a 0\nb 0", 0)]
    for number in range(1, 80):
        message = f"message {number}\n" if number in (10, 11, 70) else ""
        lines.append(assembler.feed(f"{wiped}{message}a {number}\nb {number}", number / 10))
    lines.append(assembler.feed("\ndone\n", 8.0))

    shown = [line for new in lines for line in new]
    assert [line for line in shown if line[0] == "m"] == ["message 10", "message 11", "message 70"]
    bars = [line for line in shown if line[0] in "ab"]
    assert len(bars) == 5, bars  # the first frame's, which nothing had drawn over yet, one an interval, the last
    assert shown[-3:] == ["a 79", "b 79", "done"]


def test_an_endless_line_is_cut():
    assembler = LineAssembler()
    lines = [line for _ in range(30) for line in assembler.feed("\r" + "x" * 10 + "y" * 100_000)]

    assert lines == []  # drawn over itself: it does not grow
    for _ in range(30):
        lines += assembler.feed("z" * 100_000)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a", ["a"]),
        ("a\n\nb", ["a", "", "b"]),
        ("1%\r2%\r", ["2%"]),
        ("\x1b[31mred\x1b[0m\r\nb", ["red", "b"]),
        ("", [""]),
    ],
)
def test_messages_are_cleaned(text, lines):
    assert clean_text(text) == lines


def test_levels_of_console_output():
    lines = [
        ("text", 20),
        ("Traceback (most recent call last):", 40),
        ('  File "x.py", line 1, in <module>', 40),
        ("    ERROR = 1 / 0", 40),
        ("ZeroDivisionError: division by zero", 40),
        ("During handling of the above exception, another exception occurred:", 40),
        ("  + Exception Group Traceback (most recent call last):", 40),
        ("  |   File", 40),
        ("  +------------------------------------", 40),
        ("KeyError", 40),
        ("ERROR: disk", 40),
        ("[WARNING|trainer.py:12] x", 30),
        ("/a/b.py:12: UserWarning: careful", 30),
        ("DeprecationWarning: old", 30),
        ("DEBUG stays visible", 20),
        ("Errors were 3", 20),
        ("WARNINGS", 20),
    ]
    guess = LevelGuess()

    assert [(line, guess(line)) for line, _ in lines] == lines


def test_unknown_levels_are_refused():
    assert [level_number(level) for level in ("warn", "Error", 25, 0, 99)] == [30, 40, 20, 10, 50]
    with pytest.raises(ValueError, match="no log level 'LOUD'; use one of DEBUG, INFO"):
        level_number("LOUD")
