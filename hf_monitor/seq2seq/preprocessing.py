"""Texts and references -> a data set of token ids for a seq2seq Trainer."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.columns import Pairs

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_monitor.seq2seq.arguments import DataArguments

__all__ = ["Encoded", "Preprocessor", "longest_source", "max_positions", "seq2seq_collator", "settle_lengths"]


def max_positions(config: Any) -> int | None:
    """Give the most tokens that a model's learned positions allow; None where it has no such bound (T5)."""
    if getattr(config, "relative_attention_num_buckets", None):
        return None
    for name in ("max_encoder_position_embeddings", "max_position_embeddings", "n_positions"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def longest_source(model: Any, tokenizer: Any) -> int:
    """Give at how many tokens a text is cut where nobody says: 1024, or what the model and its tokenizer can take."""
    return int(min(1024, tokenizer.model_max_length, max_positions(model.config) or 1024))


def settle_lengths(args: DataArguments, model: Any, tokenizer: Any) -> None:
    """Fill in the lengths that were not given; refuse those that the model cannot take.

    Parameters
    ----------
    args : DataArguments
        ``max_source_length``, ``max_target_length`` and ``val_max_target_length`` are set, in tokens.
    model : PreTrainedModel
        Its config may bound them.
    tokenizer : PreTrainedTokenizerBase
        Its ``model_max_length`` bounds what was not given.

    Raises
    ------
    InputError
        If a given length exceeds the model's positions.
    """
    most = max_positions(model.config)
    limits = [tokenizer.model_max_length] if most is None else [tokenizer.model_max_length, most]
    for name, usual in (("max_source_length", 1024), ("max_target_length", 128), ("val_max_target_length", None)):
        given = getattr(args, name)
        if given is None:
            setattr(args, name, args.max_target_length if usual is None else int(min(usual, *limits)))
        elif most is not None and given > most:
            raise InputError(f"--{name} {given} is more than the {most} positions of {type(model).__name__}.")


@dataclass(frozen=True)
class Encoded:
    """A data set ready for a Trainer.

    Parameters
    ----------
    dataset : datasets.Dataset
        ``input_ids``, ``attention_mask``, and where there are summaries ``labels`` and ``references`` (a list of texts
        a sample, for the scores).
    n_texts_cut, n_summaries_cut : int
        How many were longer than allowed.
    """

    dataset: Dataset
    n_texts_cut: int
    n_summaries_cut: int


class Preprocessor:
    """Turns texts into what a model's ``forward`` takes.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Languages are set already (`hf_monitor.seq2seq.languages`).
    model : PreTrainedModel
        Columns that its ``forward`` does not name are left out (KoBART's tokenizer gives ``token_type_ids``).
    max_source_length, max_target_length : int
        In tokens, the end of the text included; what is longer is cut.
    source_prefix : str
        Stands before each text: ``"summarize: "`` for T5's own checkpoints.

    Raises
    ------
    InputError
        If the tokenizer has no pad token, or a length is not positive.
    """

    def __init__(
        self, tokenizer: Any, model: Any, max_source_length: int, max_target_length: int, source_prefix: str = ""
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise InputError(f"{type(tokenizer).__name__} has no pad token: set one and save the tokenizer.")
        for name, value in (("max_source_length", max_source_length), ("max_target_length", max_target_length)):
            if value < 2:
                raise InputError(f"--{name} {value} is too short: a text and its end need at least 2 tokens.")
        self.tokenizer = tokenizer
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.source_prefix = source_prefix
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._taken = set(inspect.signature(base.forward).parameters)
        # KoBART's tokenizer ends no text. A summary without an end teaches the model never to stop.
        self.adds_end = (
            tokenizer.eos_token_id is not None
            and tokenizer.eos_token_id not in (tokenizer(text_target="a")["input_ids"])
        )

    def _labels(self, summaries: list[str], max_length: int) -> list[list[int]]:
        room = max_length - 1 if self.adds_end else max_length
        found: list[list[int]] = self.tokenizer(text_target=summaries, max_length=room, truncation=True)["input_ids"]
        return [[*ids, self.tokenizer.eos_token_id] for ids in found] if self.adds_end else found

    def _cut(self, lengths: list[int], texts: list[str], max_length: int, target: bool) -> list[bool]:
        """Say which texts were cut: of those that fill the room, the ones that would fill one token more."""
        full = [i for i, n in enumerate(lengths) if n >= max_length]
        cut = [False] * len(texts)
        if full:
            again = [texts[i] for i in full]
            longer = (
                self._labels(again, max_length + 1)
                if target
                else self.tokenizer(again, max_length=max_length + 1, truncation=True)["input_ids"]
            )
            for i, ids in zip(full, longer, strict=True):
                cut[i] = len(ids) > max_length
        return cut

    def encode(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Encode a batch of ``text`` and, where there is, ``references``; the first reference becomes the label."""
        texts = [self.source_prefix + text for text in batch["text"]]
        inputs = self.tokenizer(texts, max_length=self.max_source_length, truncation=True)
        found: dict[str, list[Any]] = {name: ids for name, ids in inputs.items() if name in self._taken}
        lengths = [len(ids) for ids in inputs["input_ids"]]
        found["text_cut"] = self._cut(lengths, texts, self.max_source_length, target=False)
        if "references" in batch:
            summaries = [references[0] for references in batch["references"]]
            found["labels"] = self._labels(summaries, self.max_target_length)
            lengths = [len(ids) for ids in found["labels"]]
            found["summary_cut"] = self._cut(lengths, summaries, self.max_target_length, target=True)
        return found

    def __call__(self, pairs: Pairs, *, n_workers: int | None = None, description: str = "tokenizing") -> Encoded:
        """Encode a whole set.

        Parameters
        ----------
        pairs : Pairs
            Texts and references.
        n_workers : int, optional
            Processes; one where it is None.
        description : str
            Shown by the progress bar.
        """
        from datasets import Dataset

        columns: dict[str, list[Any]] = {"text": pairs.texts}
        if pairs.references is not None:
            columns["references"] = pairs.references
        dataset = Dataset.from_dict(columns).map(
            self.encode, batched=True, num_proc=n_workers, remove_columns=["text"], desc=description
        )
        counts = {name: sum(dataset[name]) for name in ("text_cut", "summary_cut") if name in dataset.column_names}
        return Encoded(dataset.remove_columns(list(counts)), counts.get("text_cut", 0), counts.get("summary_cut", 0))


def seq2seq_collator(tokenizer: Any, model: Any, pad_to_multiple_of: int | None = None) -> Any:
    """Make a collator that pads labels with -100 and gives no ``labels`` at all where the data has none.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Pads the inputs.
    model : PreTrainedModel
        Makes the decoder's inputs from the labels.
    pad_to_multiple_of : int, optional
        For tensor cores in half precision: 8.

    Returns
    -------
    callable
        List of samples -> batch.
    """
    from transformers import DataCollatorForSeq2Seq

    collate = DataCollatorForSeq2Seq(
        tokenizer, model=model, label_pad_token_id=-100, pad_to_multiple_of=pad_to_multiple_of
    )

    def collator(features: list[dict[str, Any]]) -> Any:
        batch = collate(features)
        if batch.get("labels") is None:  # transformers leaves None there, which Seq2SeqTrainer takes for labels
            batch.pop("labels", None)
        return batch

    return collator
