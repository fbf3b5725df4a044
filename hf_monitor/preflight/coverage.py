"""Does a tokenizer have the characters of some texts: what is unknown, what is lost, how many tokens one costs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["Coverage", "RoundTrip", "Script", "cover", "encode", "round_trip", "script_of"]

_HANGUL = re.compile("[가-힣ᄀ-ᇿ㄰-㆏ꥠ-꥿ힰ-퟿]")
_SCRIPTS = {
    "LATIN": "Latin", "CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "CYRILLIC": "Cyrillic", "GREEK": "Greek",
    "ARABIC": "Arabic", "HEBREW": "Hebrew", "THAI": "Thai", "DEVANAGARI": "Devanagari",
}  # fmt: skip
_SIGNS = "signs"  # and emoji


@dataclass(frozen=True, slots=True)
class Script:
    """What a tokenizer does with the characters of one script.

    Attributes
    ----------
    n_characters, n_unknown : int
        Characters, and those of them that became an unknown token.
    n_tokens : int or None
        Tokens that begin in this script; None where the tokenizer does not say what a token stands for.
    """

    n_characters: int
    n_unknown: int
    n_tokens: int | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a tokenizer does with some texts.

    Attributes
    ----------
    n_texts, n_characters, n_tokens : int
        Characters without blanks; tokens without those that end or begin a text.
    n_unknown_tokens, n_unknown : int
        Unknown tokens, and the characters that they stand for: a whole word may be one such token.
    has_unknown : bool
        Whether the tokenizer has an unknown token at all; if not it works on bytes, or leaves out in silence.
    scripts : dict of str to Script
        ``"Hangul"``, ``"Latin"``, ``"digits"``, ``"signs"`` ..., the most frequent first.
    unknown : list of (str, int)
        The unknown characters, the most frequent first, with how often they stand there; ten at most.
    """

    n_texts: int
    n_characters: int
    n_tokens: int
    n_unknown_tokens: int
    n_unknown: int
    has_unknown: bool
    scripts: dict[str, Script]
    unknown: list[tuple[str, int]]

    @property
    def share_unknown(self) -> float:
        """Share of the characters, 0 to 1."""
        return self.n_unknown / self.n_characters if self.n_characters else 0.0


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What is left of some texts after encoding and decoding them, as an evaluation does with the summaries.

    Attributes
    ----------
    n_texts, n_differ : int
        Texts, and those whose characters came back otherwise (blanks, letter case and compatibility forms aside).
    n_characters, n_lost : int
        Characters without blanks, and those that did not come back.
    lost : list of (str, int)
        The characters that did not come back, the most frequent first; ten at most.
    case_lost, line_breaks_lost : bool
        Whether upper case and line breaks are gone in each text that had them.
    special : list of str
        Special tokens of the tokenizer that stand in the texts: ``skip_special_tokens`` takes them out.
    """

    n_texts: int
    n_differ: int
    n_characters: int
    n_lost: int
    lost: list[tuple[str, int]]
    case_lost: bool
    line_breaks_lost: bool
    special: list[str]


@lru_cache(maxsize=65536)
def script_of(character: str) -> str:
    """Give the script of a character: ``"Hangul"``, ``"Latin"``, ``"digits"``, ``"signs"``, ``"other"`` ..."""
    if _HANGUL.match(character):
        return "Hangul"
    if character.isdecimal():
        return "digits"
    if not character.isalpha():
        return _SIGNS
    return _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0], "other")


def encode(tokenizer: Any, texts: Sequence[str], *, target: bool, special: bool = True, offsets: bool = False) -> Any:
    """Encode texts whole, without the tokenizer's word about long ones."""
    given: dict[str, Any] = {"text_target": list(texts)} if target else {"text": list(texts)}
    if offsets:
        given["return_offsets_mapping"] = True
    return tokenizer(**given, add_special_tokens=special, truncation=False, verbose=False)


