"""data_overlap: evaluation samples that stand in the training set."""

from __future__ import annotations

import re
from typing import Any

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.wording import percent

__all__ = ["DataOverlap"]

_OF_TRAINING = re.compile(r"(^|_)train(ing)?(_|$)", re.IGNORECASE)  # who evaluates on it by that name means to


class DataOverlap(Rule):
    """Found where at least `overlap_share` of an evaluation set, and `overlap_samples`, stand in the training set.

    It reads the event ``data_overlap`` that is written when a training begins
    (:class:`hf_monitor.seq2seq.overlap.Overlap` has its fields). Equal inputs count, whatever their targets; pairs are
    named first. Where only a part was read, the share is that of the part times what was not read, and nothing found
    is inconclusive. Shares are of the samples that can be judged (not ``n_left_out``); where most of them cannot, and
    little was found, that is inconclusive, too.
    """

    name = "data_overlap"
    kinds = frozenset({"event"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._seen: dict[str, _Compared] = {}

    def see(self, row: Row) -> Finding | None:
        """Look at an event."""
        if row.get("event") != "data_overlap":
            return None
        name = row.get("name")
        name = name if isinstance(name, str) else "eval"
        found = _Compared.of(row)
        if found is None or (len(self._seen) >= 100 and name not in self._seen):
            return None
        self._seen[name] = found
        limits = self.limits
        is_overlap = found.n_shared >= limits.overlap_samples and found.share >= limits.overlap_share
        return self._found(name, found, row) if is_overlap and not _OF_TRAINING.search(name) else None

    def _found(self, name: str, found: _Compared, row: Row) -> Finding:
        more = f" ({found.n_left_out} more cannot be judged)" if found.n_left_out else ""
        pairs = f", {found.n_pairs} of them with the same target" if found.n_pairs else ""
        part = f" (about {percent(found.share)}, judged by a part of the data)" if found.sampled else ""
        examples = row.get("examples")
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=f"Of {found.n_read} samples of the evaluation set {name!r}{more} {found.n_shared} have an input "
            f"that stands in the training set, too{pairs}{part}. Its loss and scores are partly those of texts that "
            "the model has learnt from.",
            value=found.share,
            unit="share",
            threshold=self.limits.overlap_share,
            n_samples=found.n_read,
            steps=(0, 0),
            suggestions=self._suggestions(name, found, row),
            evidence={
                "name": name,
                "n_shared_inputs": found.n_shared,
                "n_shared_pairs": found.n_pairs,
                "n_evaluation": found.n_read,
                "n_left_out": found.n_left_out,
                "n_train": number(row.get("n_train")),
                "n_duplicates_train": number(row.get("n_duplicates_train")),
                "sampled": found.sampled,
                "examples": examples if isinstance(examples, list) else [],
            },
        )

    def _suggestions(self, name: str, found: _Compared, row: Row) -> tuple[str, ...]:
        if found.n_shared >= 0.9 * found.n_read:
            first = f"split {name!r} off the data before the training set is made: it is (nearly) all in it"
        else:
            first = "take these samples out of the training set (evidence: rows of both sets) before the next training"
        if number(row.get("n_duplicates_train")):
            return (first, "remove repeated samples before splitting: the training set itself holds some")
        return (first,)

    def verdict(self) -> Finding:
        """Say what was compared, and that too little was shared."""
        if not self._seen:
            return self.nothing(
                "The evaluation sets were not compared with the training set.",
                missing="no record of a comparison: no evaluation set, or one that cannot be read without running your "
                "code (a stream, a class of your own). hf_monitor.seq2seq.overlap.text_overlap compares lists.",
            )
        name, worst = max(self._seen.items(), key=lambda item: (not _OF_TRAINING.search(item[0]), item[1].share))
        sentence = (
            f"Of {worst.n_read} samples of the evaluation set {name!r} {worst.n_shared} stand in the training set."
        )
        if _OF_TRAINING.search(name):
            sentence = f"The evaluation set {name!r} is, by its name, meant to be of the training set."
        missing = ""
        if any(one.n_left_out > one.n_read for one in self._seen.values()):
            missing = (
                "most samples cannot be compared: their inputs are empty, very short without a target, or shared by "
                "many samples."
            )
        elif any(one.sampled for one in self._seen.values()):
            missing = "only a part of the data was read: what was not found may still be there."
        return self.nothing(
            sentence,
            missing=missing,
            n=worst.n_read,
            value=worst.share,
            unit="share",
            threshold=self.limits.overlap_share,
            evidence={"name": name, "n_shared_inputs": worst.n_shared, "n_shared_pairs": worst.n_pairs},
        )


class _Compared:
    """One evaluation set, as its event has it."""

    def __init__(
        self, n_read: int, n_left_out: int, n_shared: int, n_pairs: int, train_read: float, sampled: bool
    ) -> None:
        self.n_read, self.n_left_out = n_read - n_left_out, n_left_out  # judged, and not
        self.n_shared, self.n_pairs, self.sampled = n_shared, n_pairs, sampled
        self.share = min(1.0, n_shared / max(1, self.n_read) / train_read)

    @classmethod
    def of(cls, row: Row) -> _Compared | None:
        """Read an event; None where it lacks what is needed."""
        n_all, n_shared = number(row.get("n_evaluation"), 1.0), number(row.get("n_shared_inputs"))
        if n_all is None or n_shared is None:
            return None
        n_read = number(row.get("n_evaluation_read"), 1.0) or n_all
        train, train_read = number(row.get("n_train"), 1.0), number(row.get("n_train_read"), 1.0)
        read = min(1.0, train_read / train) if train and train_read else 1.0
        n_pairs: Any = number(row.get("n_shared_pairs")) or 0
        n_read, n_left_out = int(n_read), int(min(number(row.get("n_left_out"), 0.0) or 0.0, n_read))
        n_shared = int(min(n_shared, n_read - n_left_out))
        return cls(n_read, n_left_out, n_shared, int(min(n_pairs, n_shared)), read, row.get("sampled") is True)
