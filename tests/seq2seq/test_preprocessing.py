from types import SimpleNamespace

import pytest
from small_models import DIALOGUES, SUMMARIES, make_bart, new_kobart_tokenizer

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.columns import Columns, Pairs
from hf_monitor.seq2seq.preprocessing import Preprocessor, max_positions, seq2seq_collator, settle_lengths

COLUMNS = Columns("dialogue", ("summary",))


def lengths(**given):
    found = {"max_source_length": None, "max_target_length": None, "val_max_target_length": None}
    return SimpleNamespace(**(found | given))


def test_token_type_ids_of_kobart_do_not_reach_bart():
    kobart_tokenizer = new_kobart_tokenizer()
    model = make_bart(kobart_tokenizer)
    assert "token_type_ids" in kobart_tokenizer(DIALOGUES)
    pairs = Pairs(DIALOGUES, [[summary] for summary in SUMMARIES], COLUMNS)
    dataset = Preprocessor(kobart_tokenizer, model, 64, 32)(pairs).dataset
    assert dataset.column_names == ["references", "input_ids", "attention_mask", "labels"]
    collate = seq2seq_collator(kobart_tokenizer, model)
    batch = collate(list(dataset.remove_columns("references")))
    assert model(**batch).loss > 0
    assert model.generate(batch["input_ids"], attention_mask=batch["attention_mask"], max_length=4).shape[0] == 2


def test_a_tokenizer_that_ends_no_text_gets_an_end_for_the_summaries():
    kobart_tokenizer = new_kobart_tokenizer()
    preprocess = Preprocessor(kobart_tokenizer, make_bart(kobart_tokenizer), 64, 64)
    assert preprocess.adds_end
    found = preprocess.encode({"text": DIALOGUES, "references": [[summary] for summary in SUMMARIES]})
    assert all(ids[-1] == 1 and ids.count(1) == 1 for ids in found["labels"])
    n_tokens = len(kobart_tokenizer(SUMMARIES[0])["input_ids"])
    shorter = Preprocessor(kobart_tokenizer, make_bart(kobart_tokenizer), 64, n_tokens)
    found = shorter.encode({"text": DIALOGUES[:1], "references": [SUMMARIES[:1]]})
    assert len(found["labels"][0]) == n_tokens
    assert found["labels"][0][-1] == 1
    assert found["summary_cut"] == [True]


def test_a_tokenizer_that_ends_texts_is_left_alone(tokenizer, make_model):
    preprocess = Preprocessor(tokenizer, make_model(), 64, 64)
    assert not preprocess.adds_end
    labels = preprocess.encode({"text": ["a"], "references": [["b", "c"]]})["labels"]
    assert labels == [tokenizer("b")["input_ids"]]


@pytest.mark.parametrize("change", [-1, 0, 1])
def test_cut_texts_are_counted_exactly(tokenizer, make_model, change):
    source = len(tokenizer(DIALOGUES[0])["input_ids"])
    target = len(tokenizer(SUMMARIES[1])["input_ids"])
    preprocess = Preprocessor(tokenizer, make_model(), source + change, target + change)
    encoded = preprocess(Pairs([DIALOGUES[0], "a"], [["b"], [SUMMARIES[1]]], COLUMNS))
    assert (encoded.n_texts_cut, encoded.n_summaries_cut) == ((1, 1) if change < 0 else (0, 0))
    assert max(map(len, encoded.dataset["input_ids"])) == source + min(change, 0)
    assert all(ids[-1] == tokenizer.eos_token_id for ids in encoded.dataset["input_ids"])


def test_prefix_and_references(tokenizer, make_model):
    encoded = Preprocessor(tokenizer, make_model(), 64, 64, "summarize: ")(Pairs(["a"], [["b", "c"]], COLUMNS))
    assert tokenizer.decode(encoded.dataset[0]["input_ids"], skip_special_tokens=True) == "summarize: a"
    assert encoded.dataset[0]["references"] == ["b", "c"]


def test_without_summaries_there_are_no_labels(tokenizer, make_model):
    model = make_model()
    dataset = Preprocessor(tokenizer, model, 64, 64)(Pairs(["a", "b c"], None, COLUMNS)).dataset
    assert dataset.column_names == ["input_ids", "attention_mask"]
    assert set(seq2seq_collator(tokenizer, model)(list(dataset))) == {"input_ids", "attention_mask"}


def test_labels_are_padded_with_minus_100(tokenizer, make_model):
    model = make_model()
    dataset = Preprocessor(tokenizer, model, 64, 64)(Pairs(["a", "b"], [["a"], ["a long one"]], COLUMNS)).dataset
    batch = seq2seq_collator(tokenizer, model, pad_to_multiple_of=8)(list(dataset.remove_columns("references")))
    assert batch["labels"].shape[1] % 8 == 0
    assert (batch["labels"][0] == -100).sum() == batch["labels"].shape[1] - len(tokenizer("a")["input_ids"])


def test_lengths_follow_the_model(tokenizer, make_model):
    kobart_tokenizer = new_kobart_tokenizer()
    bart = make_bart(kobart_tokenizer)
    assert max_positions(bart.config) == 64
    assert max_positions(make_model().config) is None
    found = lengths()
    settle_lengths(found, bart, kobart_tokenizer)
    assert (found.max_source_length, found.max_target_length, found.val_max_target_length) == (64, 64, 64)
    found = lengths(max_source_length=2000, max_target_length=30)
    settle_lengths(found, make_model(), tokenizer)
    assert (found.max_source_length, found.max_target_length, found.val_max_target_length) == (2000, 30, 30)
    for name in vars(found):
        with pytest.raises(InputError, match=f"--{name} 65 is more than the 64 positions of Bart"):
            settle_lengths(lengths(**{name: 65}), bart, kobart_tokenizer)


def test_refusals():
    kobart_tokenizer = new_kobart_tokenizer()
    model = make_bart(kobart_tokenizer)
    with pytest.raises(InputError, match="--max_target_length 1 is too short"):
        Preprocessor(kobart_tokenizer, model, 64, 1)
    kobart_tokenizer.pad_token = None
    with pytest.raises(InputError, match="no pad token"):
        Preprocessor(kobart_tokenizer, model, 64, 64)
