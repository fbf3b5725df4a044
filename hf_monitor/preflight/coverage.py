"""Does a tokenizer have the characters of some texts: what is unknown, what is lost, how many tokens one costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.preflight.unknown import bare, encode, script_of, unknown_by_offsets, unknown_one_by_one

__all__ = ["Coverage", "RoundTrip", "Script", "cover", "encode", "round_trip", "script_of"]


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
        Unknown tokens, and the characters that they stand for (a whole word may be one such token) or that no token
        stands for.
    n_dropped : int
        Of `n_unknown`: characters that no token stands for, not even an unknown one.
    has_unknown : bool
        Whether the tokenizer has an unknown token at all; if not it works on bytes, or leaves out in silence.
    scripts : dict of str to Script
        ``"Hangul"``, ``"Latin"``, ``"digits"``, ``"signs"`` ..., the most frequent first.
    unknown : list of (str, int)
        The unknown characters, the most frequent first, with how often they stand there; ten at most. Not those that
        stand in known tokens, too.
    words : list of (str, int)
        Unknown words all of whose characters are known; ten at most.
    share_of_words : float
        Share of the unknown characters that stand in such words.
    texts_without : dict of str to int
        By script: texts that are written in it and lose most of it.
    """

    n_texts: int
    n_characters: int
    n_tokens: int
    n_unknown_tokens: int
    n_unknown: int
    n_dropped: int
    has_unknown: bool
    scripts: dict[str, Script]
    unknown: list[tuple[str, int]]
    words: list[tuple[str, int]]
    share_of_words: float
    texts_without: dict[str, int]

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
    look = unknown_by_offsets if getattr(tokenizer, "is_fast", False) else unknown_one_by_one
    found = look(tokenizer, texts, target, unknown_id)
    unknown_by_script: Counter[str] = Counter()
    for character, n in found.lost.items():
        unknown_by_script[script_of(character)] += n
    return Coverage(
        n_texts=len(texts),
        n_characters=characters.total(),
        n_tokens=found.n_tokens,
        n_unknown_tokens=found.n_unknown_tokens,
        n_unknown=found.lost.total(),
        n_dropped=found.n_dropped,
        has_unknown=unknown_id is not None,
        scripts={
            name: Script(n, unknown_by_script[name], None if found.tokens is None else found.tokens[name])
            for name, n in by_script.most_common()
        },
        unknown=found.characters.most_common(10),
        words=found.words.most_common(10),
        share_of_words=sum(len(word) * n for word, n in found.words.items()) / max(1, found.lost.total()),
        texts_without=dict(found.texts_without),
    )


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
        before, after = bare(text), bare(decoded)
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
