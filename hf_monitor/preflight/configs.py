"""Do a model's config and a tokenizer belong together."""

from __future__ import annotations

from typing import Any

from hf_monitor.preflight.checklist import Check, failed, ok, warning

__all__ = ["check_configs"]


def check_configs(config: Any, generation_config: Any, tokenizer: Any, n_embeddings: int | None = None) -> Check:
    """Compare sizes and special ids.

    Parameters
    ----------
    config : PretrainedConfig
    generation_config : GenerationConfig or None
    tokenizer : PreTrainedTokenizerBase
    n_embeddings : int, optional
        Rows of the model's input embeddings; ``config.vocab_size`` where None.
    """
    name = "model and tokenizer"
    rows = int(n_embeddings if n_embeddings is not None else config.vocab_size)
    size = len(tokenizer)
    ids = {
        kind: (
            getattr(config, f"{kind}_token_id", None),
            getattr(generation_config, f"{kind}_token_id", None),
            getattr(tokenizer, f"{kind}_token_id", None),
        )
        for kind in ("pad", "eos")
    }
    start = getattr(generation_config, "decoder_start_token_id", None)
    trained_from = getattr(config, "decoder_start_token_id", None)
    evidence: dict[str, Any] = {
        "embeddings": rows,
        "tokenizer": size,
        **{f"{kind}_token_id": list(values) for kind, values in ids.items()},
        "decoder_start_token_id": [trained_from, start],
    }
    wrong, ways, odd = [], [], []
    if size > rows:
        wrong.append(f"the tokenizer has {size:,} tokens, the model {rows:,} embeddings: the others break the training")
        ways.append("model.resize_token_embeddings(len(tokenizer)), or the tokenizer of this very model")
    if ids["pad"][2] is None:
        wrong.append("the tokenizer has no pad token: no batch can be made")
        ways.append("tokenizer.pad_token = tokenizer.eos_token, or one of its own")
    if trained_from is None:
        wrong.append("the config has no decoder_start_token_id: the decoder's inputs cannot be made of the labels")
        ways.append("model.config.decoder_start_token_id = tokenizer.pad_token_id for T5; BART has its eos_token_id")
    outside = [number for number in (trained_from, start) if isinstance(number, int) and not 0 <= number < rows]
    if outside:
        wrong.append(f"decoder_start_token_id {outside[0]} is none of the model's {rows:,} embeddings")
    if ids["eos"][2] is None:
        odd.append("the tokenizer has no end token: summaries are generated up to the limit")
    if isinstance(start, int) and isinstance(trained_from, int) and start != trained_from:
        odd.append(f"it is trained from decoder_start_token_id {trained_from} and generates from {start}")
    for kind, (of_config, of_generation, of_tokenizer) in ids.items():
        for where, value in (("the config", of_config), ("the generation config", of_generation)):
            known = value if isinstance(value, list) else [value]
            if value is not None and of_tokenizer is not None and of_tokenizer not in known:
                odd.append(f"{kind}_token_id is {value} in {where} and {of_tokenizer} in the tokenizer")
                break
    if wrong:
        return failed(name, f"{'; '.join([*wrong, *odd])}.", "; ".join(ways), **evidence)
    if odd:
        return warning(
            name, f"{'; '.join(odd)}.", "Take model and tokenizer from one place, or set these ids alike.", **evidence
        )
    spare = f" ({rows - size:,} spare)" if rows > size else ""
    return ok(
        name, f"{size:,} tokens, {rows:,} embeddings{spare}; pad, end and start of the decoder are set.", **evidence
    )
