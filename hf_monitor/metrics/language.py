"""Which language a text is in (Korean or not), and where its sentences end: by characters alone, no download."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["LANGUAGES", "hangul_share", "is_korean", "judge_language", "split_sentences"]

LANGUAGES = ("auto", "en", "ko", "mixed")

#: From this share of Hangul among its letters on, a sample counts as Korean. Low on purpose: Korean sentences full of
#: Latin product names keep their particles and endings, while an English text that quotes a Korean word stays below.
KOREAN_SHARE = 0.1
#: Sets with fewer stray samples of the other language than this count as one language, so that one odd line among
#: hundreds does not take a set out of comparison with others.
STRAY_SAMPLES = 0.01

# Syllables, and jamo in all three blocks: references in NFD must be seen as Korean too.
_HANGUL = re.compile("[가-힣ᄀ-ᇿ㄰-㆏ꥠ-꥿ힰ-퟿]")
_MARK = re.compile(r"#\w+#")


def hangul_share(texts: Iterable[str]) -> float | None:
    """Share of Hangul among the letters of some texts; marks such as ``#Person1#`` do not count.

    Parameters
    ----------
    texts
        Texts that belong together, for example the references of one sample.

    Returns
    -------
    float or None
        0 to 1; None if there is not one letter.
    """
    letters = hangul = 0
    for text in texts:
        bare = _MARK.sub(" ", text)
        letters += sum(map(str.isalpha, bare))
        hangul += len(_HANGUL.findall(bare))
    return min(hangul / letters, 1.0) if letters else None


def is_korean(texts: Iterable[str]) -> bool:
    """Tell whether at least a tenth of the letters are Hangul.

    Parameters
    ----------
    texts
        The references of one sample.

    Returns
    -------
    bool
        False also where there are no letters at all.
    """
    share = hangul_share(texts)
    return share is not None and share >= KOREAN_SHARE


def judge_language(references: Sequence[Sequence[str]]) -> str:
    """Judge the language of a set of samples from its references.

    Parameters
    ----------
    references
        One list of texts per sample.

    Returns
    -------
    str
        ``"ko"`` or ``"en"`` if at most one sample in a hundred is of the other kind, else ``"mixed"``. Samples without
        letters have no vote; a set without any is ``"en"``.
    """
    shares = [share for share in map(hangul_share, references) if share is not None]
    if not shares:
        return "en"
    korean = sum(share >= KOREAN_SHARE for share in shares) / len(shares)
    if korean <= STRAY_SAMPLES:
        return "en"
    return "ko" if korean >= 1 - STRAY_SAMPLES else "mixed"


_ABBREVIATIONS = (
    r"(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bvs)(?<!\bNo)(?<!\bMrs)(?<!\bJr)(?<!\bSr)(?<!\bProf)(?<!\be\.g)"
    r"(?<!\bi\.e)(?<!\b[A-Z])"
)
_SENTENCE_END = re.compile(
    rf"(?:{_ABBREVIATIONS}\.|[!?…。！？])[.!?…。！？]*[\"'”’)\]]*"
    r"(?:\s+|(?<=[가-힣][.!?])(?=[가-힣]))"
)


def split_sentences(text: str) -> list[str]:
    """Cut a text into sentences: at line ends, after ``. ! ?`` before a space, and after Korean endings without one.

    Stands where Hugging Face's summarization example calls nltk's Punkt, whose data would have to be downloaded. Common
    English abbreviations (``Mr.``, ``e.g.``) and single capitals (``J. Smith``) do not end a sentence.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    list of str
        Sentences without surrounding blanks; empty ones left out.
    """
    sentences: list[str] = []
    for line in text.split("\n"):
        start = 0
        for end in _SENTENCE_END.finditer(line):
            sentences.append(line[start : end.end()].strip())
            start = end.end()
        sentences.append(line[start:].strip())
    return [sentence for sentence in sentences if sentence]
