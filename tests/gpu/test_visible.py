"""CUDA_VISIBLE_DEVICES as CUDA reads it, also where it is not what its writer meant."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.gpu.visible import Visible, read_visible

CARDS = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1b5e6a33-0000-4106-c12f-20bd9faed9f6")
MIG = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-5c6b1d1e-7d60-53ee-a9d4-30a26dbf9f6b")


def test_an_unset_variable_hides_nothing():
    assert read_visible(None, CARDS) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Visible(("0",))),
        ("1,0", Visible(("1", "0"))),
        (" 0, 1", Visible(("0", "1"))),
        ("1gpu2,0ampere", Visible(("1", "0"))),  # strtoul
        ("+1", Visible(("1",))),
        ("", Visible((), "", "empty")),
        ("  ", Visible((), "  ", "empty")),
        ("-1", Visible((), "-1", "minus_one")),
        ("0,-1,1", Visible(("0",), "-1", "minus_one")),
        ("7", Visible((), "7", "out_of_range")),
        ("0,7", Visible(("0",), "7", "out_of_range")),
        ("0,7,1", Visible(("0",), "7", "out_of_range")),  # what comes after it is lost too
        ("0,0", Visible((), "0", "doubled")),
        ("1,0,01", Visible((), "01", "doubled")),
        ("all", Visible((), "all", "not_a_number")),
        ("cuda:0", Visible((), "cuda:0", "not_a_number")),
        ("0,", Visible(("0",), "", "not_a_number")),
        (CARDS[1], Visible((CARDS[1],))),
        ("GPU-1b5e", Visible((CARDS[1],))),
        ("GPU-1b5e,GPU-8932", Visible((CARDS[1], CARDS[0]))),
        ("GPU-1b5e,GPU-1b5e6", Visible((), "GPU-1b5e6", "doubled")),
        ("GPU-", Visible((), "GPU-", "unknown_uuid")),  # fits both
        ("GPU-dead", Visible((), "GPU-dead", "unknown_uuid")),
        ("GPU-8932,0", Visible((CARDS[0],), "0", "not_a_number")),  # after a UUID a number means nothing
        ("0,GPU-1b5e", Visible(("0",), "GPU-1b5e", "unknown_uuid")),
    ],
)
def test_a_value_is_read_as_cuda_reads_it(text, expected):
    assert read_visible(text, CARDS) == expected


def test_mig_instances_are_named_by_their_own_uuid():
    assert read_visible("MIG-5c6b", MIG) == Visible((MIG[1],))
    assert read_visible("MIG-5c6b,GPU-8932", MIG) == Visible((MIG[1],), "GPU-8932", "unknown_uuid")
    assert read_visible("1", MIG) == Visible((), "1", "out_of_range")  # numbers count cards


def test_without_knowledge_of_the_machine_only_the_form_is_judged():
    assert read_visible("7,GPU-x") == Visible(("7",), "GPU-x", "unknown_uuid")
    assert read_visible("GPU-what") == Visible(("GPU-what",))


# Where torch itself reads a value, ours must agree: it is its reading that decides what a training sees.
@settings(deadline=None)  # torch is imported in the first of them
@given(text=st.text(alphabet="0123-+, GPU-abMIG", max_size=9))
def test_the_reading_agrees_with_torchs(text):
    import torch

    old = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = text
    try:
        try:
            theirs = torch.cuda._parse_visible_devices()
        except ValueError:  # a lone sign: torch's own reading fails, CUDA's does not
            return
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if old is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = old
    ours = read_visible(text)
    assert [str(one) for one in theirs] == list(ours.entries)
