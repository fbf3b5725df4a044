"""Which characters of some texts become an unknown token, and which are left out in silence."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from hf_monitor.preflight.thresholds import SCRIPT_COUNTS, SCRIPT_UNKNOWN_FAILED

__all__ = ["Unknown", "bare", "encode", "script_of", "unknown_by_offsets", "unknown_one_by_one"]

_HANGUL = re.compile("[가-힣ᄀ-ᇿ㄰-㆏ꥠ-꥿ힰ-퟿]")
_SCRIPTS = {
    "LATIN": "Latin", "CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "CYRILLIC": "Cyrillic", "GREEK": "Greek",
    "ARABIC": "Arabic", "HEBREW": "Hebrew", "THAI": "Thai", "DEVANAGARI": "Devanagari",
}  # fmt: skip
_SIGNS = "signs"  # and emoji
_DIGITS = "digits"


@dataclass(slots=True)
class Unknown:
    """What a tokenizer did not know.

    Attributes
    ----------
    n_tokens, n_unknown_tokens : int
    lost : Counter
        Characters that unknown tokens stand for, and those that no token stands for.
    n_dropped : int
        The latter: left out in silence, as a tokenizer without an unknown token does.
    characters : Counter
        Those of `lost` that stand in no known token of these texts.
    words : Counter
        Unknown words all of whose characters stand in known tokens elsewhere.
    texts_without : Counter
        By script: texts in which most of it is lost, of those that are written in it.
    tokens : Counter or None
        Tokens that begin in each script; None where the tokenizer does not say what a token stands for.
    """

    n_tokens: int = 0
    n_unknown_tokens: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    n_dropped: int = 0
    characters: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    texts_without: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] | None = None

    def add_text(self, text: str, lost: Counter[str]) -> None:
        """Add what is lost of one text."""
        if not lost:
            return
        self.lost.update(lost)
        there = _by_script(Counter(character for character in text if not character.isspace()))
        gone = _by_script(lost)
        self.texts_without.update(
            script
            for script, n in there.items()
            if script not in (_SIGNS, _DIGITS)
            and n >= SCRIPT_COUNTS * there.total()
            and gone[script] >= SCRIPT_UNKNOWN_FAILED * n
        )


@lru_cache(maxsize=65536)
def script_of(character: str) -> str:
    """Give the script of a character: ``"Hangul"``, ``"Latin"``, ``"digits"``, ``"signs"``, ``"other"`` ..."""
    if _HANGUL.match(character):
        return "Hangul"
    if character.isdecimal():
        return _DIGITS
    if not character.isalpha():
        return _SIGNS
    return _SCRIPTS.get(unicodedata.name(character, "").partition(" ")[0], "other")


def encode(tokenizer: Any, texts: Sequence[str], *, target: bool, special: bool = True, offsets: bool = False) -> Any:
    """Encode texts whole, without the tokenizer's word about long ones."""
    given: dict[str, Any] = {"text_target": list(texts)} if target else {"text": list(texts)}
    if offsets:
        given["return_offsets_mapping"] = True
    return tokenizer(**given, add_special_tokens=special, truncation=False, verbose=False)


def bare(text: str) -> str:
    """Leave out what tokenizers change on purpose: blanks, letter case, compatibility forms."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def unknown_by_offsets(tokenizer: Any, texts: Sequence[str], target: bool, unknown_id: int | None) -> Unknown:
    """Look at what each token stands for (``is_fast``)."""
    encoded = encode(tokenizer, texts, target=target, special=False, offsets=True)
    found = Unknown(tokens=Counter())
    known: set[str] = set()
    spans_unknown: Counter[str] = Counter()
    ids_there = list({token for ids in encoded["input_ids"] for token in ids})
    names = tokenizer.convert_ids_to_tokens(ids_there)
    # Sentencepiece's sign of a blank stands before a word and points to its first character, known or not.
    blanks = {token for token, name in zip(ids_there, names, strict=True) if not str(name).strip("▁ ")}
    for text, ids, spans in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        found.n_tokens += len(ids)
        lost: Counter[str] = Counter()
        covered = bytearray(len(text))
        for token, (start, end) in zip(ids, spans, strict=True):
            span = text[start:end].strip()
            if token not in blanks:
                covered[start:end] = b"\1" * (end - start)
            if token == unknown_id:
                found.n_unknown_tokens += 1
                spans_unknown[span] += 1
                lost.update(character for character in span if not character.isspace())
            elif token not in blanks:
                known.update(span)
            if span and found.tokens is not None:
                found.tokens[script_of(span[0])] += 1
        if any(not there and _says_something(character) for there, character in zip(covered, text, strict=True)):
            dropped = _dropped(tokenizer, text, [token for token in ids if token != unknown_id], lost)
            found.n_dropped += dropped.total()
            found.characters.update(dropped)
            lost += dropped
        found.add_text(text, lost)
    for span, n in spans_unknown.items():
        never = [character for character in span if not character.isspace() and character not in known]
        if not never:
            found.words[span] += n
        for character in never:
            found.characters[character] += n
    return found


def unknown_one_by_one(tokenizer: Any, texts: Sequence[str], target: bool, unknown_id: int | None) -> Unknown:
    """Encode each character alone: for a tokenizer that does not say what a token stands for."""
    encoded = encode(tokenizer, texts, target=target, special=False)["input_ids"]
    found = Unknown(sum(map(len, encoded)), sum(list(ids).count(unknown_id) for ids in encoded))
    names = list(dict.fromkeys(character for text in texts for character in text if _says_something(character)))
    each = encode(tokenizer, names, target=target, special=False)["input_ids"] if names else []
    unknown = {name for name, ids in zip(names, each, strict=True) if unknown_id in ids or not ids}
    for text in texts:
        found.add_text(text, Counter(character for character in text if character in unknown))
    found.n_dropped = sum(found.lost[name] for name, ids in zip(names, each, strict=True) if not ids)
    found.characters = found.lost
    return found


def _dropped(tokenizer: Any, text: str, known: Sequence[int], unknown: Counter[str]) -> Counter[str]:
    """Say which characters do not come back. Offsets only tell that there are some: behind a gap they are shifted."""
    back = str(tokenizer.decode(known, skip_special_tokens=False))
    missing = Counter(bare(text)) - Counter(bare(back)) - Counter(bare("".join(unknown.elements())))
    return Counter({character: n for character, n in missing.items() if _says_something(character)})


def _says_something(character: str) -> bool:
    """Leave out blanks, controls and combining marks, which normalizers take away on purpose."""
    return not character.isspace() and unicodedata.category(character)[0] not in "CM"


def _by_script(characters: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for character, n in characters.items():
        found[script_of(character)] += n
    return found
