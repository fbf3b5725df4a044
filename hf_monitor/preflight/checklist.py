"""Check and Checklist: what was looked at before or after a training, and what came of it."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TextIO, get_args

from hf_monitor.gpu.report_text import console_of, encodable, one_line

__all__ = ["Check", "Checklist", "State", "failed", "ok", "print_checklist", "skipped", "warning"]

State = Literal["ok", "warning", "failed", "skipped"]

_STYLES = {"ok": "green", "warning": "bold yellow", "failed": "bold red", "skipped": "dim"}
_LONGEST = 600  # characters of a sentence: paths and what a library said stand in it
_WIDEST = 110  # longer lines are hard to read, however wide the terminal
_NARROWEST = 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What was looked at, short and stable: ``"disk"``, ``"tokenizer: input"`` ...
    state : str
        ``"ok"``; ``"warning"`` (the training works, its result may not be what is wanted); ``"failed"`` (the training
        would break, or is worth nothing); ``"skipped"`` (not looked at, `sentence` says why).
    sentence : str
        What was seen, with numbers and units.
    suggestion : str
        What to do, or the command that mends it; empty where there is nothing to do.
    evidence : mapping
        The numbers behind the sentence, plain values.
    """

    name: str
    state: State
    sentence: str
    suggestion: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.state not in get_args(State):
            raise ValueError(f"state must be one of {', '.join(get_args(State))}, got {self.state!r}")

    def to_dict(self) -> dict[str, Any]:
        """Give the check as plain values, for JSON."""
        return {
            "name": self.name,
            "state": self.state,
            "sentence": self.sentence,
            "suggestion": self.suggestion,
            "evidence": _plain(self.evidence),
        }


def ok(name: str, sentence: str, suggestion: str = "", **evidence: Any) -> Check:
    """Make a check that found all well; keywords are its evidence."""
    return Check(name, "ok", sentence, suggestion, evidence)


def warning(name: str, sentence: str, suggestion: str = "", **evidence: Any) -> Check:
    """Make a check after which a training works, but perhaps not as it is meant; keywords are its evidence."""
    return Check(name, "warning", sentence, suggestion, evidence)


def failed(name: str, sentence: str, suggestion: str = "", **evidence: Any) -> Check:
    """Make a check after which a training should not be started; keywords are its evidence."""
    return Check(name, "failed", sentence, suggestion, evidence)


def skipped(name: str, reason: str, suggestion: str = "", **evidence: Any) -> Check:
    """Make a check that was not done; `reason` says why."""
    return Check(name, "skipped", reason, suggestion, evidence)


