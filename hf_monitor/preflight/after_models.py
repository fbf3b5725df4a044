"""The checks after a training of what it saved: the best checkpoint, the last one, the model, and the disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.checkpoint_files import checkpoint_files_problem, holds_model
from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.checkpoints import Checkpoint, Checkpoints
from hf_monitor.preflight.loadable import LoadedBack
from hf_monitor.run.reader import Run

__all__ = ["check_models"]

_LITTLE_BYTES = 1 << 30  # less than this leaves no room for logs and a chart set beside other users
_PASS = "If the folders were moved, say where they are: check_after(run, output_dir)."


def check_models(run: Run, checkpoints: Checkpoints, load: Callable[[Path], LoadedBack]) -> Iterator[Check]:
    """Do the checks.

    Parameters
    ----------
    run : Run
    checkpoints : Checkpoints
    load : callable
        Loads a folder back; called once a folder.
    """
    load = cache(load)
    yield _again(_best, run, checkpoints, load)
    yield _again(_last, run, checkpoints, load)
    yield _final(run, checkpoints, load)
    if checkpoints.own or checkpoints.foreign:
        yield _owner(checkpoints)
    yield _disk(run, checkpoints)


Loader = Callable[[Path], LoadedBack]


def _again(
    look: Callable[[Run, Checkpoints, Loader], Check], run: Run, checkpoints: Checkpoints, load: Loader
) -> Check:
    """Look once more where a training that goes on deleted a checkpoint meanwhile (save_total_limit)."""
    found = look(run, checkpoints, load)
    if run.status != "running" or found.state == "ok" or all(one.path.is_dir() for one in checkpoints.own):
        return found
    return look(run, Checkpoints(run, checkpoints.folder), load)


def _loaded(name: str, what: str, folder: Path, load: Callable[[Path], LoadedBack], running: bool = False) -> Check:
    result = load(folder)
    evidence: dict[str, Any] = {"path": str(folder), "loaded": list(result.parts), "left_out": list(result.left_out)}
    if result.problem is not None:
        if running:
            return warning(
                name, result.problem, "The training is still going, it may be saving just now: look again.", **evidence
            )
        return failed(name, result.problem, **evidence)
    if not result.parts:
        return skipped(name, f"{what}: not loaded ({'; '.join(result.left_out)}).", **evidence)
    if result.doubts:
        return warning(name, f"{what}: {'; '.join(result.doubts)}.", **evidence)
    done = ": its files are whole" if result.parts == ("files",) else f" loads back: {', '.join(result.parts)}"
    rest = f" Not loaded: {'; '.join(result.left_out)}." if result.left_out else ""
    return ok(name, f"{what}{done}.{rest}", **evidence)


def _best(run: Run, checkpoints: Checkpoints, load: Callable[[Path], LoadedBack]) -> Check:
    name = "best checkpoint"
    step, best = checkpoints.best_step, checkpoints.best
    if best is not None:
        state = checkpoints.trainer_state
        metric = str(run.config.get("metric_for_best_model") or "loss")
        value = state.get("best_metric")
        shown = f" ({metric} {value:.4g})" if isinstance(value, int | float) else ""
        return _loaded(name, f"{best.path.name}{shown}", best.path, load, run.status == "running")
    if step is not None:
        sentence = f"checkpoint-{step} was the best, and is not in {_shown(checkpoints)}."
        final = checkpoints.folder
        if run.status == "finished" and run.config.get("load_best_model_at_end") and final and holds_model(final):
            return warning(name, f"{sentence} The model saved at the end has its weights.", _PASS, step=step)
        if run.status == "running":
            return warning(name, sentence, "The training is still going: look again.", step=step)
        return failed(name, sentence, f"It was deleted or moved. {_PASS}", step=step)
    if run.config.get("load_best_model_at_end") and (checkpoints.own or _saves(run)):
        return warning(name, "load_best_model_at_end is set, but no checkpoint knows which one is the best.", _PASS)
    if not checkpoints.own:
        return skipped(name, "no checkpoint is there.")
    return _best_score(run, checkpoints, load) or skipped(
        name, "the Trainer kept none: it needs an evaluation before each save, and metric_for_best_model."
    )


def _best_score(run: Run, checkpoints: Checkpoints, load: Callable[[Path], LoadedBack]) -> Check | None:
    """Say, where the Trainer was given no metric, whether there is a checkpoint of the step with the best texts."""
    bests = [row["best"] for row in run.metrics.of("text_scores") if isinstance(row.get("best"), dict)]
    if not bests or not checkpoints.own:
        return None
    best = bests[-1]
    step, said = best.get("step"), f"{best.get('metric')} {best.get('value')} at step {best.get('step')}"
    kept = next((one for one in checkpoints.own if one.step == step), None)
    if kept is not None:
        what = f"{kept.path.name} (best {said}; the Trainer had no metric)"
        return _loaded("best checkpoint", what, kept.path, load, run.status == "running")
    return warning(
        "best checkpoint",
        f"the best {said} was not kept: there is no checkpoint-{step}.",
        f"Next time: load_best_model_at_end=True, metric_for_best_model='{best.get('name')}_{best.get('metric')}', and "
        "save_steps a multiple of eval_steps.",
        step=step,
    )


def _last(run: Run, checkpoints: Checkpoints, load: Callable[[Path], LoadedBack]) -> Check:
    name = "last checkpoint"
    last = checkpoints.last
    if last is None:
        saves = _saves(run)
        if not saves:
            never = run.config.get("save_strategy") == "no"
            return skipped(name, "none was saved: save_strategy is 'no'." if never else "none was saved.")
        return warning(name, f"{saves} saved, none of them is in {_shown(checkpoints)}.", f"Deleted or moved? {_PASS}")
    found = _loaded(name, last.path.name, last.path, load, run.status == "running")
    if found.state == "failed" and len(checkpoints.own) > 1:
        whole = next(
            (one for one in reversed(checkpoints.own[:-1]) if checkpoint_files_problem(one.path) is None), None
        )
        if whole is not None:
            resume = f"Resume from the one before: train(resume_from_checkpoint={str(whole.path)!r})."
            return Check(name, found.state, found.sentence, resume, found.evidence)
    return found


def _final(run: Run, checkpoints: Checkpoints, load: Callable[[Path], LoadedBack]) -> Check:
    folder = checkpoints.folder
    if folder is None:
        return skipped("saved model", f"{_shown(checkpoints)} is not there.", _PASS)
    if not holds_model(folder):
        return skipped("saved model", f"there is none in {str(folder)!r} (trainer.save_model() saves it).")
    return _loaded("saved model", f"the model in {str(folder)!r}", folder, load)


def _owner(checkpoints: Checkpoints) -> Check:
    """Whether all checkpoints are of this run, and the last one of its latest attempt."""
    name = "checkpoints"
    evidence: dict[str, Any] = {
        "own": [one.path.name for one in checkpoints.own],
        "foreign": [one.path.name for one in checkpoints.foreign],
    }
    if foreign := checkpoints.foreign:
        runs = ", ".join(sorted({str(one.run_id) for one in foreign}))
        return warning(
            name,
            f"{_names(foreign)} in {str(checkpoints.folder)!r} belong to another run ({runs}); this one is "
            f"{checkpoints.run_id}.",
            "A resume takes the highest number, whoever saved it: give each run an output_dir of its own.",
            **evidence,
        )
    own = checkpoints.own
    latest = max((one.attempt or 0 for one in own), default=0)
    if own and latest and 0 < (own[-1].attempt or 0) < latest:
        return warning(
            name,
            f"{own[-1].path.name} has the highest number, but was saved by attempt {own[-1].attempt}; attempt {latest} "
            "came later and did not get so far.",
            "A resume would take it: delete it, or name the one to resume from.",
            **evidence,
        )
    unknown = [one for one in own if one.run_id is None]
    more = f"; {_names(unknown)} without hf_monitor's mark" if unknown else ""
    return ok(name, f"{len(own)} of this run: {_names(own)}{more}.", **evidence)


def _disk(run: Run, checkpoints: Checkpoints) -> Check:
    folder = checkpoints.folder or run.path
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return skipped("disk", f"the free space cannot be told: {error.strerror or error}.")
    sizes = [_size(one.path) for one in checkpoints.own]
    taken = f"; {len(sizes)} checkpoints take {_gib(sum(sizes))}" if sizes else ""
    sentence = f"{_gib(free)} free at {str(folder)!r}{taken}."
    evidence: dict[str, Any] = {"free_bytes": free, "checkpoint_bytes": sum(sizes)}
    needed = max([_LITTLE_BYTES, *sizes[-1:]])
    if free < needed:
        suggestion = "Make room before the next training: save_total_limit, save_only_model, or delete old checkpoints."
        return warning("disk", f"{sentence} That is less than {_gib(needed)}.", suggestion, **evidence)
    return ok("disk", sentence, **evidence)


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(OSError):  # a training that goes on deletes it just now
        for path in folder.rglob("*"):
            total += path.stat().st_size if path.is_file() else 0
    return total


def _saves(run: Run) -> str:
    """Say how many checkpoints were saved, by the run's own events; empty where none was."""
    steps = [row.get("step") for row in run.events if row.get("event") == "save"]
    return "" if not steps else f"{len(steps)} checkpoint{'s were' if len(steps) > 1 else ' was'}"


def _names(found: tuple[Checkpoint, ...] | list[Checkpoint]) -> str:
    names = [one.path.name for one in found]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _shown(checkpoints: Checkpoints) -> str:
    return repr(str(checkpoints.folder or checkpoints.searched[0]))


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"
