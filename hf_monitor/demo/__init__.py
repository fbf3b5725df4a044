"""The demo corpus: short dialogues with summaries, half Korean, half English, made by `hf_monitor.demo.generate`."""

from __future__ import annotations

import json
from importlib import resources

from hf_monitor.errors import InputError

__all__ = ["SPLITS", "load_demo"]

SPLITS = ("train", "validation", "test")


def load_demo(split: str) -> list[dict[str, str]]:
    """Read one part of the demo corpus.

    Parameters
    ----------
    split : str
        ``train``, ``validation`` or ``test``. No dialogue is in two of them.

    Returns
    -------
    list of dict
        One record a dialogue: ``id``, ``language`` (``ko`` or ``en``), ``dialogue`` (lines that begin with
        ``#Person1#:`` or ``#Person2#:``) and ``summary``.

    Raises
    ------
    InputError
        For any other name.
    """
    if split not in SPLITS:
        raise InputError(f"The demo corpus has no part {split!r}: use one of {', '.join(SPLITS)}.")
    text = resources.files(__name__).joinpath("data", f"{split}.jsonl").read_text(encoding="utf-8")
    # Not splitlines(): it would also cut at the line separators of Unicode, which JSON leaves as they are.
    return [json.loads(line) for line in text.split("\n") if line]
