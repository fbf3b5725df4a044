"""An evaluation step takes what a real ``Seq2SeqTrainer.evaluate`` takes at its longest, and leaves no trace."""

from __future__ import annotations

import itertools

import pytest
import torch

from hf_monitor.auto_batch.evaluation import EvaluationStep
from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.errors import InputError

LENGTHS = [(40, 16), (30, 12), *[(25, 9)] * 4]


@pytest.fixture
def make(tokenizer):
    """Make a model that never ends a text of its own accord, as the worst case wants it."""

    def make(family="t5"):
        import transformers

        torch.manual_seed(0)
        sizes = {"vocab_size": len(tokenizer), "d_model": 32, "pad_token_id": 0, "eos_token_id": 1}
        if family == "t5":
            more = {"d_ff": 64, "d_kv": 16, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
            model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, **more))
        else:
            more = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
            more |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
            more |= {"bos_token_id": 0, "decoder_start_token_id": 1, "forced_eos_token_id": 1}
            model = transformers.BartForConditionalGeneration(transformers.BartConfig(**sizes, **more))
            model.final_logits_bias[0, 1] = -1e4
        return model

    return make


@pytest.fixture
def make_batch(tokenizer):
    def make_batch(model, lengths=LENGTHS):
        from transformers import DataCollatorForSeq2Seq

        return dict(DataCollatorForSeq2Seq(tokenizer, model=model)(rows(lengths)))

    return make_batch


def rows(lengths):
    return [{"input_ids": [5] * s, "attention_mask": [1] * s, "labels": [6] * t} for s, t in lengths]


