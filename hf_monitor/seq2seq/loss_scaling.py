"""T5 and BART take ``num_items_in_batch`` and ignore it: the Trainer then scales loss and gradient wrongly."""

from __future__ import annotations

import inspect
from typing import Any

__all__ = ["ensure_loss_scaling", "ignores_num_items"]


def ignores_num_items(model: Any) -> bool:
    """Find out, by trying, whether a model's loss is the same for any ``num_items_in_batch``.

    One forward pass over two tokens, twice, without gradients and without drawing random numbers.

    Parameters
    ----------
    model : PreTrainedModel
        A seq2seq model, on any device.

    Returns
    -------
    bool
        Also True where it cannot be tried: dividing by the accumulation, which follows from it, is right for a mean
        loss, and every model gives one when it is not told the number of items.
    """
    import torch

    was_training = model.training
    model.eval()
    try:
        token = torch.full((1, 2), int(model.config.eos_token_id or 0), device=model.device)
        with torch.no_grad():
            losses = [float(model(input_ids=token, labels=token, num_items_in_batch=n).loss) for n in (1, 7)]
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        return True
    finally:
        model.train(was_training)
    return losses[0] == losses[1]


def ensure_loss_scaling(model: Any) -> bool:
    """Make the Trainer divide the loss by the accumulation where the model does not; call it before making the Trainer.

    transformers up to 5.23 takes ``**kwargs`` in a model's ``forward`` as a promise that the loss is divided by
    ``num_items_in_batch``. T5, BART, mBART, Pegasus ... do not keep it: with ``gradient_accumulation_steps=4`` loss and
    gradient are 4 times too large, on two processes twice.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Gets ``accepts_loss_kwargs = False`` where its loss ignores the number of items.

    Returns
    -------
    bool
        Whether it was set.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(base, "accepts_loss_kwargs", None) is False:
        return False
    parameters = inspect.signature(base.forward).parameters.values()
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD or p.name == "num_items_in_batch" for p in parameters):
        return False  # the Trainer sees for itself that it may not hand the number over
    if ignores_num_items(base):
        base.accepts_loss_kwargs = False
        return True
    return False
