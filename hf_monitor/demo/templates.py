"""A dialogue pattern, its slots, and what depends on the words put into them (Korean particles, English articles)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from hf_monitor.errors import InputError

__all__ = ["Ending", "Pattern", "Turn", "fill", "has_final_consonant", "slots_of", "with_particle"]

# After a final consonant, after a vowel. 이가, 이랑 ... are those of spoken Korean after given names: 지훈이랑, 민지랑.
_PARTICLES: dict[str, tuple[str, str]] = {
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "으로": ("으로", "로"),
    "의": ("의", "의"),
    "도": ("도", "도"),
    "에게": ("에게", "에게"),
    "이라": ("이라", "라"),
    "이요": ("이요", "요"),
    "이면": ("이면", "면"),
    "이를": ("이를", "를"),
    "이가": ("이가", "가"),
    "이는": ("이는", "는"),
    "이도": ("이도", "도"),
    "이랑": ("이랑", "랑"),
    "이한테": ("이한테", "한테"),
}
_HANGUL_FIRST, _HANGUL_LAST, _FINALS, _FINAL_RIEUL = 0xAC00, 0xD7A3, 28, 8
_SPEAKER_END = re.compile(r"#Person(\d)#$")
# Read as in English, which is what Korean annotators do: One ends in a consonant, Two, Three and Four in a vowel.
_SPEAKER_CONSONANT = {"1": True, "2": False, "3": False, "4": False}
# Digits as Sino-Korean numbers: 일 이 삼 사 오 육 칠 팔 구 영. 1, 7 and 8 end in ㄹ.
_DIGIT_FINALS = {"0": 21, "1": 8, "2": 0, "3": 16, "4": 0, "5": 0, "6": 1, "7": 8, "8": 8, "9": 0}
_SLOT = re.compile(r"\{(\w+)(?::([^{}]+))?\}")

Turn = tuple[str, ...]
"""Who speaks (`"A"`, the one who has a wish, or `"B"`), then the ways to say it."""


@dataclass(frozen=True)
class Ending:
    """One way in which a dialogue goes on and what is to be remembered of it.

    Parameters
    ----------
    turns : tuple of Turn
        The turns after the pattern's first ones, speakers alternating.
    summary : str
        The summary's template; `{A}` and `{B}` are the marks of the two speakers.
    """

    turns: tuple[Turn, ...]
    summary: str


@dataclass(frozen=True)
class Pattern:
    """One kind of dialogue: a wish, and several endings.

    Parameters
    ----------
    name : str
        Unique within a language.
    setting : str
        Which openings and closings fit: ``friend``, ``work`` or ``service``.
    turns : tuple of Turn
        How it begins, before the endings part.
    endings : tuple of Ending
        How it may go on.
    """

    name: str
    setting: str
    turns: tuple[Turn, ...]
    endings: tuple[Ending, ...]


def _final(word: str) -> int:
    """Give the number of the last sound's final consonant in Unicode's order, 0 for none."""
    speaker = _SPEAKER_END.search(word)
    if speaker and speaker.group(1) in _SPEAKER_CONSONANT:
        return 4 if _SPEAKER_CONSONANT[speaker.group(1)] else 0
    last = word[-1:]
    if last in _DIGIT_FINALS and last:
        return _DIGIT_FINALS[last]
    if last and _HANGUL_FIRST <= ord(last) <= _HANGUL_LAST:
        return (ord(last) - _HANGUL_FIRST) % _FINALS
    raise InputError(
        f"No Korean particle can be chosen after {word!r}: it must end in a Hangul syllable, a digit or a speaker mark "
        "from #Person1# to #Person4#."
    )


def has_final_consonant(word: str) -> bool:
    """Say whether a word's last syllable ends in a consonant, as the choice of a Korean particle needs it.

    Parameters
    ----------
    word : str
        Ends in a Hangul syllable, a digit (read as a Sino-Korean number) or a speaker mark (read as in English).

    Returns
    -------
    bool
        True for 지훈, 1 and ``#Person1#``, False for 민지, 2 and ``#Person2#``.

    Raises
    ------
    InputError
        For any other ending.
    """
    return _final(word) != 0


def with_particle(word: str, particle: str) -> str:
    """Append a Korean particle in the form that the word's last sound asks for.

    Parameters
    ----------
    word : str
        See `has_final_consonant`.
    particle : str
        The form after a consonant: 은, 이, 을, 과, 으로, 이나, 이라 ..., or 이가, 이랑 ... for names in spoken Korean.

    Returns
    -------
    str
        The word with its particle.

    Raises
    ------
    InputError
        For an unknown particle, or a word whose last sound is not known.

    Examples
    --------
    >>> with_particle("지훈", "은"), with_particle("민지", "은"), with_particle("서울", "으로")
    ('지훈은', '민지는', '서울로')
    """
    if particle not in _PARTICLES:
        raise InputError(f"Unknown Korean particle {particle!r}: use one of {', '.join(_PARTICLES)}.")
    after_consonant, after_vowel = _PARTICLES[particle]
    final = _final(word)
    if particle == "으로" and final == _FINAL_RIEUL:
        return word + after_vowel
    return word + (after_consonant if final else after_vowel)


def slots_of(*templates: str) -> list[str]:
    """List the slots of some templates in the order of their first use, without the speakers `A` and `B`.

    Parameters
    ----------
    *templates : str
        Texts with `{slot}` or `{slot:form}` in them.

    Returns
    -------
    list of str
        Every name once.
    """
    found = (match.group(1) for template in templates for match in _SLOT.finditer(template))
    return list(dict.fromkeys(name for name in found if name not in ("A", "B")))


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put values into a template.

    Parameters
    ----------
    template : str
        `{slot}` is the value as it is; `{slot:은}` appends a Korean particle, `{slot:a}` puts an English article before
        it, `{slot:cap}` makes its first letter a capital.
    values : mapping of str to str
        A value for each slot.

    Returns
    -------
    str
        The text.

    Raises
    ------
    InputError
        For a slot without a value or an unknown form.
    """

    def replace(match: re.Match[str]) -> str:
        name, form = match.groups()
        if name not in values:
            raise InputError(f"No value for the slot {name!r} of {template!r}; there are {sorted(values)}.")
        value = values[name]
        if form is None:
            return value
        if form == "a":
            return f"{'an' if value[:1].lower() in 'aeiou' else 'a'} {value}"
        if form == "cap":
            return value[:1].upper() + value[1:]
        return with_particle(value, form)

    return _SLOT.sub(replace, template)
