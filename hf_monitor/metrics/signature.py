"""The words that go with a score: without them two ROUGE values cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_monitor._version import __version__
from hf_monitor.metrics.tokenization import Tokenization

__all__ = ["Signature", "make_signature"]


class Signature(dict[str, Any]):
    """How scores were computed: a plain dict for ``run.json``, one readable line as ``str()``."""

    def __str__(self) -> str:
        """Join all facts into one line, ROUGE first."""
        rouge = "|".join(f"{key}:{_words(value)}" for key, value in self.get("rouge", {}).items())
        parts = [f"ROUGE|{rouge}"] if rouge else []
        if "bleu" in self:
            parts.append(f"BLEU|{self['bleu']}")
        parts += [f"{key}:{_words(value)}" for key, value in self.items() if key not in {"rouge", "bleu"}]
        return " ; ".join(parts)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={inner}" for key, inner in value.items())
    return str(value)


def make_signature(
    tokenization: Tokenization,
    references: Sequence[Sequence[str]],
    *,
    multi_reference: str,
    split_sentences: bool,
    bleu: str,
    intervals: str | None = None,
) -> Signature:
    """Write down how ROUGE and BLEU were computed.

    Parameters
    ----------
    tokenization
        Language and tokenizers in use.
    references
        One list per sample; their numbers are part of the signature.
    multi_reference
        ``"max"`` or ``"mean"``.
    split_sentences
        Whether ROUGE-Lsum cut lines into sentences.
    bleu
        sacrebleu's signature.
    intervals
        How confidence intervals were made, if they were.

    Returns
    -------
    Signature
        ``{"rouge": {...}, "bleu": "..."}``.
    """
    numbers = {len(texts) for texts in references}
    count = str(numbers.pop()) if len(numbers) == 1 else "var"
    in_use = tokenization.tokenizers
    rouge: dict[str, Any] = {
        "metric": "rouge1,rouge2,rougeL,rougeLsum (F1, 0-100); score = mean of rouge1,rouge2,rougeL",
        "language": f"{tokenization.language} ({'judged from the references' if tokenization.judged else 'given'})",
        "tokenizer": {language: tokenizer.name for language, tokenizer in in_use.items()},
        "normalisation": {language: tokenizer.normalisation for language, tokenizer in in_use.items()},
        "stemming": {language: tokenizer.stemming for language, tokenizer in in_use.items()},
        "sentences": "lines, cut at . ! ? (regex)" if split_sentences else "lines",
        "references": count if count == "1" else f"{count}, {multi_reference}",
        "aggregation": "mean over samples",
    }
    if tokenization.language == "mixed":
        rouge["by_sample"] = "each by the language of its references (ko from 10 % Hangul letters on)"
    if intervals:
        rouge["intervals"] = intervals
    rouge["hf_monitor"] = __version__
    return Signature(rouge=rouge, bleu=bleu)
