import random

import numpy as np
import pytest
import torch
from small_models import make_bart, make_mbart, new_kobart_tokenizer, new_mbart_tokenizer

from hf_monitor.seq2seq.loss_scaling import ensure_loss_scaling, ignores_num_items, uses_num_items


def first_loss(make_trainer, model, tmp_path, batch_size, accumulation):
    trainer = make_trainer(
        model=model,
        max_steps=1,
        eval_strategy="no",
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        learning_rate=0.0,
        output_dir=tmp_path / str(accumulation),
    )
    trainer.train()
    return next(row["loss"] for row in trainer.state.log_history if "loss" in row)


def test_with_it_the_logged_loss_does_not_grow_with_the_accumulation(make_trainer, make_model, tmp_path):
    model = make_model(dropout_rate=0.0)
    grown = first_loss(make_trainer, model, tmp_path, 2, 4)
    assert ensure_loss_scaling(model)
    mended = first_loss(make_trainer, model, tmp_path, 2, 4)
    whole = first_loss(make_trainer, model, tmp_path, 8, 1)
    assert grown == pytest.approx(4 * mended, rel=1e-3)
    assert mended == pytest.approx(whole, rel=0.05)  # a mean of means is not the mean over all tokens


def test_bart_and_mbart_ignore_it_too():
    kobart_tokenizer = new_kobart_tokenizer()
    mbart_tokenizer = new_mbart_tokenizer()
    for model in (make_bart(kobart_tokenizer), make_mbart(mbart_tokenizer)):
        assert ensure_loss_scaling(model)
        assert model.accepts_loss_kwargs is False
        assert not ensure_loss_scaling(model)  # it is set already


def test_a_model_that_counts_is_left_alone(make_model):
    model = make_model()
    ignoring = model.forward

    def counting(input_ids=None, labels=None, num_items_in_batch=None, **kwargs):
        found = ignoring(input_ids=input_ids, labels=labels)
        found.loss = found.loss * labels.numel() / num_items_in_batch
        return found

    model.forward = counting
    assert not ignores_num_items(model)
    assert not ensure_loss_scaling(model)
    assert not hasattr(model, "accepts_loss_kwargs")


def test_a_forward_without_extra_arguments_needs_nothing(make_model):
    model = make_model()
    ignoring = model.forward
    model.forward = lambda input_ids=None, labels=None: ignoring(input_ids=input_ids, labels=labels)
    assert not ensure_loss_scaling(model)


def test_trying_leaves_no_trace(make_model):
    model = make_model()
    model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    ensure_loss_scaling(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_model_that_does_more_than_compute_leaves_no_trace_either(make_model):
    """One that keeps parts frozen, draws random numbers when it is evaluated, and writes into its buffers."""
    model = make_model()
    model.encoder.eval()
    model.train_calls = 0
    model.register_buffer("seen", torch.zeros(2))
    model.register_buffer("other", torch.zeros(2))
    seen, forward = model.seen, model.forward

    def train(mode=True):
        model.train_calls += 1

    def restless(*args, **kwargs):
        assert not any(module.training for module in model.modules())
        model.seen += torch.rand(2) + random.random() + float(np.random.rand())
        model.other = torch.ones(2)
        return forward(*args, **kwargs)

    model.train, model.forward = train, restless
    modes = [module.training for module in model.modules()]
    state, others = torch.get_rng_state(), (random.getstate(), str(np.random.get_state()))
    assert uses_num_items(model) is False
    assert [module.training for module in model.modules()] == modes
    assert model.train_calls == 0
    assert model.seen is seen
    assert not model.seen.any()
    assert not model.other.any()
    assert torch.equal(torch.get_rng_state(), state)
    assert (random.getstate(), str(np.random.get_state())) == others


@pytest.mark.parametrize("loss", [0.0, float("nan")])
def test_a_loss_that_says_nothing(make_model, loss):
    model = make_model()
    forward = model.forward

    def says_nothing(**kwargs):
        found = forward(**kwargs)
        found.loss = found.loss * loss
        return found

    model.forward = says_nothing
    assert uses_num_items(model) is None


def test_a_loss_of_which_a_part_is_divided(make_model):
    """As a mixture of experts' with its load balancing: neither right nor wrong by a factor."""
    model = make_model()
    forward = model.forward

    def partly(num_items_in_batch=None, **kwargs):
        found = forward(**kwargs)
        found.loss = found.loss / num_items_in_batch + 1.0
        return found

    model.forward = partly
    assert uses_num_items(model) is None


def test_weights_that_are_not_all_here_are_not_tried(make_model):
    model = make_model().to("meta")
    model.forward = lambda **kwargs: pytest.fail("with FSDP or ZeRO-3 the other processes would have to take part")
    assert uses_num_items(model) is None


def test_llama_uses_it():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=20, eos_token_id=[1, 2], bos_token_id=0, **sizes))
    assert uses_num_items(model) is True
    assert not ensure_loss_scaling(model)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # asked for by peft
def test_under_an_adapter_the_base_model_is_told(make_model):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="SEQ_2_SEQ_LM", target_modules=["q", "v"])
    model = peft.get_peft_model(make_model(), config)
    assert ensure_loss_scaling(model)
    assert model.get_base_model().accepts_loss_kwargs is False


def test_a_model_that_cannot_be_tried_is_taken_to_ignore_it(make_model):
    model = make_model()

    def needs_more(input_ids=None, pixels=None, **kwargs):
        raise ValueError("where are the pixels?")

    model.forward = needs_more
    assert ensure_loss_scaling(model)


def test_a_module_of_ones_own():
    """With the training's first batch, since there is no config to make one from; nor has it a ``device``."""

    class Own(torch.nn.Linear):
        def forward(self, x, labels, **kwargs):
            return {"loss": (super().forward(x) - labels).square().mean()}

    inputs = {"x": torch.ones(2, 3), "labels": torch.ones(2, 1)}
    assert uses_num_items(Own(3, 1), inputs) is False