def cover(tokenizer: Any, texts: Sequence[str], *, target: bool = False) -> Coverage:
    """Look how a tokenizer takes some texts.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    texts : sequence of str
    target : bool
        Whether they are encoded as targets (``text_target``).

    Returns
    -------
    Coverage
        Of a tokenizer that does not say which characters a token stands for (``is_fast`` is False), unknown characters
        are found by encoding each alone.
    """
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    characters = Counter(character for text in texts for character in text if not character.isspace())
    by_script: Counter[str] = Counter()
    for character, n in characters.items():
        by_script[script_of(character)] += n
    if getattr(tokenizer, "is_fast", False):
        n_tokens, n_unknown_tokens, unknown, tokens = _with_offsets(tokenizer, texts, target, unknown_id)
    else:
        n_tokens, n_unknown_tokens, unknown = _alone(tokenizer, texts, target, unknown_id, characters)
        tokens = None
    unknown_by_script: Counter[str] = Counter()
    for character, n in unknown.items():
        unknown_by_script[script_of(character)] += n
    return Coverage(
        n_texts=len(texts),
        n_characters=characters.total(),
        n_tokens=n_tokens,
        n_unknown_tokens=n_unknown_tokens,
        n_unknown=unknown.total(),
        has_unknown=unknown_id is not None,
        scripts={
            name: Script(n, unknown_by_script[name], None if tokens is None else tokens[name])
            for name, n in by_script.most_common()
        },
        unknown=unknown.most_common(10),
    )


def _with_offsets(
    tokenizer: Any, texts: Sequence[str], target: bool, unknown_id: int | None
) -> tuple[int, int, Counter[str], Counter[str]]:
    found = encode(tokenizer, texts, target=target, special=False, offsets=True)
    unknown: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    n_tokens = n_unknown = 0
    for text, ids, spans in zip(texts, found["input_ids"], found["offset_mapping"], strict=True):
        n_tokens += len(ids)
        for token, (start, end) in zip(ids, spans, strict=True):
            span = text[start:end].strip()
            if token == unknown_id:
                n_unknown += 1
                unknown.update(character for character in span if not character.isspace())
            if span:
                tokens[script_of(span[0])] += 1
    return n_tokens, n_unknown, unknown, tokens


def _alone(
    tokenizer: Any, texts: Sequence[str], target: bool, unknown_id: int | None, characters: Counter[str]
) -> tuple[int, int, Counter[str]]:
    found = encode(tokenizer, texts, target=target, special=False)["input_ids"]
    n_unknown = sum(ids.count(unknown_id) for ids in found)
    unknown: Counter[str] = Counter()
    if unknown_id is not None:
        names = list(characters)
        each = encode(tokenizer, names, target=target, special=False)["input_ids"]
        unknown.update({name: characters[name] for name, ids in zip(names, each, strict=True) if unknown_id in ids})
    return sum(map(len, found)), n_unknown, unknown


def round_trip(tokenizer: Any, texts: Sequence[str], *, target: bool = True) -> RoundTrip:
    """Encode and decode texts, and compare.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
    texts : sequence of str
    target : bool
        Whether they are encoded as targets.
    """
    ids = encode(tokenizer, texts, target=target)["input_ids"]
    back = [str(text) for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    lost: Counter[str] = Counter()
    n_differ = n_characters = 0
    for text, decoded in zip(texts, back, strict=True):
        before, after = _bare(text), _bare(decoded)
        n_characters += len(before)
        if before != after:
            missing = Counter(before) - Counter(after)
            lost.update(missing)
            n_differ += 1
    upper = [decoded for text, decoded in zip(texts, back, strict=True) if text != text.lower()]
    broken = [decoded for text, decoded in zip(texts, back, strict=True) if "\n" in text.strip()]
    return RoundTrip(
        n_texts=len(texts),
        n_differ=n_differ,
        n_characters=n_characters,
        n_lost=lost.total(),
        lost=lost.most_common(10),
        case_lost=bool(upper) and all(decoded == decoded.lower() for decoded in upper),
        line_breaks_lost=bool(broken) and not any("\n" in decoded for decoded in broken),
        special=[token for token in tokenizer.all_special_tokens if any(token in text for text in texts)],
    )


def _bare(text: str) -> str:
    """Leave out what tokenizers change on purpose: blanks, letter case, compatibility forms."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
