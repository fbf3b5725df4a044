"""The checks of a tokenizer against the texts: unknown characters, the way back, tokens a character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.coverage import Coverage, RoundTrip, cover, round_trip
from hf_monitor.preflight.data import Part
from hf_monitor.preflight.thresholds import (
    CHARACTERS_UNKNOWN_FAILED,
    CHARACTERS_UNKNOWN_WARNING,
    SAMPLE,
    SCRIPT_COUNTS,
    SCRIPT_LOST_TEXTS,
    SCRIPT_UNKNOWN_FAILED,
    TOKENS_PER_CHARACTER_WARNING,
)

__all__ = ["check_coverage", "check_round_trip", "check_tokenizer"]

_FOR_KOREAN = "for Korean: KoBART, mT5, mBART; ByT5 knows every script"
_WHOLE_WORDS = "Whole words are unknown, not their characters: take a tokenizer that writes rare words in pieces."


def check_tokenizer(tokenizer: Any, part: Part, seed: int = 0) -> list[Check]:
    """Try a tokenizer on a bounded, seeded sample of the training data."""
    if part.tokenized is not None:
        return _of_ids(tokenizer, part, seed)
    numbers = part.sample(SAMPLE, seed)
    checks = []
    for side, texts in (("inputs", part.inputs), ("targets", part.targets)):
        name = f"tokenizer: {side}"
        chosen = [texts[number] for number in numbers if texts[number].strip()] if texts is not None else []
        if not chosen:
            checks.append(skipped(name, f"the {part.name} have no {side}."))
            continue
        target = side == "targets"
        coverage = cover(tokenizer, chosen, target=target)
        checks.append(check_coverage(name, coverage))
        if target:
            checks.append(check_round_trip(round_trip(tokenizer, chosen), coverage))
    return checks


def check_coverage(name: str, found: Coverage) -> Check:
    """Judge what is unknown, and how many tokens a character takes."""
    lost = {
        script: counts.n_unknown / counts.n_characters
        for script, counts in found.scripts.items()
        if counts.n_characters >= SCRIPT_COUNTS * found.n_characters
    }
    dense = {
        script: counts.n_tokens / counts.n_characters
        for script, counts in found.scripts.items()
        if counts.n_tokens and counts.n_characters >= SCRIPT_COUNTS * found.n_characters
    }
    evidence: dict[str, Any] = {
        "n_texts": found.n_texts,
        "n_tokens": found.n_tokens,
        "share_unknown_tokens": found.n_unknown_tokens / max(1, found.n_tokens),
        "share_unknown_characters": found.share_unknown,
        "tokens_per_character": found.n_tokens / max(1, found.n_characters),
        "scripts": {
            script: {"characters": counts.n_characters, "unknown": counts.n_unknown, "tokens": counts.n_tokens}
            for script, counts in found.scripts.items()
        },
        "unknown": dict(found.unknown),
        "unknown_words": dict(found.words),
        "share_dropped_characters": found.n_dropped / max(1, found.n_characters),
        "texts_without": found.texts_without,
    }
    costs = f"{found.n_tokens / max(1, found.n_characters):.2f} tokens a character"
    if dense:
        costs += f" ({', '.join(f'{script} {rate:.2f}' for script, rate in dense.items())})"
    if found.n_unknown:
        of_scripts = ", ".join(f"{script} {share:.0%}" for script, share in lost.items() if share >= 0.005)
        sentence = (
            f"unknown: {found.share_unknown:.1%} of the characters{f' ({of_scripts})' if of_scripts else ''}, "
            f"{found.n_unknown_tokens / max(1, found.n_tokens):.1%} of the tokens, in {found.n_texts:,} texts; "
            f"most often {_listed(found.words if found.share_of_words > 0.5 else found.unknown)}."
        )
        if found.n_dropped:
            sentence += f" {found.n_dropped / found.n_characters:.1%} of the characters are left out without a token."
        without = [script for script, share in lost.items() if share >= SCRIPT_UNKNOWN_FAILED]
        if without or found.share_unknown >= CHARACTERS_UNKNOWN_FAILED:
            which = " and ".join(without) or "these texts"
            advice = f"What is unknown is not learnt: take a model whose tokenizer knows {which} ({_FOR_KOREAN})."
            return failed(name, sentence, _WHOLE_WORDS if found.share_of_words > 0.5 else advice, **evidence)
        if few := _lost_in_few(found):
            sentence += f" {' and '.join(f'{n:,} texts lose most of their {script}' for script, n in few.items())}."
            advice = f"Take a model whose tokenizer knows {' and '.join(few)}, too ({_FOR_KOREAN}), or leave them out."
            return warning(name, sentence, advice, **evidence)
        if found.share_unknown >= CHARACTERS_UNKNOWN_WARNING and found.share_of_words > 0.5:
            return warning(name, sentence, _WHOLE_WORDS, **evidence)
        if found.share_unknown >= CHARACTERS_UNKNOWN_WARNING:
            return warning(
                name, sentence, "Replace these characters in the data, or add them to the tokenizer.", **evidence
            )
        return ok(name, f"{sentence} {costs}.", **evidence)
    none = "no unknown token" if found.has_unknown else "the tokenizer has no unknown token"
    sentence = f"{none} in {found.n_texts:,} texts; {costs}."
    costly = [
        script
        for script, rate in dense.items()
        if rate > TOKENS_PER_CHARACTER_WARNING and script not in ("signs", "digits")
    ]
    if costly:
        advice = (
            f"{' and '.join(costly)} is written in pieces of characters: sequences are long, and cut early. "
            f"A tokenizer made with it needs 0.4 to 0.8 tokens a Korean syllable ({_FOR_KOREAN})."
        )
        return warning(name, sentence, advice, **evidence)
    return ok(name, sentence, **evidence)


def _lost_in_few(found: Coverage) -> dict[str, int]:
    """Give the scripts that some texts are written in and lose, with the number of these texts."""
    least = max(2.0, SCRIPT_LOST_TEXTS * found.n_texts)
    return {script: n for script, n in found.texts_without.items() if n >= least}


def check_round_trip(found: RoundTrip, coverage: Coverage) -> Check:
    """Judge what is left of the summaries after ``decode(encode(text), skip_special_tokens=True)``."""
    name = "tokenizer: round trip"
    share = found.n_lost / max(1, found.n_characters)
    evidence: dict[str, Any] = {
        "n_texts": found.n_texts,
        "n_differ": found.n_differ,
        "share_lost": share,
        "lost": dict(found.lost),
        "case_lost": found.case_lost,
        "line_breaks_lost": found.line_breaks_lost,
        "special_in_texts": found.special,
    }
    notes = [
        note
        for note, there in (
            ("upper case is lost", found.case_lost),
            ("line breaks become blanks", found.line_breaks_lost),
        )
        if there
    ]
    aside = f" ({', '.join(notes)})" if notes else ""
    if not found.n_differ:
        return ok(
            name, f"{found.n_texts:,} summaries come back from encoding and decoding as they were{aside}.", **evidence
        )
    sentence = (
        f"{found.n_differ:,} of {found.n_texts:,} summaries do not come back from encoding and decoding as they were: "
        f"{share:.1%} of the characters are lost{aside}"
        + (f"; most often {_listed(found.lost)}." if found.lost else ".")
    )
    if found.special:
        advice = (
            f"{', '.join(found.special)} is a special token and stands in the texts: decoding with skip_special_tokens "
            "takes it out. Add it as an ordinary token: tokenizer.add_tokens([...])."
        )
        return warning(name, sentence, advice, **evidence)
    if share >= CHARACTERS_UNKNOWN_FAILED:
        return failed(
            name, sentence, f"No model with this tokenizer can write these summaries ({_FOR_KOREAN}).", **evidence
        )
    if share >= CHARACTERS_UNKNOWN_WARNING:
        return warning(
            name,
            sentence,
            "Scores of summaries with these characters stay below 100, however good the model.",
            **evidence,
        )
    return ok(name, sentence, **evidence)


def _listed(characters: Sequence[tuple[str, int]], most: int = 6) -> str:
    return ", ".join(f"{character} ({n:,})" for character, n in characters[:most])


def _of_ids(tokenizer: Any, part: Part, seed: int) -> list[Check]:
    """Count the unknown tokens of a part that is tokenized already: what they stood for is gone."""
    unknown_id = getattr(tokenizer, "unk_token_id", None)
    numbers = part.sample(SAMPLE, seed)
    rows = part.rows(numbers)
    checks = []
    for side, column in (("inputs", "input_ids"), ("targets", "labels")):
        name = f"tokenizer: {side}"
        if column not in rows[0]:
            checks.append(skipped(name, f"the {part.name} have no column {column!r}."))
            continue
        ids = [
            int(token)
            for row in rows
            for token in _ids(row, column)
            if token != -100 and token != tokenizer.pad_token_id
        ]
        # -100 is no token of its own, and would be no index of an embedding either.
        outside = max(ids, default=0) >= len(tokenizer)
        n_unknown = ids.count(unknown_id) if unknown_id is not None else 0
        share = n_unknown / max(1, len(ids))
        evidence: dict[str, Any] = {"n_texts": len(rows), "n_tokens": len(ids), "share_unknown_tokens": share}
        if outside:
            sentence = (
                f"token id {max(ids)} is none of the tokenizer's {len(tokenizer):,}: the data are of another tokenizer."
            )
            checks.append(failed(name, sentence, "Tokenize the data with the tokenizer of this model.", **evidence))
            continue
        sentence = f"{share:.1%} of {len(ids):,} tokens in {len(rows):,} samples are unknown."
        if unknown_id is None:
            sentence = "the tokenizer has no unknown token."
        if share >= CHARACTERS_UNKNOWN_FAILED:
            checks.append(
                failed(name, sentence, f"Take a model whose tokenizer knows the texts ({_FOR_KOREAN}).", **evidence)
            )
        elif share >= CHARACTERS_UNKNOWN_WARNING:
            checks.append(
                warning(
                    name,
                    sentence,
                    "Look which characters are unknown: check_before with the texts says it.",
                    **evidence,
                )
            )
        else:
            checks.append(ok(name, sentence, **evidence))
    return [*checks, _ends(tokenizer, rows)]


def _ids(row: Any, column: str) -> Any:
    return () if row[column] is None else row[column]  # the check of lengths says where there are none


def _ends(tokenizer: Any, rows: Sequence[Any]) -> Check:
    """Look whether the labels end with the end of the text: without it a model never learns to stop."""
    name = "tokenizer: ends"
    eos = tokenizer.eos_token_id
    if eos is None or "labels" not in rows[0]:
        return skipped(name, "there is no end token, or no labels.")
    padding = {-100, tokenizer.pad_token_id} - {eos}  # some pad with the end token
    labels = [[token for token in _ids(row, "labels") if token not in padding] for row in rows]
    ended = sum(bool(ids) and eos in (ids[-1], *ids[-2:-1]) for ids in labels)  # mBART: the language comes after it
    sentence = f"{ended:,} of {len(labels):,} labels end with the end token ({tokenizer.eos_token})."
    if ended < len(labels) / 2:
        return warning(
            name,
            sentence,
            "Put eos_token_id behind each label: else the model never learns to stop.",
            n=len(labels),
            ended=ended,
        )
    return ok(name, sentence, n=len(labels), ended=ended)
