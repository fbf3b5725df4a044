"""Dialogues and summaries that a very small model can learn to write, made from a seed: what bench_alerts trains on.

A dialogue names a topic, a person, a place and a time among filler words. Its summary is a sentence of that topic (one
of two, by chance: something stays that nobody can know) with the person, the place and the time in it. There are far
more dialogues than any training set here, so that what is learnt is the way of writing and not the texts.
"""

from __future__ import annotations

import functools
import random
from typing import Any, NamedTuple

__all__ = ["LANGUAGES", "MAX_SOURCE_TOKENS", "MAX_TARGET_TOKENS", "Pair", "make_pairs", "make_tokenizer"]

LANGUAGES = ("en", "ko", "both")
MAX_SOURCE_TOKENS, MAX_TARGET_TOKENS = 64, 24


class Pair(NamedTuple):
    """A dialogue and its summary."""

    dialogue: str
    summary: str


def _words(text: str) -> list[str]:
    return text.split()


_EN_TOPICS = {
    "meeting": ("#Person1# will meet {who} at the {where} {when}.", "{who} has a meeting at the {where} {when}."),
    "dinner": (
        "#Person1# invites {who} to eat at the {where} {when}.",
        "{who} and #Person1# eat at the {where} {when}.",
    ),
    "parcel": ("{who} picks up a parcel at the {where} {when}.", "A parcel waits for {who} at the {where} {when}."),
    "bicycle": ("{who} repairs the bicycle at the {where} {when}.", "The bicycle of {who} is at the {where} {when}."),
    "lesson": ("{who} teaches at the {where} {when}.", "#Person1# learns from {who} at the {where} {when}."),
    "concert": ("{who} sings at the {where} {when}.", "They hear {who} at the {where} {when}."),
}
_KO_TOPICS = {
    "회의": ("#Person1#은 {where}에서 {when} {who}와 회의를 한다.", "{who}의 회의는 {where}에서 {when} 열린다."),
    "저녁": ("#Person1#은 {who}와 {where}에서 {when} 저녁을 먹는다.", "{who}는 {where}에서 {when} 식사를 한다."),
    "소포": ("{who}는 {where}에서 {when} 소포를 찾는다.", "소포가 {where}에서 {when} {who}를 기다린다."),
    "자전거": ("{who}는 {where}에서 {when} 자전거를 고친다.", "{who}의 자전거는 {where}에서 {when} 수리된다."),
    "수업": ("{who}는 {where}에서 {when} 가르친다.", "#Person1#은 {where}에서 {when} {who}에게 배운다."),
    "공연": ("{who}는 {where}에서 {when} 노래한다.", "그들은 {where}에서 {when} {who}의 노래를 듣는다."),
}
_EN = {
    "who": _words("Anna Ben Clara David Emma Frank Grace Henry Irene Jack Kate Liam"),
    "where": _words("station library school market harbor office garden theater bakery museum"),
    "when": _words("today tomorrow tonight Monday Tuesday Friday Sunday noon later soon"),
}
_KO = {
    "who": _words("민지 지훈 서연 도윤 하은 준서 수아 예준 지우 현우 유나 태오"),
    "where": _words("역 도서관 학교 시장 항구 사무실 공원 극장 빵집 박물관"),
    "when": _words("오늘 내일 아침 월요일 화요일 금요일 일요일 정오 나중 곧"),
}
_EN_FILLER = _words("well yes no please really maybe right sure okay thanks fine look wait good great hmm")
_KO_FILLER = _words("음 네 아니 제발 정말 아마 그래 물론 좋아 고마워 괜찮아 봐 잠깐 글쎄 와 응")


def _one(language: str, draw: random.Random, most_filler: int) -> Pair:
    topics, slots, filler = (_KO_TOPICS, _KO, _KO_FILLER) if language == "ko" else (_EN_TOPICS, _EN, _EN_FILLER)
    topic = draw.choice([*topics])
    words = {name: draw.choice(values) for name, values in slots.items()}
    said = [topic, *words.values()]
    draw.shuffle(said)
    half = draw.randrange(1, 4)

    def turn(parts: list[str]) -> str:
        spoken: list[str] = []
        for part in parts:
            spoken += draw.choices(filler, k=draw.randint(0, most_filler))
            spoken.append(part)
        return " ".join([*spoken, draw.choice(filler)])

    dialogue = f"#Person1#: {turn(said[:half])}?\n#Person2#: {turn(said[half:])}."
    return Pair(dialogue, draw.choice(topics[topic]).format(**words))


def make_pairs(n: int, seed: int, language: str = "both", most_filler: int = 2) -> list[Pair]:
    """Make pairs whose dialogues all differ.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        The same seed gives the same pairs.
    language : str
        ``"en"``, ``"ko"`` or ``"both"``.
    most_filler : int
        Most filler words before each word that counts.

    Returns
    -------
    list of Pair
        In the order in which they were drawn.
    """
    draw = random.Random(f"texts {seed}")
    found: dict[str, Pair] = {}
    while len(found) < n:
        spoken = draw.choice(("en", "ko")) if language == "both" else language
        pair = _one(spoken, draw, most_filler)
        found.setdefault(pair.dialogue, pair)
    return [*found.values()]


@functools.cache
def make_tokenizer(language: str) -> Any:
    """Train the demo's tokenizer on texts of a language, so that each word is one token; once a process."""
    from hf_monitor.seq2seq.demo_model import build_demo_tokenizer

    pairs = make_pairs(600, 0, language)
    return build_demo_tokenizer((text for pair in pairs for text in pair), vocab_size=900)
