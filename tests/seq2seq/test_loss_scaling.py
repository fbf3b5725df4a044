import pytest
import torch
from small_models import make_bart, make_mbart, new_kobart_tokenizer, new_mbart_tokenizer

from hf_monitor.seq2seq.loss_scaling import ensure_loss_scaling, ignores_num_items


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
