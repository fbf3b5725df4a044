"""What the texts of an evaluation are like as a whole, and which of them the model did not end itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from hf_monitor.metrics import TextMetrics
from hf_monitor.metrics.decoding import Ending, TokenDecoder
from hf_monitor.metrics.text_statistics import fit_of, text_statistics

LOOP = "no no no no no no no no"


def test_shares_of_texts_and_of_their_references():
    found = text_statistics(
        ["", "  ", LOOP, "the same  text", "the same text", "another one"],
        [["a b"], ["c d"], [""], ["e"], ["e"], []],
        ended=[True, True, False, True, True, True],
    )
    assert (found["n"], found["n_inputs"], found["n_examined"]) == (6, 6, 6)
    assert (found["empty"], found["repeated"], found["same"]) == (2 / 6, 1 / 6, 2 / 6)
    assert found["at_limit"] == 1 / 6
    assert (found["n_distinct"], found["words"]) == (4, (8 + 3 + 3 + 2) / 6)
    assert found["references"] == {
        "empty": 2 / 6,
        "repeated": 0,
        "same": 2 / 6,
        "shared": 0,
        "at_limit": None,
        "words": 1.0,
    }
    assert found["examples"] == {"same": "the same text", "repeated": LOOP}


def test_the_same_input_counts_once():
    found = text_statistics(["x", "x", "x", "y"], [["r"]] * 4, inputs=["a", "a", "a", None])
    assert (found["n"], found["n_inputs"], found["same"]) == (4, 2, 0.5)
    assert found["shared"] == 0
    assert "same" not in found["examples"]  # no text stands for two inputs


def test_fit_tells_whether_texts_follow_their_inputs():
    references = [
        f"{who} goes to the {where}" for who in ("Ann", "Bob", "Cho", "Dan") for where in ("zoo", "sea", "inn")
    ]
    perfect = fit_of(references, references)
    assert perfect.own == 1.0 > perfect.others
    assert perfect.z > 5
    phrases = [f"Somebody goes to the {text.split()[-1]}" for text in references]  # three texts for twelve inputs
    assert fit_of(phrases, references).z > 1.64
    same = fit_of(["Ann goes to the zoo"] * 12, references)
    assert same.own == pytest.approx(same.others, rel=0.1)
    assert abs(same.z) < 1
    assert fit_of([""] * 12, references) == (0.0, 0.0, 0.0)
    assert fit_of(["a", "b"], ["a", "b"]) is None


def test_shared_texts_stand_for_three_inputs_or_more():
    found = text_statistics(["x", "x", "x", "y", "y", "y", "y", "z", "z", ""], [["r"]] * 10)
    assert (found["shared"], found["same"], found["n_distinct"]) == (0.7, 0.4, 4)


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        (". " * 60, 1.0),
        ("a" * 60, 1.0),
        ("ㅋㅋㅋㅋㅋ", 0.0),
        ("감사합니다" * 9, 1.0),
        ("They meet at the station.", 0.0),
    ],
)
def test_repeated_is_also_what_has_no_words(text, repeated):
    assert text_statistics([text], [["r"]])["repeated"] == repeated


def test_of_many_texts_some_are_searched_for_repetition_and_all_are_counted():
    found = text_statistics([LOOP, "They meet today."] * 2000, [["r"]] * 4000)
    assert (found["n"], found["n_examined"]) == (4000, 200)
    assert found["same"] == 0.5


def test_a_text_without_end_token_was_cut(tokenizer):
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    decoder = TokenDecoder(tokenizer)
    ids = np.array([[pad, 9, 10, end, pad], [pad, 9, 10, 11, 12], [end, 9, 10, 11, -100], [pad, 7, 8, 9, end]])
    assert decoder.decode(ids, "predictions").ended == [True, False, False, True]
    assert decoder.decode(np.array([[end, -100], [9, 10]]), "labels").ended == [True, False]
    assert decoder.decode(ids, "predictions", Ending(end_ids=(12,))).ended == [True, True, False, True]


def test_an_end_token_that_was_forced_is_no_end(tokenizer):
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    decoder = TokenDecoder(tokenizer)
    for start in (pad, end):
        ids = np.array([[start, 9, 10, 11, end], [start, 9, 10, end, pad]])
        assert decoder.decode(ids, "predictions", Ending(forced_at=5)).ended == [False, True]
        assert decoder.decode(ids, "labels", Ending(forced_at=5)).ended == [True, True]


def test_text_metrics_counts_over_all_batches_without_the_duplicates(tokenizer):
    end = tokenizer.eos_token_id
    metrics = TextMetrics(tokenizer)
    metrics.begin_evaluation(n_samples=3)
    word = tokenizer.encode("meet")
    whole, cut = [0, *word, end], [0, *word, *word[:1]]
    labels = np.array([[*word, end]] * 2)
    metrics(SimpleNamespace(predictions=np.array([whole, cut]), label_ids=labels), compute_result=False)
    metrics(SimpleNamespace(predictions=np.array([cut, cut]), label_ids=labels), compute_result=True)
    assert (metrics.last.texts["n"], metrics.last.texts["at_limit"]) == (3, 2 / 3)
    assert metrics.last.texts["references"]["at_limit"] == 0.0


def test_without_an_end_token_it_is_unknown():
    class Bare:
        pad_token_id, eos_token_id, all_special_ids = 0, None, ()

        def batch_decode(self, rows, skip_special_tokens):
            return ["x" for _ in rows]

    found = TokenDecoder(Bare()).decode(np.array([[1, 2]]), "predictions")
    assert found.ended == [None]
    assert text_statistics(found.texts, [["r"]], ended=found.ended)["at_limit"] is None
