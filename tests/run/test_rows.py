import enum
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_monitor.run.rows import decode_line, encode_row, iter_lines

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$float", "$$int", "$x"]), inner),
    max_leaves=8,
)


def refuse(constant):
    raise AssertionError(f"not strict JSON: {constant}")


def same(left, right):
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@pytest.mark.no_cover
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), VALUES, max_size=5))
def test_any_row_comes_back_and_strict_parsers_read_the_line(row):
    line = encode_row(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    json.loads(line, parse_constant=refuse)
    orjson.loads(line)
    assert same(decode_line(line), row)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wrap", [float, np.float64, np.float32, lambda v: np.array(v)])
def test_non_finite_numbers_survive_from_every_library(value, wrap):
    back = decode_line(encode_row({"loss": wrap(value)}))["loss"]
    assert type(back) is float
    assert same(back, value)


@pytest.mark.no_cover
def test_torch_values_become_numbers():
    import torch

    row = {"a": torch.tensor(1.5), "b": torch.tensor([1, 2]), "c": torch.tensor(float("nan"), dtype=torch.bfloat16)}
    back = decode_line(encode_row(row))
    assert back["a"] == 1.5
    assert back["b"] == [1, 2]
    assert math.isnan(back["c"])


def test_a_users_object_that_looks_like_a_marker_is_not_taken_for_one():
    row = {"note": {"$float": "nan"}, "deeper": {"$$int": "1"}}
    assert decode_line(encode_row(row)) == row


def test_objects_are_written_as_what_they_hold():
    class Colour(enum.Enum):
        RED = "red"

    @dataclass
    class Point:
        x: float

    row = {"path": Path("a/b"), "enum": Colour.RED, "data": Point(math.inf), "set": {2, 1}, 7: "key", "b": b"x"}
    back = decode_line(encode_row(row))
    assert back == {"path": "a/b", "enum": "red", "data": {"x": math.inf}, "set": [1, 2], "7": "key", "b": "x"}


def test_a_lone_surrogate_and_an_object_that_holds_itself_are_no_error():
    loop: list = []
    loop.append(loop)
    json.loads(encode_row({"text": "a\ud800b", "loop": loop}), parse_constant=refuse)


@pytest.mark.parametrize("line", [b'{"step": 1, "lo', b"[1]", b"nonsense", b"{}x", b"\xff\xfe"])
def test_a_broken_line_is_refused(line):
    with pytest.raises(ValueError):  # noqa: PT011 - orjson's own error or ours, both are ValueError
        decode_line(line)


def test_broken_lines_are_given_as_none_and_blank_ones_left_out():
    data = b'{"step":1}\n\n{"st\n{"step":2}\n'
    assert list(iter_lines(data)) == [(1, {"step": 1}), (3, None), (4, {"step": 2})]
