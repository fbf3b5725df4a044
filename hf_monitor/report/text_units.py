"""Texts cut into what may not be cut further: characters as people see them, and words."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

__all__ = ["graphemes", "is_hangul", "words"]

#: Marks of speakers (``#Person1#``) and special tokens (``<unk>``, ``</s>``, ``<|end|>``): one word each.
_NAMED = re.compile(r"(#\w{1,40}#|<[\w/|]{1,40}>)")
_ZWNJ, _ZWJ = "\u200c", "\u200d"
_WITHIN_WORDS, _WITHIN_NUMBERS = frozenset("'’-"), frozenset(".,:")
#: Scripts without spaces between words: Thai to Myanmar, Khmer, kana, Han.
_ALONE = ((0x0E00, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
_HANGUL = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))


def _within(char: str, ranges: tuple[tuple[int, int], ...]) -> bool:
    code = ord(char)
    return any(first <= code <= last for first, last in ranges)


def is_hangul(text: str) -> bool:
    """Tell whether a text begins with a Korean letter or syllable."""
    return bool(text) and _within(text[0], _HANGUL)


def _joins(cluster: str, char: str) -> bool:
    """Tell whether `char` belongs to the character that `cluster` is so far (UAX #29 without its rarest rules)."""
    last, code = cluster[-1], ord(char)
    if last.isspace():
        return last == "\r" and char == "\n"
    if char in (_ZWJ, _ZWNJ) or last == _ZWJ or unicodedata.category(char)[0] == "M":
        return not char.isspace()
    if 0x1F3FB <= code <= 0x1F3FF or 0xE0020 <= code <= 0xE007F:  # skin tones, letters of a flag
        return True
    if 0x1F1E6 <= code <= 0x1F1FF:  # two letters are a flag
        return len(cluster) == 1 and 0x1F1E6 <= ord(last) <= 0x1F1FF
    if 0x1160 <= code <= 0x11FF or 0xD7B0 <= code <= 0xD7FF:  # a vowel or a final of a syllable in single letters
        return is_hangul(last)
    return False


def graphemes(text: str) -> list[str]:
    """Cut a text into characters as people see them; joined they are the text.

    Combining marks, emoji of several parts, flags and Korean syllables in single letters (NFD) stay whole.

    Examples
    --------
    >>> graphemes("e\u0301a")
    ['e\u0301', 'a']
    """
    if text.isascii() and "\r" not in text:
        return list(text)
    clusters: list[str] = []
    for char in text:
        if clusters and _joins(clusters[-1], char):
            clusters[-1] += char
        else:
            clusters.append(char)
    return clusters


def words(text: str) -> list[str]:
    """Cut a text into words, single signs and stretches of blanks; joined they are the text.

    A Korean word is one with its particle; Chinese, Japanese and Thai are cut into characters, since their words have
    no spaces between them. Numbers are cut from Korean words: ``5시`` is two.

    Examples
    --------
    >>> words("#Person1#은 2:30에 왔다.")
    ['#Person1#', '은', ' ', '2:30', '에', ' ', '왔다', '.']
    """
    found: list[str] = []
    for number, part in enumerate(_NAMED.split(text)):
        if number % 2:
            found.append(part)
        else:
            found += _plain_words(graphemes(part))
    return found


@lru_cache(4096)
def _kind(cluster: str) -> str:
    first = cluster[0]
    if first.isspace():
        return "blank"
    if _within(first, _HANGUL):
        return "hangul"
    if not (first.isalnum() or first == "_"):
        return "sign"
    return "alone" if _within(first, _ALONE) else "word"


def _plain_words(clusters: list[str]) -> list[str]:
    kinds = [_kind(cluster) for cluster in clusters]
    for i in [i for i, kind in enumerate(kinds) if kind == "sign" and 0 < i < len(kinds) - 1]:
        around = clusters[i - 1] + clusters[i + 1]
        if kinds[i - 1] == kinds[i + 1] == "word" and (
            (clusters[i] in _WITHIN_WORDS and around.isalpha()) or (clusters[i] in _WITHIN_NUMBERS and around.isdigit())
        ):
            kinds[i] = "word"
    found: list[str] = []
    for i, cluster in enumerate(clusters):
        if i and kinds[i] == kinds[i - 1] and kinds[i] in ("word", "hangul", "blank"):
            found[-1] += cluster
        else:
            found.append(cluster)
    return found
