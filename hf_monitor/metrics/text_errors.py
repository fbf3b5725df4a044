"""What is wrong with a generated text, by the text alone: empty, repeated, copied, cut off, far from its length."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

__all__ = [
    "ERROR_KINDS",
    "Copied",
    "copied",
    "has_loop",
    "repetition",
    "shared_texts",
    "text_errors",
    "without_blanks",
    "words",
]

#: Kind of error -> what it means, from the gravest to the mildest.
ERROR_KINDS = {
    "empty": "nothing but blanks",
    "repetition": "a fifth of its 4-grams, or more, were there before; or a loop: one piece four times in a row",
    "same text": "the same text for three or more different inputs",
    "at the limit": "the length limit ended it, not the model",
    "copied": "mostly one run of words of its input",
    "too short": "less than half as long as its reference",
    "too long": "more than twice as long as its reference",
}

REPETITION_N = 4
REPETITION_SHARE = 0.2
COPIED_SHARE = 0.5
COPIED_WORDS = 5
SAME_TEXTS = 3
TOO_SHORT, TOO_LONG = 0.5, 2.0
# Bounds of what is compared: the search takes their product in steps where all words are the same.
_PREDICTION_WORDS, _INPUT_WORDS = 512, 4096
_LOOP_CHARACTERS = 4000
_LOOP_WIDTH = 4

# Scripts without blanks between words (Thai, Lao, Burmese, Khmer, Japanese, Chinese): each character is a word.
_NO_BLANKS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_NO_BLANKS}]|[^\W{_NO_BLANKS}]+")
_NO_BLANK = re.compile(f"[{_NO_BLANKS}]")
#: Characters of these scripts that stand for a word of others.
_CHARACTERS_A_WORD = 2
_LOOP = re.compile(r"(\S.{1,29}?)\1{3,}", re.DOTALL)


class Copied(NamedTuple):
    """How much of a text comes from its input, after Grusky et al. (2018).

    Attributes
    ----------
    coverage : float
        Share of the words that lie in copied fragments, 0 to 1.
    density : float
        Mean length of the fragment that a word lies in, in words (words outside of fragments count 0).
    n_words : int
        Words of the text that were looked at.
    """

    coverage: float
    density: float
    n_words: int


def words(text: str) -> list[str]:
    """Cut a text into lower-case words: runs of letters, digits and ``_``. Korean is cut at its blanks (eojeol).

    Of scripts without blanks between words (Japanese, Chinese, Thai ...) each character counts as a word.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
    """
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def without_blanks(text: str) -> bool:
    """Tell whether most letters of a text are of scripts without blanks between words (Japanese, Chinese, Thai ...)."""
    return 2 * len(_NO_BLANK.findall(text)) > sum(map(str.isalpha, text))


def repetition(text: str, n: int = REPETITION_N) -> float | None:
    """Compute the share of n-grams that repeat an earlier one: ``seq-rep-n`` of Welleck et al. (2020).

    Parameters
    ----------
    text : str
    n : int
        Words of an n-gram.

    Returns
    -------
    float or None
        1 - unique n-grams / all n-grams, 0 to 1; None where the text has fewer than `n` words.

    References
    ----------
    Welleck et al. (2020), Neural text generation with unlikelihood training. ICLR.
    """
    tokens = words(text)
    total = len(tokens) - n + 1
    if total < 1:
        return None
    return (total - len({tuple(tokens[i : i + n]) for i in range(total)})) / total


def has_loop(text: str) -> bool:
    """Tell whether a piece of up to 30 characters stands four times in a row, as in degenerate texts (Holtzman 2020).

    Works where there are no blanks between words. The piece has at least two different letters, and is at least as wide
    as four Latin letters or two Korean syllables: laughter (``hahahaha``, also in jamo), dashes and digits
    (``10,000,000,000,000``) are no loops. The first 4,000 characters are looked at.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool

    References
    ----------
    Holtzman et al. (2020), The curious case of neural text degeneration. ICLR.
    """
    return any(_is_loop(found[1]) for found in _LOOP.finditer(text[:_LOOP_CHARACTERS]))


def _is_loop(piece: str) -> bool:
    letters = {char for char in piece if char.isalpha() and not "\u3131" <= char <= "\u318e"}  # jamo laugh and weep
    width = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in piece)
    return len(letters) > 1 and width >= _LOOP_WIDTH


def copied(prediction: str, input: str) -> Copied:
    """Measure the extractive fragments of a text: the runs of words that it shares with its input.

    Fragments are found greedily, the longest at each place, as in figure 3 of the paper. The first 512 words of the
    prediction and 4,096 of the input are compared.

    Parameters
    ----------
    prediction, input : str

    Returns
    -------
    Copied

    References
    ----------
    Grusky, Naaman and Artzi (2018), Newsroom: a dataset of 1.3 million summaries with diverse extractive strategies.
    NAACL.
    """
    own, source = words(prediction)[:_PREDICTION_WORDS], words(input)[:_INPUT_WORDS]
    places: dict[str, list[int]] = defaultdict(list)
    for place, word in enumerate(source):
        places[word].append(place)
    fragments: list[int] = []
    i = 0
    while i < len(own):
        longest = 0
        for j in places.get(own[i], ()):
            # Only a place where the fragment would become longer is walked through.
            if longest and (j + longest >= len(source) or source[j + longest] != _at(own, i + longest)):
                continue
            length = 1
            while i + length < len(own) and j + length < len(source) and own[i + length] == source[j + length]:
                length += 1
            longest = max(longest, length)
        if longest:
            fragments.append(longest)
        i += max(longest, 1)
    n = len(own)
    if not n:
        return Copied(0.0, 0.0, 0)
    return Copied(sum(fragments) / n, sum(length**2 for length in fragments) / n, n)


def text_errors(
    prediction: str,
    *,
    input: str | None = None,
    references: Sequence[str] = (),
    ended: bool | None = None,
    shared: bool = False,
) -> list[str]:
    """Name what is wrong with a generated text.

    Parameters
    ----------
    prediction : str
    input : str, optional
        Without it nothing counts as copied.
    references : sequence of str
        Without any, no text is too short or too long. Lengths are compared in characters without blanks; one reference
        that fits is enough.
    ended : bool, optional
        Whether the model ended the text itself; False: it ran into the length limit.
    shared : bool
        Whether `shared_texts` named it.

    Returns
    -------
    list of str
        Keys of `ERROR_KINDS`, in their order. ``copied``: at least 5 words, and the density of `copied` is at least
        half of the number of words. Where there are no blanks between words, two characters stand for a word.
    """
    found = set()
    a_word = _CHARACTERS_A_WORD if without_blanks(prediction) else 1
    if not prediction.strip():
        found.add("empty")
    elif (repetition(prediction, REPETITION_N * a_word) or 0.0) >= REPETITION_SHARE or has_loop(prediction):
        found.add("repetition")
    if shared:
        found.add("same text")
    if ended is False:
        found.add("at the limit")
    if input and "empty" not in found:
        share = copied(prediction, input)
        if share.n_words >= COPIED_WORDS * a_word and share.density >= COPIED_SHARE * share.n_words:
            found.add("copied")
    lengths = [length for length in map(_length, references) if length]
    if lengths and "empty" not in found:
        ratios = [_length(prediction) / length for length in lengths]
        if all(ratio < TOO_SHORT for ratio in ratios):
            found.add("too short")
        elif all(ratio > TOO_LONG for ratio in ratios):
            found.add("too long")
    return [kind for kind in ERROR_KINDS if kind in found]


def shared_texts(
    predictions: Sequence[str], inputs: Sequence[str | None] | None = None, at_least: int = SAME_TEXTS
) -> set[int]:
    """Find texts that were given for several different inputs.

    Parameters
    ----------
    predictions : sequence of str
        Empty ones are left out: they have a kind of their own.
    inputs : sequence of (str or None), optional
        The same input twice counts once; a sample whose input is unknown counts as different.
    at_least : int
        Different inputs.

    Returns
    -------
    set of int
        Positions in `predictions`.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, prediction in enumerate(predictions):
        if text := " ".join(prediction.split()):
            positions[text].append(position)
    found: set[int] = set()
    for own in positions.values():
        if len(own) >= at_least:
            known = [inputs[position] for position in own] if inputs is not None else [None] * len(own)
            if len({text for text in known if text is not None}) + known.count(None) >= at_least:
                found.update(own)
    return found


def _at(tokens: list[str], place: int) -> str | None:
    return tokens[place] if place < len(tokens) else None


def _length(text: str) -> int:
    return len("".join(unicodedata.normalize("NFC", text).split()))
