"""Lengths against limits and positions: plain numbers."""

import pytest

from hf_monitor.preflight.data import read_part
from hf_monitor.preflight.lengths import check_generation, check_length, measure, spread_of

LENGTHS = spread_of(range(1, 101))  # 1 to 100, each once


def test_the_shares_are_those_of_the_lengths():
    assert (LENGTHS.at(0.5), LENGTHS.at(0.95), LENGTHS.at(0.99), LENGTHS.at(1.0)) == (50, 95, 99, 100)
    assert (LENGTHS.share_above(90), LENGTHS.share_above(100)) == (0.1, 0.0)
    assert spread_of([7]).at(0.95) == 7


@pytest.mark.parametrize(
    ("side", "limit", "positions", "state", "suggestion"),
    [
        ("inputs", 512, 256, "failed", "--max_source_length 104"),
        ("targets", 512, 64, "failed", "--max_target_length 64"),
        ("inputs", 90, None, "warning", "--max_source_length 104 would cut at most 1 %."),
        ("inputs", 96, None, "ok", ""),
        ("targets", 96, None, "warning", "--max_target_length 104 would cut at most 1 %."),
        (
            "inputs",
            64,
            64,
            "warning",
            "The model has 64 positions: shorten the texts, or take a model for longer ones.",
        ),
        ("inputs", None, 64, "warning", "--max_source_length 64"),
        ("inputs", None, None, "ok", "--max_source_length 104 would cut at most 1 %."),
    ],
)
def test_a_limit_is_judged_by_what_it_cuts_and_by_what_the_model_has(side, limit, positions, state, suggestion):
    found = check_length(side, LENGTHS, limit, positions)
    assert (found.state, found.suggestion) == (state, suggestion)
    assert found.evidence["p95"] == 95


def test_a_tokenized_set_shows_where_it_was_cut():
    assert check_length("inputs", spread_of([5, 9, 16, 16, 16], cut_before=True), None, None).state == "warning"
    assert check_length("inputs", spread_of([16] * 9, cut_before=True), None, None).sentence.startswith("all have 16")
    assert check_length("inputs", spread_of([5, 9, 2000], cut_before=True), None, 1024).state == "failed"


def test_summaries_that_are_longer_than_what_is_generated():
    found = check_generation(20, "transformers' default", LENGTHS, None)
    assert (found.state, found.suggestion) == ("warning", "--generation_max_length 104")
    assert found.evidence["share_longer"] == 0.8
    assert check_generation(96, "--generation_max_length", LENGTHS, None).state == "ok"
    assert check_generation(2000, "--generation_max_length", LENGTHS, 1024).state == "failed"
    assert check_generation(96, "--generation_max_length", None, None).state == "ok"


def test_tokens_are_counted_with_the_prefix_and_the_end(tokenizer):
    part = read_part("training data", [{"dialogue": "Hello.", "summary": "Hi."}])
    bare, prefixed = measure(tokenizer, part), measure(tokenizer, part, prefix="summarize: ")
    assert bare["inputs"].lengths == (len(tokenizer("Hello.")["input_ids"]),)
    assert prefixed["inputs"].lengths == (len(tokenizer("summarize: Hello.")["input_ids"]),)
    assert bare["targets"].lengths == prefixed["targets"].lengths == (len(tokenizer("Hi.")["input_ids"]),)
