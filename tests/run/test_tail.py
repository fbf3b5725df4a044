"""Tail: what is read piece by piece is what the whole file says, and another file is read anew."""

from __future__ import annotations

import os

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.run.rows import iter_lines
from hf_monitor.run.tail import Tail

ROWS = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from(["step", "loss", "이름"]), st.integers(-9, 9) | st.text(max_size=20)).map(
            orjson.dumps
        ),
        st.sampled_from([b"", b"  ", b'{"torn": 1', b"[1]", b"\xff\xfe", b'{"loss":{"$float":"nan"}}']),
    ),
    max_size=12,
)


def everything(tail, most=1 << 20):
    rows = tail.rows(most=most)
    while tail.behind:
        rows += tail.rows(most=most)
    return rows


@settings(max_examples=30, deadline=None)
@given(lines=ROWS, cuts=st.lists(st.integers(0, 400), max_size=6), most=st.integers(1, 64))
def test_any_pieces_give_the_rows_of_the_whole(lines, cuts, most, tmp_path_factory):
    path = tmp_path_factory.mktemp("tail") / "metrics.jsonl"
    data = b"".join(line + b"\n" for line in lines)
    tail, found, before = Tail(path), [], 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[before:cut])
        before = cut
        found += everything(tail, most)
    whole = list(iter_lines(data))
    assert repr(found) == repr([row for _, row in whole if row is not None])  # repr: NaN is not itself
    assert tail.broken_lines == sum(row is None for _, row in whole)
    assert (tail.offset, tail.restarts) == (len(data), 0)


def test_a_torn_line_waits_for_its_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.rows() == []  # there is no file yet
    path.write_bytes(b'{"step":1}\n{"ste')
    assert (tail.rows(), tail.behind) == ([{"step": 1}], 0)
    with path.open("ab") as file:
        file.write(b'p":2}\n')
    assert (tail.rows(), tail.broken_lines) == ([{"step": 2}], 0)


@pytest.mark.parametrize("how", ["cut short", "replaced", "written anew in place", "deleted for a while"])
def test_another_file_is_read_from_its_beginning(tmp_path, how):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":1}\n{"step":2}\n')
    tail = Tail(path)
    assert len(tail.rows()) == 2
    other = b'{"step":7}\n' if how == "cut short" else b'{"step":7}\n{"step":8}\n{"step":9}\n'
    if how == "replaced":
        (tmp_path / "new").write_bytes(other)
        (tmp_path / "new").replace(path)
    elif how == "deleted for a while":
        path.unlink()
        assert tail.rows() == []
        path.write_bytes(other)
    else:
        path.write_bytes(other)
    assert tail.rows() == [{"step": int(line[8:9])} for line in other.splitlines()]
    assert tail.restarts == 1


def test_a_file_that_has_not_grown_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step":1}\n{"torn')
    tail = Tail(path)
    tail.rows()
    monkeypatch.setattr(type(path), "open", lambda *_: pytest.fail("opened"))
    assert tail.rows() == []


def test_skipping_begins_with_a_whole_line_and_still_sees_another_file(tmp_path):
    path = tmp_path / "system.jsonl"
    path.write_bytes(b"".join(b'{"step":%d}\n' % n for n in range(100)))
    tail = Tail(path)
    tail.skip(25)
    assert tail.rows() == [{"step": 98}, {"step": 99}]
    os.truncate(path, 11)
    assert tail.rows() == [{"step": 0}]