@dataclass(frozen=True, slots=True)
class Checklist:
    """All checks, in the order in which they were done.

    Attributes
    ----------
    title : str
        What was checked: ``"Before the training"`` ...
    checks : tuple of Check
    """

    title: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True where no check failed; warnings do not count."""
        return not any(check.state == "failed" for check in self.checks)

    @property
    def exit_code(self) -> int:
        """0 where no check failed, 1 where one did."""
        return 0 if self.ok else 1

    def counts(self) -> dict[str, int]:
        """Give how many checks came to which state; states without a check are 0."""
        found = Counter(check.state for check in self.checks)
        return {state: found[state] for state in get_args(State)}

    def to_dict(self) -> dict[str, Any]:
        """Give the checklist as plain values, for JSON."""
        return {
            "title": self.title,
            "ok": self.ok,
            "counts": self.counts(),
            "checks": [check.to_dict() for check in self.checks],
        }

    def with_checks(self, checks: Iterable[Check]) -> Checklist:
        """Give a checklist with other checks in the place of those of the same name; new ones come first.

        A check that was skipped because something was not given, which one of these could not read, says so.
        """
        others = {check.name: check for check in checks}
        unread = {name for name, check in others.items() if check.state == "failed"}
        kept = [_not_read(others.pop(check.name, check), unread) for check in self.checks]
        return Checklist(self.title, (*others.values(), *kept))

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def __len__(self) -> int:
        return len(self.checks)

    def __getitem__(self, name: str) -> Check:
        """Give the check of a name."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"there is no check {name!r}; there are: {', '.join(check.name for check in self.checks)}")

    def __str__(self) -> str:
        return as_text(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text as the value of a notebook's cell (IPython's protocol)."""
        printer.text(repr(self) if cycle else str(self))


def _not_read(check: Check, unread: Collection[str]) -> Check:
    if check.state == "skipped":
        for name in ("model", "tokenizer"):  # a tokenizer is looked for beside its model
            if check.sentence == f"no {name} given." and {name, "model"} & set(unread):
                return replace(check, sentence=f"the {name} could not be loaded, see above.")
    return check


class _Line(NamedTuple):
    head: str  # the state, or blanks
    label: str
    text: str
    style: str = ""


def as_text(checklist: Checklist, width: int = 100) -> str:
    """Give a checklist in words, without colour; sentences are wrapped at `width` columns."""
    return "\n".join(f"{line.head}{line.label}{line.text}".rstrip() for line in _lines(checklist, width))


def print_checklist(checklist: Checklist, file: TextIO | None = None) -> None:
    """Print a checklist, in colour where `file` is a terminal and ``NO_COLOR`` is not set.

    Parameters
    ----------
    checklist : Checklist
    file : text file, optional
        Standard output where None.
    """
    file = sys.stdout if file is None else file
    if file is None:  # a process without standard output
        return
    width = shutil.get_terminal_size().columns
    console = console_of(file)
    if console is None:
        file.write(encodable(as_text(checklist, width), file) + "\n")
        return
    from rich.text import Text

    for line in _lines(checklist, width):
        parts = [encodable(part, file) for part in line[:3]]
        console.print(Text.assemble((parts[0], line.style), parts[1], parts[2]), soft_wrap=True)


def _lines(checklist: Checklist, width: int) -> Iterator[_Line]:
    yield _Line(f"{checklist.title}: {_summary(checklist.counts())}", "", "", "bold")
    not_done = [check for check in checklist.checks if check.state == "skipped" and not check.suggestion]
    shown = [check for check in checklist.checks if check not in not_done]
    label_width = max((len(check.name) for check in shown), default=0) + 2
    indent = " " * (2 + 9 + label_width)
    room = max(min(width, _WIDEST) - len(indent), _NARROWEST)
    for check in shown:
        first, *rest = _wrapped(one_line(check.sentence, _LONGEST), room) or [""]
        yield _Line(f"  {check.state:<9}", f"{check.name:<{label_width}}", first, _STYLES[check.state])
        yield from (_Line(indent, "", text) for text in rest)
        # An arrow is for what is to be done, and where all is well nothing is.
        arrow = "-> " if check.state in ("warning", "failed") else "possible: "
        advice = " ".join(check.suggestion.split())  # never cut: a command in it is there to be copied
        for number, text in enumerate(_wrapped(advice, max(room - len(arrow), _NARROWEST - 3))):
            yield _Line(indent, arrow if number == 0 else " " * len(arrow), text)
    yield from _skipped(not_done, width)
    yield from _repeated(checklist, width)


def _skipped(checks: Iterable[Check], width: int) -> Iterator[_Line]:
    """Say what was not done in few lines: those of one reason together."""
    names: dict[str, list[str]] = {}
    for check in checks:
        names.setdefault(one_line(check.sentence, _LONGEST).rstrip("."), []).append(check.name)
    text = "; ".join(f"{', '.join(same)}: {reason}" for reason, same in names.items())
    for number, line in enumerate(_wrapped(f"{text}.", min(width, _WIDEST) - 11) if names else []):
        yield _Line("  skipped  " if number == 0 else " " * 11, "", line, _STYLES["skipped"])


def _repeated(checklist: Checklist, width: int) -> Iterator[_Line]:
    """Name once more, where the eye ends, what is not well."""
    for state, title in (("failed", "Failed"), ("warning", "Warnings")):
        found = [check.name for check in checklist.checks if check.state == state]
        for line in _wrapped(f"{title}: {', '.join(found)}", min(width, _WIDEST)) if found else []:
            yield _Line(line, "", "", _STYLES[state])


def _wrapped(text: str, room: int) -> list[str]:
    return textwrap.wrap(text, max(room, _NARROWEST - 3), break_long_words=False, break_on_hyphens=False)


def _summary(counts: Mapping[str, int]) -> str:
    plural = {"warning": "warnings"}
    said = [f"{n} {plural.get(state, state) if n != 1 else state}" for state, n in counts.items() if n]
    return ", ".join(said) or "nothing was checked"


def _plain(value: Any) -> Any:
    """Give values that strict JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
