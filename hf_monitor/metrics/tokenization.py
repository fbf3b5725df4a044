"""Which language a set of references is in and which tokenizers follow from it: decided once, then frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hf_monitor.errors import InputError
from hf_monitor.metrics.language import LANGUAGES, is_korean, judge_language
from hf_monitor.metrics.tokenizers import (
    KOREAN_TOKENIZERS,
    TextTokenizer,
    english_tokenizer,
    korean_tokenizer,
    require_kiwi,
)

__all__ = ["Tokenization", "check_choices", "resolve_tokenization"]


@dataclass(frozen=True)
class Tokenization:
    """The language of a set of references and the tokenizers that follow from it; never changed once made.

    Parameters
    ----------
    language
        ``"en"``, ``"ko"`` or ``"mixed"`` (each sample judged by its own references).
    judged
        True if the language was judged from references, False if the caller named it.
    english, korean
        The tokenizers in use; None where the language has no use for one.
    """

    language: str
    judged: bool
    english: TextTokenizer | None
    korean: TextTokenizer | None

    def pick(self, references: Sequence[str]) -> tuple[str, TextTokenizer]:
        """Give language and tokenizer of one sample, decided by its references and never by the prediction.

        Parameters
        ----------
        references
            The sample's references.

        Returns
        -------
        tuple of str and TextTokenizer
            ``("en" or "ko", tokenizer)``.
        """
        if self.korean is not None and (self.english is None or is_korean(references)):
            return "ko", self.korean
        assert self.english is not None  # one of the two is always there
        return "en", self.english

    @property
    def tokenizers(self) -> dict[str, TextTokenizer]:
        """The tokenizers in use by language, English first."""
        both = {"en": self.english, "ko": self.korean}
        return {language: tokenizer for language, tokenizer in both.items() if tokenizer is not None}

    @property
    def bleu_name(self) -> str:
        """Name of the tokenizer(s) in sacrebleu's signature."""
        names = [tokenizer.bleu_name for tokenizer in self.tokenizers.values()]
        return names[0] if len(names) == 1 else f"mixed({','.join(names)})"


def resolve_tokenization(
    references: Sequence[Sequence[str]], *, language: str = "auto", korean: str = "mecab", stem: bool = True
) -> tuple[Tokenization, list[str]]:
    """Decide language and tokenizers for a set of references.

    Parameters
    ----------
    references
        One list of texts per sample.
    language
        ``"auto"`` judges from the references (see `judge_language`); ``"en"``, ``"ko"`` and ``"mixed"`` are taken as
        they are.
    korean
        Name of the Korean tokenizer, see `korean_tokenizer`. Not loaded if no Korean is to be scored.
    stem
        Porter stemming for English; Korean is never stemmed.

    Returns
    -------
    tuple of Tokenization and list of str
        The decision, and warnings to show to the user.

    Raises
    ------
    InputError
        If ``language`` or ``korean`` is unknown.
    """
    check_choices(language, korean)
    decided = judge_language(references) if language == "auto" else language
    notes: list[str] = []
    korean_one: TextTokenizer | None = None
    if decided != "en":
        korean_one, note = korean_tokenizer(korean)
        if note:
            notes.append(note)
    english_one = english_tokenizer(stem) if decided != "ko" else None
    return Tokenization(decided, language == "auto", english_one, korean_one), notes


def check_choices(language: str, korean: str) -> None:
    """Refuse unknown names of language and Korean tokenizer.

    Parameters
    ----------
    language, korean
        As for `resolve_tokenization`.

    Raises
    ------
    InputError
        If one of them is unknown.
    MissingPackageError
        If ``"kiwi"`` was asked for and kiwipiepy is not installed: said now, not at the first evaluation.
    """
    if language not in LANGUAGES:
        raise InputError(f"language={language!r} is unknown; choose one of {', '.join(map(repr, LANGUAGES))}.")
    if korean not in KOREAN_TOKENIZERS:
        names = ", ".join(map(repr, KOREAN_TOKENIZERS))
        raise InputError(f"korean_tokenizer={korean!r} is unknown; choose one of {names}.")
    if korean == "kiwi":
        require_kiwi()