def profiled_peak(run):
    """Measure with torch's own memory profiler, which sees what kernels allocate within themselves too."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))


def counted_peak(step, batch):
    with LiveStorages() as live:
        live.count(batch.values())
        step.run(batch)
    return live.peak


class Calls:
    """Counts how often the decoder runs."""

    def __init__(self, model):
        self.n = 0
        self.handle = model.get_decoder().register_forward_hook(self.one_more)

    def one_more(self, *_):
        self.n += 1


def real_evaluation(make_trainer, model, lengths=LENGTHS, **settings):
    """Give the peak of a real evaluation, and how often the decoder ran."""
    from datasets import Dataset

    settings = {"per_device_eval_batch_size": len(lengths), "generation_max_length": 16} | settings
    trainer = make_trainer(
        model=model, evaluation=Dataset.from_list(rows(lengths)), compute_metrics=lambda prediction: {}, **settings
    )
    calls = Calls(model)
    return profiled_peak(trainer.evaluate), calls.n


@pytest.mark.no_cover
@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("family", ["t5", "bart"])
def test_the_peak_is_that_of_a_real_evaluation(family, beams, make, make_batch, make_trainer):
    truth, calls = real_evaluation(make_trainer, make(family), generation_num_beams=beams)
    assert calls == 15 + 1  # it did run up to the last token, then for the loss
    model = make(family)
    step = EvaluationStep(model, generation_max_length=16, num_beams=beams)
    found = counted_peak(step, make_batch(model))
    assert found == pytest.approx(truth, rel=0.03)


@pytest.mark.no_cover
def test_a_minimal_length_costs_what_it_costs_in_a_real_evaluation(make, make_batch, make_trainer):
    """It holds another copy of the scores, which are the most where texts are short."""
    short = [(2, 1)] * 8
    found = []
    for least in (0, 2):
        model, real = make("bart"), make("bart")
        for each in (model, real):
            each.generation_config.min_length, each.generation_config.forced_eos_token_id = least, None
        truth, _ = real_evaluation(make_trainer, real, lengths=short, generation_num_beams=4, generation_max_length=4)
        step = EvaluationStep(model, generation_max_length=4, num_beams=4)
        found.append(counted_peak(step, make_batch(model, short)))
        assert found[-1] == pytest.approx(truth, rel=0.01)
    assert found[1] > 1.03 * found[0]


@pytest.mark.no_cover
def test_in_half_precision_the_peak_is_that_of_a_real_evaluation(make, make_batch, make_trainer):
    truth, _ = real_evaluation(make_trainer, make("bart"), bf16=True)
    model = make("bart")
    step = EvaluationStep(model, generation_max_length=16, precision="bf16")
    batch = make_batch(model)
    # By the profiler on both sides: in bf16 the CPU's kernels hold copies that no operation returns.
    found = profiled_peak(lambda: step.run(batch)) + sum(value.nbytes for value in batch.values())
    assert found == pytest.approx(truth, rel=0.03)


@pytest.mark.no_cover
@pytest.mark.parametrize("settings", [{}, {"min_length": 2}, {"min_new_tokens": 2}, {"max_new_tokens": 15}])
@pytest.mark.parametrize("beams", [1, 4])
def test_texts_run_to_their_full_length_whatever_the_model_says(settings, beams, make, make_batch):
    model = make("bart")
    model.final_logits_bias[0, 1] = 1e4  # it would end each text at once
    model.generation_config.forced_eos_token_id = None
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    length = None if "max_new_tokens" in settings else 16
    calls = Calls(model)
    model.eval().generate(make_batch(model)["input_ids"], max_length=16)
    assert calls.n < 8
    calls.n = 0
    EvaluationStep(model, generation_max_length=length, num_beams=beams).run(make_batch(model))
    assert calls.n == 15 + 1


def test_lengths_and_beams_of_the_generation_config_count_where_none_are_given(make, make_batch):
    model = make("bart")
    model.generation_config.max_length, model.generation_config.num_beams = 10, 3
    sizes = set()
    model.get_decoder().register_forward_hook(
        lambda module, args, kwargs, out: sizes.add(len(out[0])), with_kwargs=True
    )
    calls = Calls(model)
    EvaluationStep(model, with_loss=False).run(make_batch(model))
    assert calls.n == 9
    assert sizes == {3 * len(LENGTHS)}


@pytest.mark.no_cover
def test_more_beams_and_a_longer_text_take_more(make, make_batch):
    model = make()
    batch = make_batch(model)
    one, four = (counted_peak(EvaluationStep(model, generation_max_length=16, num_beams=n), batch) for n in (1, 4))
    long = counted_peak(EvaluationStep(model, generation_max_length=30, num_beams=4), batch)
    assert one < four < long


def test_label_smoothing_is_taken_along(make, make_batch, make_trainer):
    truth, _ = real_evaluation(make_trainer, make("bart"), generation_max_length=4, label_smoothing_factor=0.1)
    model = make("bart")
    batch = make_batch(model)
    plain = counted_peak(EvaluationStep(model, generation_max_length=4), batch)
    found = counted_peak(EvaluationStep(model, generation_max_length=4, label_smoothing=0.1), batch)
    assert found == pytest.approx(truth, rel=0.03)
    assert found > plain


def test_data_without_labels(make, make_batch):
    model = make()
    batch = make_batch(model)
    del batch["labels"], batch["decoder_input_ids"]
    calls = Calls(model)
    EvaluationStep(model, generation_max_length=8, with_loss=False).run(batch)
    assert calls.n == 7
    with pytest.raises(InputError, match=r"no labels for the loss .*with_loss=False"):
        EvaluationStep(model, generation_max_length=8).run(batch)


def _seen_of(model):
    """Give all that a step could leave behind."""
    return {
        "modes": [module.training for module in model.modules()],
        "attributes": [dict(vars(module)) for module in model.modules()],
        "generation": model.generation_config.to_dict(),
        "config": model.config.to_dict(),
        "gradients": [p.grad for p in model.parameters()],
        "weights": [(p.data_ptr(), p.detach().sum().item()) for p in model.parameters()],
    }


@pytest.mark.parametrize("ends", ["well", "out of memory", "by Ctrl-C"])
def test_nothing_is_left_behind(ends, make, make_batch):
    model = make("bart").train()
    model.model.encoder.eval()  # half and half
    model.config.use_cache = True
    before = _seen_of(model)
    step = EvaluationStep(model, generation_max_length=12, num_beams=2, precision="bf16")
    if ends == "well":
        step.run(make_batch(model))
    elif ends == "out of memory":
        with pytest.raises(torch.OutOfMemoryError), LiveStorages(cap_bytes=200_000):
            step.run(make_batch(model))
    else:
        batch = make_batch(model)

        def interrupted(*args, **kwargs):
            raise KeyboardInterrupt

        model.model.decoder.forward = interrupted
        with pytest.raises(KeyboardInterrupt):
            step.run(batch)
        del model.model.decoder.forward
    assert _seen_of(model) == before


@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # asked for by peft
def test_a_model_with_an_adapter(make, make_batch, make_trainer):
    peft = pytest.importorskip("peft")

    def adapted():
        return peft.get_peft_model(make("bart"), peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q_proj"]))

    truth, calls = real_evaluation(make_trainer, adapted(), bf16=True)
    model = adapted()
    before = _seen_of(model)
    counted = Calls(model)
    step = EvaluationStep(model, generation_max_length=16, precision="bf16")
    batch = make_batch(model)
    found = profiled_peak(lambda: step.run(batch)) + sum(value.nbytes for value in batch.values())
    assert found == pytest.approx(truth, rel=0.03)
    assert counted.n == calls == 16
    counted.handle.remove()
    assert _seen_of(model) == before


def test_what_cannot_be_generated_is_refused_before_a_step(make):
    from transformers import BertConfig, BertModel

    bart = make("bart")
    EvaluationStep(bart, generation_max_length=65)  # its last token needs no position
    with pytest.raises(InputError, match="generation_max_length 66 is more than the 64 positions of BartFor"):
        EvaluationStep(bart, generation_max_length=66)
    with pytest.raises(InputError, match="at least 2, the start and one token, got 1"):
        EvaluationStep(bart, generation_max_length=1)
    with pytest.raises(InputError, match="num_beams must be at least 1, got 0"):
        EvaluationStep(bart, num_beams=0)
    bart.generation_config.max_new_tokens = 200
    with pytest.raises(InputError, match="max_new_tokens of the generation config, and the start, 201 is more"):
        EvaluationStep(bart, generation_max_length=20)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with pytest.raises(InputError, match="BertModel cannot generate"):
        EvaluationStep(BertModel(BertConfig(vocab_size=20, **sizes)))
