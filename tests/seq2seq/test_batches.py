"""What is pushed through a probe: lengths, dummy batches, and the worst that a data set and its collator make."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from small_models import make_bart, make_mbart, new_kobart_tokenizer, new_mbart_tokenizer
from torch._subclasses.fake_tensor import FakeTensorMode

from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, check_lengths, default_lengths, dummy_batch, positions
from hf_monitor.seq2seq.worst_batches import activation_cost, dataset_lengths, worst_batches


def rows_of(*lengths):
    """Give a sample for each (source, target); the number of a sample stands in its tokens."""
    return [
        {"input_ids": [10 + i] * s, "attention_mask": [1] * s, "labels": [10 + i] * t}
        for i, (s, t) in enumerate(lengths)
    ]


def shapes(batch):
    return tuple(batch["input_ids"].shape), tuple(batch["labels"].shape)


def numbers(batch):
    """Tell which samples a batch holds."""
    return [int(row[0]) - 10 for row in batch["labels"]]


@pytest.fixture
def make_collator(tokenizer):
    def make(model=None, **settings):
        from transformers import DataCollatorForSeq2Seq

        return DataCollatorForSeq2Seq(tokenizer, model=model, **settings)

    return make


# ---- lengths that a model and its tokenizer allow


@pytest.mark.no_cover
def test_a_t5_without_a_tokenizer_gets_the_usual_lengths(make_model):
    model = make_model()
    model.generation_config.max_length = 20  # transformers' own default, which nobody chose
    lengths = default_lengths(model)
    assert (lengths.source, lengths.target) == (512, 128)
    assert "no limit" in lengths.why
    assert positions(model) is None


def test_lengths_come_from_tokenizer_positions_and_generation_config(make_model, tokenizer):
    bart = make_bart(new_kobart_tokenizer())  # 64 positions
    lengths = default_lengths(bart, new_kobart_tokenizer())  # whose model_max_length is 1e30
    assert (lengths.source, lengths.target) == (64, 64)
    assert lengths.why.count("positions of BartForConditionalGeneration") == 2
    lengths = default_lengths(make_model(), tokenizer)  # model_max_length 64, generation's max_length 12
    assert (lengths.source, lengths.target) == (64, 12)
    assert "model_max_length" in lengths.why
    assert "max_length of the generation config" in lengths.why


@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # asked for by peft
def test_what_an_adapter_wraps_counts():
    peft = pytest.importorskip("peft")
    bart = make_bart(new_kobart_tokenizer())
    wrapped = peft.get_peft_model(bart, peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q_proj"]))
    assert default_lengths(wrapped) == default_lengths(make_bart(new_kobart_tokenizer()))
    assert wrapped(**dummy_batch(wrapped, 2, Lengths(64, 64))).loss.isfinite()
    with pytest.raises(InputError, match="64 positions of BartForConditionalGeneration"):
        check_lengths(wrapped, Lengths(65, 1))


def test_lengths_beyond_the_positions_are_refused_and_those_at_the_limit_run():
    bart = make_bart(new_kobart_tokenizer())
    check_lengths(bart, Lengths(64, 64))
    bart(**dummy_batch(bart, 2, Lengths(64, 64)))
    for lengths, named in ((Lengths(65, 8), "source_length 65"), (Lengths(8, 65), "target_length 65")):
        with pytest.raises(InputError, match=rf"{named} \(given\) is more than the 64 positions of BartFor"):
            check_lengths(bart, lengths)
        with pytest.raises(IndexError):  # what it would be without
            bart(**dummy_batch(bart, 2, lengths))
    with pytest.raises(InputError, match="at least 1"):
        check_lengths(bart, Lengths(0, 8))


def test_encoder_and_decoder_may_have_different_positions():
    from transformers import LEDConfig, LEDForConditionalGeneration

    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1, "attention_window": 4}
    most = {"max_encoder_position_embeddings": 32, "max_decoder_position_embeddings": 16}
    led = LEDForConditionalGeneration(LEDConfig(vocab_size=20, **sizes, **heads, **most))
    assert (positions(led), positions(led, decoder=True)) == (32, 16)
    check_lengths(led, Lengths(32, 16))
    led(**dummy_batch(led, 2, Lengths(32, 16)))
    with pytest.raises(InputError, match="16 positions"):
        check_lengths(led, Lengths(32, 17))


# ---- dummy batches


def small(kind, vocabulary):
    import transformers

    if kind in ("T5", "MT5"):
        sizes = {"d_model": 8, "d_ff": 8, "d_kv": 4, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    else:
        sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
        sizes |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 16}
        sizes |= {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0, "decoder_start_token_id": 2}
    config = getattr(transformers, f"{kind}Config")(vocab_size=vocabulary, **sizes)
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config)


@pytest.mark.no_cover
@pytest.mark.parametrize("fake", [False, True])
@pytest.mark.parametrize("kind", ["T5", "MT5", "Bart", "MBart", "Pegasus"])
@pytest.mark.parametrize(("vocabulary", "lengths"), [(4, (1, 1)), (8, (9, 5))])
def test_a_dummy_batch_trains_small_models_of_every_family(kind, vocabulary, lengths, fake):
    with FakeTensorMode() if fake else torch.enable_grad():
        model = small(kind, vocabulary)
        for size in (1, 3):
            batch = dummy_batch(model, size, Lengths(*lengths))
            assert shapes(batch) == ((size, lengths[0]), (size, lengths[1]))
            assert batch["decoder_input_ids"].shape == batch["labels"].shape
            outputs = model(**batch)
            outputs.loss.backward()
    if not fake:
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        assert outputs.loss.isfinite()


def test_a_dummy_batch_has_one_place_of_padding(make_model):
    assert (dummy_batch(make_model(), 3, Lengths(5, 2))["attention_mask"] == 0).sum() == 1


def test_a_dummy_batch_for_two_vocabularies():
    from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    encoder = BertConfig(vocab_size=20, max_position_embeddings=16, **sizes)
    decoder = BertConfig(vocab_size=40, max_position_embeddings=12, is_decoder=True, add_cross_attention=True, **sizes)
    model = EncoderDecoderModel(config=EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder))
    model.config.pad_token_id, model.config.decoder_start_token_id = 0, 1
    assert (positions(model), positions(model, decoder=True)) == (16, 12)
    batch = dummy_batch(model, 4, Lengths(16, 12))
    assert batch["input_ids"].max() == 19
    assert batch["labels"].max() == 39
    with pytest.warns(FutureWarning, match="computing the loss inside"):
        assert model(**batch).loss.isfinite()


# ---- lengths of a data set


def test_the_longest_and_a_quantile_without_a_collator():
    rows = rows_of(*((i, 101 - i) for i in range(1, 101)))
    assert dataset_lengths(rows) == Lengths(100, 100, "the longest of 100 samples: 100 and 100 tokens")
    lengths = dataset_lengths(rows, quantile=0.9)
    assert (lengths.source, lengths.target) == (90, 90)
    assert sum(len(row["input_ids"]) <= 90 for row in rows) == 90
    assert "0.9 of 100 samples" in lengths.why


def test_the_padding_of_the_real_collator_counts(make_collator):
    rows = rows_of((37, 3), (5, 11), (6, 4))
    plain = dataset_lengths(rows, make_collator())
    assert (plain.source, plain.target) == (37, 11)
    eights = dataset_lengths(rows, make_collator(pad_to_multiple_of=8))
    assert (eights.source, eights.target) == (40, 16)
    assert eights.why.endswith("padded by the collator to 40 and 16")
    whole = dataset_lengths(rows, make_collator(padding="max_length", max_length=50))
    assert (whole.source, whole.target) == (50, 50)
    cut = dataset_lengths(rows, make_collator(pad_to_multiple_of=8), quantile=0.5)
    assert (cut.source, cut.target) == (8, 8)


@pytest.mark.no_cover
def test_every_kind_of_data_set_has_the_same_lengths(tokenizer):
    from datasets import Dataset

    rng = np.random.default_rng(0)
    rows = rows_of(*zip(rng.integers(1, 60, 50).tolist(), rng.integers(1, 20, 50).tolist(), strict=True))
    arrow = Dataset.from_list(rows)
    picked = [7, 3, 3, 41]
    few = dataset_lengths([rows[i] for i in picked])
    assert dataset_lengths(arrow) == dataset_lengths(rows)
    assert dataset_lengths(arrow.shuffle(seed=1)) == dataset_lengths(rows)
    assert dataset_lengths(arrow.select(picked)) == few != dataset_lengths(rows)
    assert dataset_lengths(arrow.with_format("torch").select(picked)) == few
    assert dataset_lengths(torch.utils.data.Subset(arrow, picked)) == few
    texts = Dataset.from_dict({"text": ["a b c", "a"], "summary": ["a", "a b"]})
    made = [{"input_ids": [1, 2, 3], "labels": [1]}, {"input_ids": [1], "labels": [1, 2]}]
    texts.set_transform(
        lambda batch: {k: [made[len(t) < 5][k] for t in batch["text"]] for k in ("input_ids", "labels")}
    )
    assert dataset_lengths(texts) == dataset_lengths(made)


@pytest.mark.no_cover
def test_a_million_rows_are_not_read():
    """Their tokens would be 400 MB as lists, and reading them would take minutes."""
    import pyarrow as pa
    from datasets import Dataset

    n = 1_000_000
    offsets = np.arange(n + 1, dtype=np.int32) % 50
    offsets = np.cumsum(offsets, dtype=np.int32)
    column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.int8)))

    class Unread(Dataset):
        def __getitem__(self, key):
            raise AssertionError("a row was read")

    dataset = Unread(pa.table({"input_ids": column, "labels": column}))
    lengths = dataset_lengths(dataset.shuffle(seed=0), quantile=0.5)
    assert (lengths.source, lengths.target) == (24, 24)


def _generator():
    yield from rows_of((1, 1))


def test_data_sets_that_cannot_be_used_say_what_to_do():
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list(rows_of((3, 2)))
    texts = Dataset.from_dict({"text": ["a"], "summary": ["b"]})
    holes = Dataset.from_dict({"input_ids": [[1], None], "labels": [[1], [1]]})
    cases = [
        ([], "empty: there is no sample"),
        (rows.select([]), "empty: there is no sample"),
        (rows.to_iterable_dataset(), "IterableDataset gives no row by its number.*itertools.islice"),
        (_generator(), "generator gives no row by its number"),
        (DatasetDict({"train": rows, "test": rows}), r"several data sets \(train, test\)"),
        (texts, r"no column 'input_ids' \(columns: text, summary\): tokenize it first"),
        ([{"input_ids": [1]}], r"no column 'labels' \(columns: input_ids\)"),
        (texts.rename_columns({"text": "input_ids", "summary": "labels"}), "'input_ids' holds string, not lists"),
        ([{"input_ids": [1], "labels": "a summary"}], "'labels' of row 0 is a str"),
        (holes, "'input_ids' is None in 1 of the rows"),
        ([([1], [2])], "row 0 of the data set is a tuple"),
        ([{"input_ids": [], "labels": [1]}], "input_ids is empty in each of the 1 rows"),
    ]
    for dataset, message in cases:
        with pytest.raises(InputError, match=message):
            dataset_lengths(dataset)


@pytest.mark.parametrize("quantile", [0, -0.1, 1.01, float("nan")])
def test_a_quantile_out_of_its_range_is_refused(quantile):
    with pytest.raises(InputError, match=r"in \(0, 1\]"):
        dataset_lengths(rows_of((3, 2)), quantile=quantile)


def test_what_is_no_collator_or_gives_no_tensors_is_refused():
    with pytest.raises(InputError, match="DataCollatorForSeq2Seq"):
        worst_batches(rows_of((3, 2)), None)
    with pytest.raises(InputError, match="two dimensions"):
        dataset_lengths(rows_of((3, 2)), lambda rows: {"input_ids": rows})
    with pytest.raises(InputError, match="at least 1 sample"):
        worst_batches(rows_of((3, 2)), dict).candidates(0)


# ---- the worst batches


def test_no_batch_of_the_data_is_longer_than_the_worst(make_collator):
    rng = np.random.default_rng(3)
    rows = rows_of(*zip(rng.integers(1, 60, 30).tolist(), rng.integers(1, 20, 30).tolist(), strict=True))
    collator = make_collator(pad_to_multiple_of=4)
    worst = worst_batches(rows, collator)
    for n in (2, 3, 7):
        (_, source), (_, target) = shapes(worst(n))
        for _ in range(200):
            batch = collator([dict(rows[i]) for i in rng.choice(30, n, replace=False)])
            assert batch["input_ids"].shape[1] <= source
            assert batch["labels"].shape[1] <= target
    every = [shapes(collator([dict(rows[i]), dict(rows[j])])) for i, j in itertools.combinations(range(30), 2)]
    assert shapes(worst(2)) in every  # and it is one that can come
    assert (worst.lengths.source, worst.lengths.target) == (source, target)


def test_two_samples_hold_the_longest_source_and_the_longest_target(make_collator):
    worst = worst_batches(rows_of((5, 5), (30, 2), (3, 20), (29, 2)), make_collator())
    assert numbers(worst(2)) == [1, 2]
    assert len(worst.candidates(2)) == 1
    assert shapes(worst(9)) == ((9, 30), (9, 20))  # more than there are: some come again
    assert set(numbers(worst(9))) == {0, 1, 2, 3}


def test_beside_a_sample_that_is_longest_in_both_stands_one_that_is_padded(make_collator):
    worst = worst_batches(rows_of((30, 20), (30, 2), (3, 2), (30, 20)), make_collator())
    assert numbers(worst(2)) == [0, 2]
    for n in (2, 3, 4):
        assert (worst(n)["attention_mask"] == 0).any()
        assert shapes(worst(n)) == ((n, 30), (n, 20))


@pytest.mark.no_cover
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_among_the_candidates_of_one_sample_is_the_one_with_the_highest_peak(
    family, tokenizer, make_model, make_collator
):
    model = make_model() if family == "t5" else make_bart(tokenizer)
    step = TrainingStep(model, StepSettings(accumulation=False))

    def peak(batch):
        with LiveStorages() as live:
            step.run(batch)
        return live.peak

    rows = rows_of((60, 1), (52, 20), (40, 24), (20, 30), (1, 32), (30, 20))
    model.train()
    step.run(make_collator(model)([dict(rows[0])]))  # the optimizer's state comes with the first step
    worst = worst_batches(rows, make_collator(model), model=model)
    found = [peak(batch) for batch in worst.candidates(1)]
    each = [peak(make_collator(model)([dict(row)])) for row in rows]
    assert max(found) == max(each)
    assert max(each) not in (each[0], each[4])  # neither the longest source nor the longest target
    assert len(found) < len(rows)
    step.close()


def test_of_one_sample_the_costliest_comes_first(make_model, make_collator):
    worst = worst_batches(rows_of((60, 1), (55, 28), (1, 30)), make_collator(), model=make_model())
    assert numbers(worst(1)) == [1]
    assert [numbers(batch) for batch in worst.candidates(1)] == [[1], [0], [2]]


def test_the_cost_of_a_large_vocabulary_weighs_the_target(make_model):
    lengths = np.array([300, 10]), np.array([10, 60])
    model = make_model()
    narrow = activation_cost(model)
    model.config.vocab_size = 200_000
    wide = activation_cost(model)
    assert narrow(*lengths).argmax() == 0
    assert wide(*lengths).argmax() == 1
    assert activation_cost()(*lengths).shape == (2,)


def test_below_the_maximum_samples_are_cut_at_the_quantile(make_collator):
    rows = rows_of((60, 4), (20, 20), *(((10, 5),) * 8))
    worst = worst_batches(rows, make_collator(), quantile=0.9)
    assert (worst.lengths.source, worst.lengths.target) == (20, 5)
    assert shapes(worst(3)) == ((3, 20), (3, 5))
    assert max(shapes(batch)[0][1] for batch in worst.candidates(1)) == 20
    assert [len(rows[0][name]) for name in rows[0]] == [60, 60, 4]  # the data set is left as it is


def test_columns_that_the_trainer_removes_do_not_reach_the_collator(make_model, make_dataset, make_collator):
    dataset = make_dataset(4, references=[["a", "b"]] * 4, text=["t"] * 4)
    seen = set()

    def collator(rows):
        seen.update(*rows)
        return make_collator()(rows)

    for model in (make_model(), None):
        worst_batches(dataset, collator, model=model)(3)
        assert seen == {"input_ids", "attention_mask", "labels"}
    with pytest.raises(ValueError, match=r"(?i)unable to create tensor"):
        worst_batches(dataset, collator, remove_unused_columns=False)(3)
    assert {"references", "text"} <= seen


def test_the_trainer_itself_makes_the_same_batch(make_trainer, make_dataset):
    """Two rows, so that there is but one batch; with a column that the Trainer removes."""
    rows = make_dataset(4, references=["a"] * 4).select([0, 3])
    trainer = make_trainer(train=rows, per_device_train_batch_size=2)
    real = next(iter(trainer.get_train_dataloader()))
    ours = worst_batches(rows, trainer.data_collator, model=trainer.model)(2)
    assert set(ours) == set(real)
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in real.items()}


def test_a_missing_attention_mask_is_made_by_the_collator():
    from transformers import DataCollatorForSeq2Seq

    tokenizer = new_mbart_tokenizer()
    rows = [{"input_ids": [5] * s, "labels": [6] * t} for s, t in ((7, 2), (3, 4))]
    batch = worst_batches(rows, DataCollatorForSeq2Seq(tokenizer, model=make_mbart(tokenizer)))(2)
    assert batch["attention_mask"].sum(1).tolist() == [7, 3]
    assert batch["decoder_input_ids"].shape == (2, 4)
