"""Evaluation samples that stand in the training set: every count is known by hand."""

import random

import numpy as np
import pytest

from hf_monitor.errors import InputError
from hf_monitor.seq2seq import sample_prints
from hf_monitor.seq2seq.overlap import text_overlap, text_overlaps


def text(number):
    return f"#Person1#: dialogue number {number} about a meeting"


def samples(numbers, summary="Summary {}"):
    return [{"dialogue": text(n), "summary": summary.format(n)} for n in numbers]


def tokens(numbers, labels=True, width=None):
    rows = []
    for n in numbers:
        ids = [n + 3, 5, 6, 7, 8, 9, 10, n + 4, 1]
        row = {"input_ids": ids}
        if width:
            row = {"input_ids": ids + [0] * (width - 9), "attention_mask": [1] * 9 + [0] * (width - 9)}
        rows.append(row | ({"labels": [n + 30, 4, 1] + [-100] * (width or 0)} if labels else {}))
    return rows


def counts(overlap):
    return overlap.n_shared_inputs, overlap.n_shared_pairs


def as_dataset(rows):
    import datasets

    return datasets.Dataset.from_list(rows)


@pytest.mark.parametrize("made", [list, as_dataset])
def test_shared_inputs_pairs_and_their_rows(made):
    train, evaluation = made(samples(range(20))), made([*samples(range(17, 23)), *samples([3], "Another {}")])
    found = text_overlap(train, evaluation)
    assert counts(found) == (4, 3)
    assert found.examples == ((17, 0), (18, 1), (19, 2))  # pairs before inputs
    assert (found.n_evaluation, found.n_train, found.n_duplicates_train, found.basis) == (7, 20, 0, "texts")
    assert not found.sampled
    assert counts(text_overlap(train, made(samples(range(20, 30))))) == (0, 0)


def test_texts_are_equal_beyond_case_blanks_and_composition():
    train = [("  A Café  on the\ncorner of the street", "One")]
    assert counts(text_overlap(train, [("a cafe\u0301 on the corner of the street", "ONE ")])) == (1, 1)
    korean = [("철수는 오늘 학교에 가서 영희를 만났다 그리고 집에 왔다", "만남")]
    import unicodedata

    assert counts(text_overlap(korean, [tuple(unicodedata.normalize("NFD", part) for part in korean[0])])) == (1, 1)


@pytest.mark.parametrize("made", [list, as_dataset])
def test_ids_are_compared_without_their_padding(made):
    train, evaluation = made(tokens(range(10))), made(tokens([2, 3, 50], width=16))
    found = text_overlap(train, evaluation)
    assert (counts(found), found.basis) == ((2, 2), "ids")
    assert found.examples == ((2, 0), (3, 1))
    no_mask = [{"input_ids": row["input_ids"], "labels": [*row["labels"][:3], 0]} for row in tokens([2], width=16)]
    assert counts(text_overlap(train, no_mask)) == (0, 0)
    assert counts(text_overlap(train, no_mask, pad_id=0)) == (1, 1)


def test_several_references_are_targets_each():
    train = samples(range(6))
    evaluation = [
        {"dialogue": text(2), "summary1": "no", "summary2": "summary 2"},
        {"dialogue": text(3), "summary1": "x"},
    ]
    evaluation[1]["summary2"] = None
    assert counts(text_overlap(train, evaluation)) == (2, 1)
    assert counts(text_overlap(train, [{"dialogue": text(2), "references": ["no", "Summary 2"]}])) == (1, 1)


def test_what_says_nothing_is_no_overlap():
    hello = {"dialogue": "Hello!", "summary": "A greeting"}
    empty = {"dialogue": "", "summary": ""}
    found = text_overlap([*samples(range(5)), hello, empty], [{**hello, "summary": "Hi"}, empty, *samples([9])])
    assert (counts(found), found.n_left_out, found.n_judged) == ((0, 0), 1, 2)
    prompt = [{"dialogue": "Write the next line of this story, please:", "summary": f"line {n}"} for n in range(40)]
    found = text_overlap(prompt[:30], prompt[30:])
    assert (counts(found), found.n_left_out) == ((0, 0), 10)
    assert counts(text_overlap(prompt[:3], prompt[3:5])) == (2, 0)  # some references of one text


