"""Token accuracy: how many tokens of the references a model would have said, given all that stands before them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["count_tokens", "token_accuracy"]


def count_tokens(logits: torch.Tensor, labels: torch.Tensor, ignored: int = -100) -> tuple[int, int]:
    """Count the tokens for which the most likely one is the label.

    Parameters
    ----------
    logits : Tensor of shape (samples, tokens, vocabulary)
    labels : Tensor of shape (samples, tokens)
    ignored : int
        Labels of this value count nowhere (padding).

    Returns
    -------
    tuple of (int, int)
        Right tokens, and all that count.
    """
    counted = labels != ignored
    right = (logits.argmax(dim=-1) == labels) & counted
    return int(right.sum()), int(counted.sum())


def token_accuracy(trainer: Any, dataset: Any) -> float | None:
    """Compute the teacher-forced token accuracy of a Trainer's model over a data set.

    The decoder is given the reference up to each token, and the token counts as right if the model finds it the most
    likely one. Only the labels count, the end of the summary with them. It is no measure of what the model generates by
    itself: there it goes on from its own words, right or wrong.

    On several processes each takes its part of the samples, none twice, and the counts are summed.

    Parameters
    ----------
    trainer : transformers.Trainer
        Its model, collator, batch size for evaluation, device and precision are used. All processes must come here.
    dataset : datasets.Dataset
        With ``labels``; columns that the model's ``forward`` does not name are left aside.

    Returns
    -------
    float or None
        0 to 1; None where no label counts.
    """
    import torch

    args, model = trainer.args, trainer.model
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    taken = set(inspect.signature(base.forward).parameters)
    dataset = dataset.remove_columns([name for name in dataset.column_names if name not in taken])
    size, rank, n_ranks = args.eval_batch_size, args.process_index, args.world_size
    own = range(rank, len(dataset), n_ranks)
    counts = torch.zeros(2, dtype=torch.int64, device=args.device)
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        # As many batches on each process, also where a part is shorter: a sharded model needs all of them each time.
        for start in range(0, -(-len(dataset) // n_ranks), size):
            chosen = own[start : start + size]
            batch = trainer.data_collator([dataset[index] for index in chosen or [0]])
            batch = {name: value.to(args.device) for name, value in batch.items()}
            with torch.no_grad(), trainer.compute_loss_context_manager():
                logits = model(**batch).logits
            if chosen:
                counts += torch.tensor(count_tokens(logits, batch["labels"]), device=args.device)
    finally:
        for module, mode in modes:
            module.training = mode
    right, counted = trainer.accelerator.reduce(counts, reduction="sum").tolist()
    return right / counted if counted else None
