"""Who is held out when, and what is written of a fold."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.folds import Fold, fold_row, fold_table, foreign_folds, split_folds, write_folds


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(2, 8), st.integers(0, 3))
def test_each_sample_is_held_out_once_and_no_text_is_on_both_sides(kinds, n_folds, seed):
    texts = [f"text {kind}" for kind in kinds]
    if len(set(texts)) < n_folds:
        with pytest.raises(InputError, match=f"--num_folds {n_folds} needs at least as many different texts"):
            split_folds(texts, n_folds, seed)
        return
    folds = split_folds(texts, n_folds, seed)
    assert [fold.number for fold in folds] == list(range(1, n_folds + 1))
    assert sorted(index for fold in folds for index in fold.held_out) == list(range(len(texts)))
    for fold in folds:
        assert fold.held_out
        assert fold.train == sorted(set(range(len(texts))) - set(fold.held_out))
        assert not {texts[index] for index in fold.train} & {texts[index] for index in fold.held_out}
    largest = max(texts.count(text) for text in texts)
    sizes = [len(fold.held_out) for fold in folds]
    assert max(sizes) - min(sizes) <= largest
    assert split_folds(texts, n_folds, seed) == folds


def test_texts_that_differ_in_blanks_or_unicode_form_alone_stay_together():
    composed, decomposed = "\uac00 b", "\u1100\u1161  b\n"
    held_out = [fold.held_out for fold in split_folds([composed, "other", decomposed, "third"], 3, 0)]
    assert [0, 2] in held_out


def test_another_seed_holds_out_others():
    texts = [str(index) for index in range(20)]
    assert split_folds(texts, 2, 1)[0].held_out != split_folds(texts, 2, 2)[0].held_out


def test_one_fold_leaves_nothing_to_train_on():
    with pytest.raises(InputError, match="--num_folds must be at least 2, got 1"):
        split_folds(["a", "b"], 1, 0)


VALUES = {"eval_rouge1": 30.0, "eval_rouge2": 12.0, "eval_rougeL": 24.0, "eval_bleu": 5.5, "eval_loss": 2.25}


def test_the_row_of_a_fold():
    assert fold_row(Fold(2, [0, 1, 4], [2, 3]), 3, VALUES, 0.75, 2) == {
        "fold": 2,
        "n_folds": 3,
        "f1": 0.22,
        "accuracy": 0.75,
        "rouge1": 30.0,
        "rouge2": 12.0,
        "rougeL": 24.0,
        "bleu": 5.5,
        "eval_loss": 2.25,
        "n_samples": 2,
        "n_train_samples": 3,
    }


def test_what_is_not_known_is_none_and_never_0(tmp_path):
    values = {"eval_rouge1": 30.0, "eval_rougeL": 24.0, "eval_loss": float("nan")}
    row = fold_row(Fold(1, [0], [1]), 2, values, None, 1)
    assert [row[name] for name in ("f1", "accuracy", "rouge2", "bleu", "eval_loss")] == [None] * 5
    write_folds(tmp_path / "new", [row])
    (read,) = json.loads((tmp_path / "new" / "fold_results.json").read_text())
    assert read == {"kind": "fold", **row}


def test_the_table_has_the_mean_and_the_deviation_of_a_sample():
    rows = [fold_row(Fold(k, [0], [1]), 3, VALUES, accuracy, 4) for k, accuracy in ((1, 0.25), (2, 0.5), (3, None))]
    lines = [line.split() for line in fold_table(rows).splitlines()]
    assert lines[0] == ["fold", "samples", "f1", "accuracy", "rougeL", "bleu", "eval_loss"]
    assert lines[1] == ["1", "4", "0.2200", "0.2500", "24.0000", "5.5000", "2.2500"]
    assert lines[3][3] == "-"
    assert lines[4] == ["mean", "0.2200", "0.3750", "24.0000", "5.5000", "2.2500"]
    assert lines[5] == ["sd", "0.0000", "0.1768", "0.0000", "0.0000", "0.0000"]  # 0.125 * sqrt(2)
    assert fold_table(rows[:1]).splitlines()[-1].split() == ["sd", "-", "-", "-", "-", "-"]


def test_folders_of_other_folds_are_named(tmp_path):
    for name in ("fold_1", "fold_3", "fold_10", "fold_x"):
        (tmp_path / name).mkdir()
    assert foreign_folds(tmp_path, 2) == ["fold_3", "fold_10"]
    assert foreign_folds(tmp_path / "nowhere", 2) == []