def test_short_inputs_count_where_their_targets_are_equal_too():
    short = [{"dialogue": f"Is it {n}?", "summary": f"{n}"} for n in range(30)]
    found = text_overlap(short[:20], [*short[15:], {**short[0], "summary": "no"}])
    assert (counts(found), found.n_left_out) == ((5, 5), 0)
    inputs = [{"dialogue": row["dialogue"]} for row in short]
    found = text_overlap(short[:20], inputs)  # without a target they cannot be told from chance
    assert (counts(found), found.n_left_out, found.n_judged) == ((0, None), 30, 0)
    ids = [{"input_ids": [n, 2, 3, 1], "labels": [n, 5, 1]} for n in range(20)]
    assert counts(text_overlap(ids[:15], ids[10:])) == (5, 5)
    nothing = [{"input_ids": [0, 1], "labels": [0, 1]}]  # begin and end
    assert counts(text_overlap(nothing, nothing)) == (0, 0)


def test_a_korean_sentence_of_ten_syllables_is_not_short():
    question = "오늘 회의는 몇 시에 시작하나요"
    assert counts(text_overlap([(question, "회의")], [(question, "시작")])) == (1, 0)
    assert counts(text_overlap([("네 알겠어요", "회의")], [("네 알겠어요", "시작")])) == (0, 0)


def test_repeated_training_samples_are_counted():
    assert text_overlap(samples([1, 2, 1, 1]), samples([5])).n_duplicates_train == 2
    assert text_overlap(samples([1]) + samples([1], "Other {}"), samples([5])).n_duplicates_train == 0


def test_empty_rows_are_no_overlap():
    nothing = [{"input_ids": [], "labels": []}] * 3
    assert counts(text_overlap(nothing, nothing)) == counts(text_overlap(as_dataset(tokens([1])), nothing)) == (0, 0)


def test_without_targets_there_are_no_pairs():
    assert counts(text_overlap(tokens(range(5)), tokens([1, 2], labels=False))) == (2, None)


def test_what_cannot_be_read_without_a_trace_is_unknown_and_not_read():
    import datasets
    import torch

    class Own(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError("read")

    def stream():
        raise AssertionError("read")
        yield

    rows = samples(range(4))
    for unknown in (Own(), stream(), datasets.IterableDataset.from_generator(stream), [], None, ["a", "b"], [1, 2]):
        assert text_overlap(rows, unknown) is None
        assert text_overlap(unknown, rows) is None
    assert text_overlap(rows, tokens(range(3))) is None  # texts here, ids there
    assert text_overlap(rows, [{"dialogue": {"a": 1}, "summary": "x"}] * 2) is None
    assert text_overlap([{"input_ids": "no ids"}], [{"input_ids": [1, 2]}]) is None
    with pytest.raises(InputError, match="speech"):
        text_overlap(rows, rows, text_column="speech")


def test_no_transform_is_run_and_no_random_number_drawn():
    import torch

    def transform(batch):
        raise AssertionError("run")

    train = as_dataset(tokens(range(6)))
    train.set_transform(transform)
    parts = torch.utils.data.Subset(as_dataset(tokens(range(20))), [4, 5, 6])
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert counts(text_overlap(train, parts)) == (2, 2)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_of_a_large_set_a_part_is_read_and_said(monkeypatch):
    train = as_dataset(tokens(range(400)))
    monkeypatch.setattr(sample_prints, "_ARROW_BYTES", 100 * 64)
    found = text_overlap(train, train.select(range(400)))
    assert found.sampled
    assert 0 < found.n_train_read < 200
    assert (found.n_train, found.n_evaluation) == (400, 400)
    assert counts(found) == (found.n_train_read,) * 2  # the same blocks of both
    assert all(own == theirs for own, theirs in found.examples)
    monkeypatch.setattr(sample_prints, "_LIST_IDS", 500)
    assert text_overlap(tokens(range(300)), tokens([1])).sampled


def test_several_sets_are_compared_with_one_reading():
    found = text_overlaps(samples(range(5)), {"a": samples([1]), "b": samples([7]), "c": iter([])})
    assert {name: overlap and counts(overlap) for name, overlap in found.items()} == {
        "a": (1, 1),
        "b": (0, 0),
        "c": None,
    }


def test_events_have_the_names_of_the_metrics():
    from hf_monitor.callbacks._overlap import overlap_events
    from hf_monitor.run.rows import encode_row

    train = as_dataset(samples(range(5)))
    events = overlap_events(train, {"ko": as_dataset(samples([1])), "en": as_dataset(samples([8]))})
    assert [(event["event"], event["name"], event["n_shared_pairs"]) for event in events] == [
        ("data_overlap", "eval_ko", 1),
        ("data_overlap", "eval_en", 0),
    ]
    assert encode_row(events[0])  # plain values
    assert overlap_events(train, train)[0]["name"] == "eval"
    assert overlap_events(train, None) == overlap_events(None, train) == overlap_events(train, iter([])) == []
