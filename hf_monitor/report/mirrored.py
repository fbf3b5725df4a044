"""What is said of a run in Weights & Biases: where it is, whether it has all, and the command that sends the rest."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from hf_monitor.loggers.mirror.identity import MirroredRun, mirrored_runs

__all__ = ["Mirrored", "mirrored"]

_MOST = 50
_MOST_TEXT = 300


@dataclass(frozen=True)
class Mirrored:
    """A W&B run of a run folder, in words.

    Attributes
    ----------
    name : str
        Its name or id, and its attempts where there are several runs.
    url : str
        ``http://`` or ``https://``, else empty.
    sentence : str
    command : str
        For a shell **within the run folder**, which may be moved; empty where nothing is left to do.
    amiss : bool
        Whether W&B lacks something that it should have: not where the user asked for offline.
    """

    name: str
    url: str
    sentence: str
    command: str
    amiss: bool


def mirrored(run_dir: Path, at_work: Callable[[MirroredRun], bool] = lambda run: False) -> list[Mirrored]:
    """Give the W&B runs of a run folder; empty where it has none. ``wandb.json`` is read, and nobody is asked.

    Parameters
    ----------
    run_dir : Path
    at_work : callable, optional
        Says whether a process is sending a run at this moment; a page, which is read later, does not ask.
    """
    runs = [one for one in mirrored_runs(run_dir)[-_MOST:] if isinstance(one.id, str)]
    return [_in_words(run_dir, one, len(runs) > 1, at_work(one)) for one in runs]


def _in_words(run_dir: Path, run: MirroredRun, several: bool, at_work: bool) -> Mirrored:
    name = _text(run.name) or _text(run.id) or "a run without a name"
    place = "/".join(part for part in (_text(run.entity), _text(run.project)) if part)
    name = f"{place}/{name}" if place else name
    if several:
        name += f" (attempt {', '.join(str(one) for one in run.attempts[:20])})"
    why = f": {_text(run.why)}" if _text(run.why) else ""
    url = _link(run.url)
    if at_work:
        return Mirrored(name, url, f"Process {run.pid} is sending it at this moment; it ends by itself.", "", False)
    if run.mode == "disabled":
        return Mirrored(name, "", f"W&B was switched off{why}.", "", False)
    if run.mode == "offline":
        folders = [one for one in run.folders if isinstance(one, str) and PurePath(one).name.startswith("offline-run")]
        command = shlex.join(["wandb", "sync", *folders]) if folders else "hf-monitor wandb ."
        places = [run_dir / one for one in folders]
        if places and all(any(place.glob("*.wandb.synced")) for place in places):
            return Mirrored(name, url, "Recorded offline; `wandb sync` has sent it.", "", False)
        return Mirrored(name, url, f"Recorded offline{why}; what W&B lacks is kept on this disk.", command, bool(why))
    if run.state == "finished":
        return Mirrored(name, url, f"All of it was sent{why}.", "", False)
    if run.state == "unsent":
        command = "hf-monitor wandb ." if run.ours or not run.attempts else ""  # the user's own is told no more
        return Mirrored(name, url, f"Not all of it was sent{why}.", command, True)
    # The page is made while the last rows are on their way, and a mirror that was killed wrote nothing more.
    return Mirrored(name, url, f"That all of it was sent is not recorded{why}.", "hf-monitor wandb .", True)


def _text(value: object) -> str:
    return " ".join(value.split())[:_MOST_TEXT] if isinstance(value, str) else ""


def _link(url: object) -> str:
    """Give it back where a browser may follow it: never ``javascript:``, and no user or password in it."""
    if not isinstance(url, str) or not url.isprintable() or " " in url:
        return ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return ""
    return url if good else ""
