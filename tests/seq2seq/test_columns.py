import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.columns import Columns, find_columns, split_names, take_pairs


@pytest.mark.parametrize(
    ("columns", "text", "summaries"),
    [
        (["fname", "dialogue", "summary", "topic"], "dialogue", ("summary",)),  # DialogSum, SAMSum
        (["fname", "dialogue", "summary1", "topic1", "summary2", "topic2", "summary3"], "dialogue",
         ("summary1", "summary2", "summary3")),
        (["summary10", "summary2", "summary1", "text"], "text", ("summary1", "summary2", "summary10")),
        (["article", "highlights", "id"], "article", ("highlights",)),  # CNN/DailyMail
        (["document", "summary", "id"], "document", ("summary",)),  # XSum
        (["text", "summary", "title"], "text", ("summary",)),  # BillSum: the title is no summary where there is one
        (["text", "target"], "text", ("target",)),
        (["Dialogue", "Summary"], "Dialogue", ("Summary",)),
        (["id", "대화", "요약"], "대화", ("요약",)),
        (["dialogue", "references"], "dialogue", ("references",)),
        (["text", "dialogue", "summary"], "dialogue", ("summary",)),
        (["dialogue", "summary", "summary1", "summary2"], "dialogue", ("summary",)),
        (["dialogue", "Summary_2", "summary 1"], "dialogue", ("summary 1", "Summary_2")),
    ],
)  # fmt: skip
def test_usual_names_are_found(columns, text, summaries):
    assert find_columns(columns, "a.csv") == Columns(text, summaries)


def test_what_is_named_wins():
    columns = ["dialogue", "summary", "b", "c", "a"]
    assert find_columns(columns, "a.csv", "a", "c, b") == Columns("a", ("c", "b"))
    assert find_columns(columns, "a.csv", None, ["b"]) == Columns("dialogue", ("b",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((None, None), r"no column of a.csv has a usual name for the text \(columns: id, words\).*--text_column"),
        (("words", None), r"no column of a.csv has a usual name for the summary .*--summary_column"),
        (("x", "words"), r"column 'x' is not in a.csv \(columns: id, words\). Name it with --text_column"),
        (("words", "id,x"), r"column 'x' is not in a.csv \(columns: id, words\). Name it with --summary_column"),
    ],
)
def test_missing_columns_name_those_that_are_there(options, words):
    with pytest.raises(InputError, match=words):
        find_columns(["id", "words"], "a.csv", *options)


def test_a_test_set_may_have_no_summary():
    assert find_columns(["id", "dialogue"], "a.csv", summary_needed=False) == Columns("dialogue", ())
    assert find_columns(["id", "dialogue"], "a.csv", None, "summary", summary_needed=False) == Columns("dialogue", ())
    with pytest.raises(InputError, match="'summary2'"):  # but half of them missing is a mistake
        find_columns(["summary1", "dialogue"], "a.csv", None, "summary1,summary2", summary_needed=False)


@given(st.lists(st.text(alphabet="ab cd", min_size=1).filter(str.strip), max_size=4))
def test_split_names(names):
    assert split_names(",".join(names)) == tuple(name.strip() for name in names)
    assert split_names(names) == tuple(name.strip() for name in names)
    assert split_names(None) == ()


def test_references_are_collected_and_empty_ones_left_out():
    rows = [
        {"t": "x", "a": "1", "b": ""},
        {"t": "y", "a": None, "b": ["2", " ", "3"]},
        {"t": "z", "b": 4},
        {"t": "v"},
        {"t": " ", "a": "5"},
    ]
    columns = Columns("t", ("a", "b"))
    kept = take_pairs(rows, columns, "a.json", drop_empty=False)
    assert kept.texts == ["x", "y", "z", "v", " "]
    assert kept.references == [["1"], ["2", "3"], ["4"], [""], ["5"]]
    dropped = take_pairs(rows, columns, "a.json", drop_empty=True)
    assert dropped.texts == ["x", "y", "z"]
    assert dropped.n_dropped == 2


def test_without_summaries_there_are_no_references():
    assert take_pairs([{"t": "x"}], Columns("t", ()), "a.json", drop_empty=False).references is None


def test_values_that_are_no_text_and_sets_without_pairs_are_refused():
    with pytest.raises(InputError, match=r"sample 2 of a.json has a dict in column 's'"):
        take_pairs([{"t": "x", "s": "y"}, {"t": "x", "s": {}}], Columns("t", ("s",)), "a.json", drop_empty=True)
    with pytest.raises(InputError, match=r"no sample of a.json has both"):
        take_pairs([{"t": "x", "s": ""}], Columns("t", ("s",)), "a.json", drop_empty=True)
