"""The lengths of the texts, in tokens, against the limits at which they are cut and that the model has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.diagnosis.wording import percent
from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.coverage import encode
from hf_monitor.preflight.data import Part
from hf_monitor.preflight.thresholds import INPUTS_CUT_WARNING, SAMPLE, TARGETS_CUT_WARNING

__all__ = ["Spread", "check_generation", "check_length", "check_lengths", "measure", "spread_of", "target_positions"]

_USUALLY_GENERATED = 20  # transformers' default, too short for summaries
_MULTIPLE = 8  # tensor cores take lengths in eights


@dataclass(frozen=True, slots=True)
class Spread:
    """Lengths of some texts, in tokens.

    Attributes
    ----------
    lengths : tuple of int
        Sorted.
    cut_before : bool
        Whether they were measured on a set that is tokenized, and maybe cut, already.
    """

    lengths: tuple[int, ...]
    cut_before: bool = False

    def at(self, share: float) -> int:
        """Give the length that this share of the texts does not exceed."""
        return self.lengths[min(len(self.lengths) - 1, max(0, -int(-share * len(self.lengths) // 1) - 1))]

    def share_above(self, limit: int) -> float:
        """Give the share of the texts that are longer."""
        return sum(length > limit for length in self.lengths) / len(self.lengths)

    @property
    def share_at_most(self) -> float:
        """Share of the texts that have exactly the greatest length."""
        return self.lengths.count(self.lengths[-1]) / len(self.lengths)


def spread_of(lengths: Sequence[int], cut_before: bool = False) -> Spread:
    """Make a Spread of lengths in any order."""
    return Spread(tuple(sorted(int(length) for length in lengths)), cut_before)


def measure(tokenizer: Any, part: Part, prefix: str = "", seed: int = 0) -> dict[str, Spread]:
    """Count tokens, of a bounded sample of texts or of all of a tokenized set.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase or None
        Not needed for a tokenized set.
    part : Part
    prefix : str
        Stands before each input.
    seed : int
        Of the sample.

    Returns
    -------
    dict of str to Spread
        ``"inputs"`` and ``"targets"``; each only where there is something to count.
    """
    if part.tokenized is not None:
        from hf_monitor.seq2seq.row_lengths import row_lengths

        source, target = row_lengths(part.tokenized)
        return {"inputs": spread_of(source.tolist(), True), "targets": spread_of(target.tolist(), True)}
    numbers = part.sample(SAMPLE, seed)
    found = {}
    for side, texts in (("inputs", part.inputs), ("targets", part.targets)):
        if texts is None:
            continue
        target_side = side == "targets"
        chosen = [texts[number] if target_side else prefix + texts[number] for number in numbers]
        ids = encode(tokenizer, chosen, target=target_side)["input_ids"]
        # As in Preprocessor: where the tokenizer ends no summary, its end is put behind it.
        eos = tokenizer.eos_token_id if target_side else None
        more = int(eos is not None and eos not in encode(tokenizer, ["a"], target=True)["input_ids"][0])
        found[side] = spread_of([len(tokens) + more for tokens in ids])
    return found


def target_positions(config: Any) -> int | None:
    """Give the most tokens that a model can write; None where it has no such bound."""
    from hf_monitor.seq2seq.preprocessing import max_positions

    own = getattr(config, "max_decoder_position_embeddings", None)  # LED's two sides differ
    return own if isinstance(own, int) and own > 0 else max_positions(config)


def check_lengths(
    spreads: dict[str, Spread], limits: dict[str, int | None], positions: dict[str, int | None]
) -> list[Check]:
    """Judge both sides; each argument has ``"inputs"`` and ``"targets"``."""
    return [
        check_length(side, spreads[side], limits.get(side), positions.get(side))
        if side in spreads
        else skipped(f"length of {side}", f"there are no {side}.")
        for side in ("inputs", "targets")
    ]


def check_length(side: str, found: Spread, limit: int | None, positions: int | None) -> Check:
    """Judge the lengths of one side.

    Parameters
    ----------
    side : str
        ``"inputs"`` or ``"targets"``.
    found : Spread
    limit : int or None
        At which texts are cut.
    positions : int or None
        The most that the model has positions for.
    """
    name = f"length of {side}"
    longest = found.lengths[-1]
    suggested = suggested_limit(found, positions)
    option = "max_source_length" if side == "inputs" else "max_target_length"
    evidence: dict[str, Any] = {
        "n": len(found.lengths), "p50": found.at(0.5), "p95": found.at(0.95), "max": longest, "limit": limit,
        "positions": positions, "suggested_limit": suggested,
    }  # fmt: skip
    said = (
        f"{found.at(0.5)} tokens at the median, {found.at(0.95)} at p95, {longest} at most (of {len(found.lengths):,})"
    )
    if limit is not None and positions is not None and limit > positions:
        sentence = f"the limit of {limit} tokens is more than the {positions} positions of the model; {said}."
        return failed(name, sentence, f"--{option} {min(suggested, positions)}", **evidence)
    if found.cut_before:
        return _cut_before(name, side, found, said, positions, evidence)
    if limit is None:
        if positions is not None and longest > positions:
            share = found.share_above(positions)
            sentence = (
                f"{said}; {percent(share)} are longer than the model's {positions} positions, and no limit is given."
            )
            return warning(name, sentence, f"--{option} {suggested}", **evidence)
        return ok(name, f"{said}; no limit is given.", f"--{option} {suggested} would cut at most 1 %.", **evidence)
    share = found.share_above(limit)
    evidence["share_cut"] = share
    sentence = f"{percent(share)} are cut at {limit} tokens: {said}."
    if share > (INPUTS_CUT_WARNING if side == "inputs" else TARGETS_CUT_WARNING):
        if suggested > limit:
            return warning(name, sentence, f"--{option} {suggested} would cut at most 1 %.", **evidence)
        advice = f"The model has {positions} positions: shorten the texts, or take a model for longer ones."
        return warning(name, sentence, advice, **evidence)
    return ok(name, sentence, **evidence)


def _cut_before(
    name: str, side: str, found: Spread, said: str, positions: int | None, evidence: dict[str, Any]
) -> Check:
    longest = found.lengths[-1]
    if positions is not None and longest > positions:
        sentence = (
            f"{percent(found.share_above(positions))} are longer than the {positions} positions of the model: {said}."
        )
        return failed(name, sentence, f"Tokenize with truncation=True and max_length={positions}.", **evidence)
    share = found.share_at_most
    evidence["share_at_most"] = share
    padded = len(set(found.lengths)) == 1 and len(found.lengths) > 1
    if padded:
        return ok(
            name, f"all have {longest} tokens: padded already, so that nothing is known of the texts.", **evidence
        )
    if share > (INPUTS_CUT_WARNING if side == "inputs" else TARGETS_CUT_WARNING) and share * len(found.lengths) >= 2:
        sentence = (
            f"{percent(share)} have exactly {longest} tokens, the most there is: they were probably cut there; {said}."
        )
        return warning(
            name, sentence, "Tokenize with a greater max_length, if the model has the positions.", **evidence
        )
    return ok(name, f"{said}.", **evidence)


def suggested_limit(found: Spread, positions: int | None) -> int:
    """Give a limit that cuts at most 1 %, in eights, within the model's positions."""
    rounded = -(-found.at(0.99) // _MULTIPLE) * _MULTIPLE
    return rounded if positions is None else min(rounded, positions)


def generation_length(args: Any, model: Any) -> tuple[int, str]:
    """Give how many tokens an evaluation generates at most, and who says so."""
    given = getattr(args, "generation_max_length", None)
    if given:
        return int(given), "--generation_max_length"
    config = getattr(model, "generation_config", None)
    new = getattr(config, "max_new_tokens", None)
    if new:
        return int(new), "max_new_tokens of the model's generation config"
    most = getattr(config, "max_length", None)
    if most and most != _USUALLY_GENERATED:
        return int(most), "max_length of the model's generation config"
    return _USUALLY_GENERATED, "transformers' default"


def check_generation(most: int, who: str, targets: Spread | None, positions: int | None) -> Check:
    """Judge how long summaries may get when they are generated.

    Parameters
    ----------
    most : int
        Tokens.
    who : str
        Who says so.
    targets : Spread or None
        The lengths of the true summaries.
    positions : int or None
        The most that the model can write.
    """
    name = "generation length"
    evidence: dict[str, Any] = {"generation_max_length": most, "from": who, "positions": positions}
    if positions is not None and most > positions:
        sentence = f"{most} tokens ({who}) are more than the {positions} positions of the model."
        return failed(name, sentence, f"--generation_max_length {positions}", **evidence)
    if targets is None:
        return ok(name, f"at most {most} tokens ({who}).", **evidence)
    evidence["p95"] = targets.at(0.95)
    if most < targets.at(0.95):
        share = evidence["share_longer"] = targets.share_above(most)
        sentence = (
            f"at most {most} tokens ({who}), but {percent(share)} of the summaries are longer (p95 {targets.at(0.95)})."
        )
        return warning(name, sentence, f"--generation_max_length {suggested_limit(targets, positions)}", **evidence)
    return ok(
        name, f"at most {most} tokens ({who}); 95 % of the summaries have {targets.at(0.95)} or fewer.", **evidence
    )
