"""Token accuracy against what was counted by hand, one sample at a time, and over several processes."""

from types import SimpleNamespace

import pytest
import torch

from hf_monitor.seq2seq.token_accuracy import count_tokens, token_accuracy


def test_right_tokens_by_hand():
    logits = torch.zeros(2, 3, 4)
    for sample, said in enumerate([[3, 1, 2], [0, 0, 1]]):
        for position, token in enumerate(said):
            logits[sample, position, token] = 1.0
    labels = torch.tensor([[3, 2, 2], [0, -100, -100]])  # right, wrong, right; right, padding, padding
    assert count_tokens(logits, labels) == (3, 4)
    assert count_tokens(logits, torch.full((2, 3), -100)) == (0, 0)


def by_hand(model, dataset):
    right = n = 0
    for sample in dataset:
        labels = torch.tensor([sample["labels"]])
        with torch.no_grad():
            said = model(input_ids=torch.tensor([sample["input_ids"]]), labels=labels).logits.argmax(-1)
        right += (said == labels).sum().item()
        n += labels.numel()
    return right, n


@pytest.fixture
def trainer(make_trainer, make_dataset, make_model):
    model = make_model(dropout_rate=0.5)
    with torch.no_grad():  # few tokens, so that some are right
        model.lm_head.weight[60:] = 0
    held_out = make_dataset(7, references=[["text"]] * 7)  # a column that no model takes
    return make_trainer(model=model, evaluation=held_out, max_steps=30, learning_rate=1e-2, eval_strategy="no")


@pytest.mark.no_cover
def test_over_a_data_set_in_batches_with_padding(trainer):
    trainer.train()
    trainer.model.train()
    found = token_accuracy(trainer, trainer.eval_dataset)
    assert trainer.model.training
    right, n = by_hand(trainer.model.eval(), trainer.eval_dataset)
    assert 0 < right < n
    assert found == right / n
    assert token_accuracy(trainer, trainer.eval_dataset.select([])) is None


@pytest.mark.parametrize(("n_samples", "n_ranks"), [(7, 2), (4, 3), (1, 2)])
def test_each_process_counts_its_own_samples_and_makes_as_many_steps(trainer, n_samples, n_ranks, monkeypatch):
    model, dataset = trainer.model.eval(), trainer.eval_dataset.select(range(n_samples))
    counts, steps = [], []
    for rank in range(n_ranks):
        args = SimpleNamespace(eval_batch_size=2, process_index=rank, world_size=n_ranks, device=torch.device("cpu"))
        called = []
        own = SimpleNamespace(
            args=args,
            model=model,
            data_collator=trainer.data_collator,
            compute_loss_context_manager=trainer.compute_loss_context_manager,
            accelerator=SimpleNamespace(reduce=lambda tensor, reduction: counts.append(tensor) or tensor),
        )
        handle = model.register_forward_hook(lambda *_, called=called: called.append(1))
        token_accuracy(own, dataset)
        handle.remove()
        steps.append(len(called))
    assert tuple(sum(counts).tolist()) == by_hand(model, dataset)
    assert len(set(steps)) == 1
