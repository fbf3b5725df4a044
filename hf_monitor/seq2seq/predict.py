"""``predict_texts``: texts -> generated texts, each with how sure the model was."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.confidence import BatchConfidence, watched_generation

__all__ = ["GeneratedText", "confidence_values", "predict_texts"]

_SPEAKER_MARK = re.compile(r"#Person\d+#")
_OURS = {"inputs", "input_ids", "attention_mask", "decoder_input_ids", "labels", "encoder_outputs"}
_NOT_FOLLOWED = ("assistant_model", "prompt_lookup_num_tokens", "custom_generate", "streamer")


@dataclass(frozen=True)
class GeneratedText:
    """A generated text.

    Parameters
    ----------
    text : str
        Without special tokens (speaker marks such as ``#Person1#`` stay) and without surrounding blanks.
    confidence : float or None
        Mean probability that the model gave the tokens it generated, 0 to 1; see `predict_texts`. None where there are
        none, or where the model gave no finite number.
    n_tokens : int
        How many tokens that is the mean of: those generated, the end of the text included. A text that is empty because
        the model ended it at once has 1.
    ended : bool
        Whether the model ended the text itself. False: it was cut, at the greatest length, by ``max_time`` or at a stop
        string.
    input : str
        The text that was given, without the prefix, not cut.
    input_cut : bool
        Whether the model saw only the beginning of it (``max_source_length``).
    """

    text: str
    confidence: float | None
    n_tokens: int
    ended: bool
    input: str
    input_cut: bool = False


def confidence_values(batch: BatchConfidence) -> list[dict[str, Any]]:
    """Give plain values for each sequence of a batch: ``confidence`` (a float or None), ``n_tokens``, ``ended``."""
    columns = zip(batch.confidence.tolist(), batch.n_tokens.tolist(), batch.ended.tolist(), strict=True)
    return [
        {"confidence": value if math.isfinite(value) else None, "n_tokens": int(n), "ended": bool(ended)}
        for value, n, ended in columns
    ]


def predict_texts(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    batch_size: int = 16,
    source_prefix: str = "",
    max_source_length: int | None = None,
    device: Any = None,
    progress: bool = False,
    **generate_kwargs: Any,
) -> list[GeneratedText]:
    """Generate a text for each text, and say how sure the model was of each.

    The confidence is the mean, over the generated tokens, of the probability that the model gave to each: its own, from
    the logits of the very generation, in float32. So temperature, top-k, ``min_length`` and banned tokens do not change
    it, and under beam search it is that of the beam that was chosen. The end of the text counts as a token; padding,
    the decoder's start and tokens that the generation forced (``forced_bos_token_id``, ``forced_eos_token_id`` at the
    greatest length) do not. It says how sure the model was of its words, not whether they are right.

    Texts of like length are generated together, which is faster; results come in the order of the texts. The model's
    mode (train or eval), its generation config and, unless ``do_sample`` draws from them, the random numbers are
    afterwards as before.

    Memory: what ``generate`` needs for `batch_size` texts, and once more the logits of one step (`batch_size` x beams x
    vocabulary). The logits of all steps are never kept.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        An encoder-decoder model.
    tokenizer : PreTrainedTokenizerBase
        Its own; languages are set already (mBART's ``src_lang``).
    texts : sequence of str
        May be empty.
    batch_size : int
        Texts at once.
    source_prefix : str
        Stands before each text: ``"summarize: "`` for T5's own checkpoints.
    max_source_length : int, optional
        Texts are cut at so many tokens, the end included. Default: 1024, or what model and tokenizer can take.
    device : torch.device or str, optional
        Where the inputs go; the model's own by default. The model is not moved.
    progress : bool
        Show a progress bar.
    **generate_kwargs
        For ``model.generate``: ``num_beams``, ``max_new_tokens``, ``do_sample``, ``stop_strings`` ... What is not named
        is as in the model's generation config.

    Returns
    -------
    list of GeneratedText
        One a text, in the same order.

    Raises
    ------
    InputError
        If `texts` is no sequence of str, the model is no encoder-decoder model, an option cannot be used, or several
        texts a text are asked for.

    Examples
    --------
    >>> found = predict_texts(model, tokenizer, dialogues, num_beams=4, max_new_tokens=60)  # doctest: +SKIP
    >>> min(found, key=lambda one: one.confidence or 0).text  # doctest: +SKIP
    """
    import torch

    from hf_monitor.seq2seq.preprocessing import Preprocessor, longest_source

    texts = _checked(texts)
    for name, given, needed in (("model", model, "config"), ("tokenizer", tokenizer, "batch_decode")):
        if not hasattr(given, needed):
            raise InputError(
                f"{name} has no {needed}: got {given!r:.80}. predict_texts(model, tokenizer, texts) takes a loaded "
                "model and its tokenizer, in this order."
            )
    _check_options(model, batch_size, max_source_length, generate_kwargs)
    if _setting("stop_strings", model, generate_kwargs):  # which generate looks for in the words of the tokenizer
        generate_kwargs["tokenizer"] = tokenizer
    if not texts:
        return []
    encode = Preprocessor(tokenizer, model, max_source_length or longest_source(model, tokenizer), 2, source_prefix)
    columns = encode.encode({"text": texts})
    cut = columns.pop("text_cut")
    for index, ids in enumerate(columns["input_ids"]):
        if not ids:  # KoBART's tokenizer ends no text; attention to nothing at all would be NaN
            columns["input_ids"][index], columns["attention_mask"][index] = [_end_of(tokenizer)], [1]
    order = sorted(range(len(texts)), key=lambda index: len(columns["input_ids"][index]), reverse=True)
    place = next(model.parameters()).device if device is None else torch.device(device)
    decode = _Decoder(tokenizer)
    found: list[GeneratedText | None] = [None] * len(texts)
    batches: list[BatchConfidence] = []
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.no_grad(), watched_generation(model, batches.append), _bar(progress, len(texts)) as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                samples = {name: [values[index] for index in chosen] for name, values in columns.items()}
                inputs = tokenizer.pad(samples, return_tensors="pt").to(place)
                generated = model.generate(**inputs, **generate_kwargs)
                ids = getattr(generated, "sequences", generated)
                if len(ids) != len(chosen):
                    raise InputError(_SEVERAL.format(n=len(ids) // len(chosen)))
                values = confidence_values(batches.pop())
                for index, text, value in zip(chosen, decode(ids), values, strict=True):
                    found[index] = GeneratedText(text=text, input=texts[index], input_cut=bool(cut[index]), **value)
                if bar is not None:
                    bar.update(len(chosen))
    finally:
        for module, mode in modes:
            module.training = mode
    return [one for one in found if one is not None]


_SEVERAL = (
    "predict_texts gives one text for each, got num_return_sequences={n}: leave it out (also of the generation "
    "config), or give each text so often."
)


def _checked(texts: Any) -> list[str]:
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise InputError(f"texts must be a list of texts, got {type(texts).__name__}. One text: [text].")
    found = list(texts)
    for index, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"texts[{index}] must be a text, got {text!r:.80}. Leave it out, or give ''.")
    return [str(text) for text in found]


def _check_options(model: Any, batch_size: Any, max_source_length: Any, options: dict[str, Any]) -> None:
    for name, value, least in (("batch_size", batch_size, 1), ("max_source_length", max_source_length, 2)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole and value >= least) and not (value is None and name != "batch_size"):
            raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")
    if not getattr(model.config, "is_encoder_decoder", False):
        raise InputError(f"predict_texts needs an encoder-decoder model (T5, BART ...), got {type(model).__name__}.")
    for name in options:
        if name in _OURS:
            raise InputError(f"predict_texts makes {name} from the texts: leave it out.")
        if name in _NOT_FOLLOWED and options[name] is not None:
            raise InputError(f"the confidence cannot be told with {name}: leave it out, or call model.generate.")
    n = _setting("num_return_sequences", model, options) or 1
    if n != 1:
        raise InputError(_SEVERAL.format(n=n))


def _setting(name: str, model: Any, options: dict[str, Any]) -> Any:
    config = options.get("generation_config") or model.generation_config
    return options.get(name) or getattr(config, name, None)


def _bar(progress: bool, n: int) -> Any:
    if not progress:
        return nullcontext()
    from transformers.utils import logging

    return logging.tqdm(total=n, unit="text", desc="generating")


def _end_of(tokenizer: Any) -> int:
    end = tokenizer.eos_token_id
    return int(tokenizer.pad_token_id if end is None else end)


class _Decoder:
    """Ids -> texts, with speaker marks also where they were added as special tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        special = list(getattr(tokenizer, "all_special_ids", ()))
        marks = zip(special, tokenizer.convert_ids_to_tokens(special), strict=True)
        dropped = {number for number, token in marks if not _SPEAKER_MARK.fullmatch(str(token).strip())}
        self.kept = set(tokenizer.get_vocab().values()) - dropped  # T5's output is wider than its vocabulary

    def __call__(self, ids: Any) -> list[str]:
        rows = [[number for number in row if number in self.kept] for row in ids.tolist()]
        return [str(text).strip() for text in self.tokenizer.batch_decode(rows, skip_special_tokens=False)]
