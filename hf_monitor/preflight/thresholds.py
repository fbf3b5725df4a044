"""From where on a check before a training warns or fails, each with its reason."""

from __future__ import annotations

__all__ = [
    "CHARACTERS_UNKNOWN_FAILED",
    "CHARACTERS_UNKNOWN_WARNING",
    "DISK_TIGHT",
    "DUPLICATES_WARNING",
    "EMPTY_WARNING",
    "INPUTS_CUT_WARNING",
    "SAMPLE",
    "SCRIPT_COUNTS",
    "SCRIPT_LOST_TEXTS",
    "SCRIPT_UNKNOWN_FAILED",
    "SHARED_AFTER_FAILED",
    "SHARED_FAILED",
    "TARGETS_CUT_WARNING",
    "TOKENS_PER_CHARACTER_WARNING",
]

SAMPLE = 1000
"""Texts of a part that the tokenizer is tried on: a share of 1 % is then known to about 0.6 % (95 %, Wilson)."""

CHARACTERS_UNKNOWN_WARNING = 0.005
"""Share of the characters (blanks aside). Below it: an emoji here and there, an odd quotation mark."""

CHARACTERS_UNKNOWN_FAILED = 0.10
"""Share of the characters. T5's own vocabulary loses all Hangul: about nine tenths of a Korean text."""

SCRIPT_COUNTS = 0.05
"""Share of the characters from which on a script is one of the languages of the data, not a name in it."""

SCRIPT_UNKNOWN_FAILED = 0.5
"""Share of a script's own characters: half of a language missing is no vocabulary for it."""

SCRIPT_LOST_TEXTS = 0.01
"""Share of the texts (two at least) that lose most of a script they are written in: a language of a few samples is lost
whole and is still a small share of all characters."""

TOKENS_PER_CHARACTER_WARNING = 1.2
"""Vocabularies made for Korean need 0.4 to 0.8 tokens a syllable (KoBART, mT5); bytes need 3."""

INPUTS_CUT_WARNING = 0.05
"""Share of the inputs whose end the model never sees."""

TARGETS_CUT_WARNING = 0.01
"""Share of the targets. Lower than for inputs: each teaches the model to stop in the middle of a sentence."""

EMPTY_WARNING = 0.01
"""Share of samples without a text or without a summary."""

DUPLICATES_WARNING = 0.10
"""Share of the training samples that stand there already. Some are usual: greetings, templates."""

SHARED_FAILED = 0.01
"""Share of the evaluation pairs (input and target) that stand in the training data, of at least two of them. From here
on a score is no longer about new texts alone; a single pair may be a coincidence of short texts."""

SHARED_AFTER_FAILED = 0.5
"""Share of the evaluation set that stands in the training data, once it was trained: half of the scores, or more, are
then of what was learnt by heart. Below it those of the others can be looked at (``predictions.jsonl``)."""

DISK_TIGHT = 0.8
"""Share of the free space that checkpoints may take without a word: others write to the disk, too."""
