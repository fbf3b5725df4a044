"""The checks after a training that need the run folder only: its end, findings, rows, log, texts, pictures, report."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.finding import Finding, Severity
from hf_monitor.diagnosis.findings import diagnose
from hf_monitor.preflight.checklist import Check, State, failed, ok, skipped, warning
from hf_monitor.preflight.thresholds import SHARED_AFTER_FAILED
from hf_monitor.report.mirrored import mirrored
from hf_monitor.run.reader import Run

__all__ = ["check_run", "png_problem"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_SHOWN = 3
_STATES: dict[Severity, State] = {"info": "ok", "warning": "warning", "error": "failed"}
_DRAW = "Draw them: hf_monitor.create_training_visualizations(history_data=hf_monitor.load_run(folder))."


def check_run(run: Run) -> Iterator[Check]:
    """Do the checks."""
    yield _ending(run)
    yield from _findings(run)
    yield _rows(run)
    yield _log(run)
    yield _predictions(run)
    yield _charts(run)
    yield _report(run.path / "report.html")
    yield from _wandb(run)


def _ending(run: Run) -> Check:
    ending = run.ending
    planned = run.facts.get("max_steps")
    of = f" of {planned:,}" if isinstance(planned, int) and planned > 0 else ""
    rank = f" (rank {ending.rank})" if ending.rank else ""
    kind = "Ctrl-C" if ending.type == "KeyboardInterrupt" else ending.type
    cause = ": ".join(part for part in (kind, " ".join((ending.message or "").split())) if part)
    alert = _stopped_by(run) if ending.status == "finished" else None
    how = f"{ending.status}{rank}" if alert is None else f"stopped by {alert}"
    sentence = f"{how} at step {run.last_step:,}{of}, attempt {len(run.attempts) or 1}"
    sentence += f": {cause}" if cause else "."
    evidence: dict[str, Any] = {
        "status": ending.status,
        "step": run.last_step,
        "max_steps": planned,
        "attempts": len(run.attempts),
        "stopped_by": alert,
    }
    if alert is not None:
        asked = "stop_on of AlertCallback asked for this end: the findings say what came before it, and what to try."
        return warning("ending", sentence, asked, **evidence)
    if ending.status == "finished":
        return ok("ending", sentence, **evidence)
    if ending.status == "running":
        return warning(
            "ending", sentence, "It is still going: what follows may change. Check again at its end.", **evidence
        )
    if ending.status == "unknown":
        return warning(
            "ending", sentence, "Its process cannot be seen from here: check on the machine it ran on.", **evidence
        )
    saved = any(row.get("event") == "save" for row in run.events)
    resume = (
        "it goes on from the last checkpoint with train(resume_from_checkpoint=True)."
        if saved
        else "no checkpoint was saved, so that train() begins anew."
    )
    if ending.status in ("crashed", "killed"):
        return failed("ending", sentence, f"Mend the cause; then {resume}", **evidence)
    return warning("ending", sentence, resume[0].upper() + resume[1:], **evidence)


def _stopped_by(run: Run) -> str | None:
    """Give the alert that ended the latest training; None where none did."""
    found = None
    for row in run.rows:
        if row.get("kind") == "event" and row.get("event") == "train_begin":
            found = None
        elif row.get("kind") == "alert" and row.get("stops_training") is True:
            found = found or str(row.get("rule"))
    return found


def _findings(run: Run) -> Iterator[Check]:
    found = [finding for finding in diagnose(run) if finding.verdict == "found"]
    if not found:
        yield ok("findings", "none: no rule found anything.") if run.rows else skipped("findings", "there are no rows.")
    for finding in found:
        yield _finding(finding)


def _finding(finding: Finding) -> Check:
    state = _STATES[finding.severity]
    if finding.rule == "data_overlap" and (finding.value or 0.0) >= SHARED_AFTER_FAILED:
        state = "failed"  # as before the training: its scores say nothing of new texts
    place = "" if finding.gpu is None else f" (GPU {finding.gpu})"
    name, suggestion = f"finding: {finding.rule}{place}", "; ".join(finding.suggestions)
    return Check(name, state, finding.sentence, suggestion, finding.to_dict())


def _rows(run: Run) -> Check:
    counts = {"metrics.jsonl": len(run.rows), "predictions.jsonl": len(run.predictions)}
    counts |= {"system.jsonl": len(run.system), "trials.jsonl": len(run.trials)}
    broken = {name: n for name, n in run.broken_lines.items() if n}
    gone = sum(row.get("lost_rows") or 0 for row in run.events if row.get("event") == "recording_resumed")
    said = ", ".join(f"{n:,} in {name}" for name, n in counts.items() if n)
    again = f" {len(run.lost):,} are of steps that a resumed attempt did again." if run.lost else ""
    sentence = f"{said or 'none'}.{again}"
    evidence: dict[str, Any] = {"rows": counts, "broken_lines": broken, "lost_rows": gone, "done_again": len(run.lost)}
    if not run.rows:
        return failed(
            "rows", "there is no row in metrics.jsonl.", "Was the callback attached? attach(trainer).", **evidence
        )
    if gone:
        suggestion = "The disk could not be written for long: look at it (df -h), and at train.log."
        return warning(
            "rows", f"{sentence} {gone:,} rows could not be kept, the disk was full or gone.", suggestion, **evidence
        )
    if broken:
        n = sum(broken.values())
        told = f"{n} broken line{'s' if n > 1 else ''} ({', '.join(f'{k}: {v}' for k, v in sorted(broken.items()))})"
        if n == 1 and run.status != "finished":
            return ok("rows", f"{sentence} {told}: the process was ended while it wrote.", **evidence)
        return warning("rows", f"{sentence} {told} cannot be read; they are skipped.", **evidence)
    return ok("rows", sentence, **evidence)


def _log(run: Run) -> Check:
    size = _size(run.path / "train.log")
    if size is None:
        return skipped("log", "there is no train.log (FileLoggingCallback writes it).")
    if not size:
        return warning("log", "train.log is empty.", "Was the disk full? Look at it: df -h.")
    return ok("log", f"train.log, {size / 1024:,.0f} KiB.", bytes=size)


def _predictions(run: Run) -> Check:
    scored = run.rows.of("text_scores")
    rows = run.predictions
    if not rows:
        if not scored:
            return skipped("predictions", "no texts were generated (TextMetrics and predict_with_generate make them).")
        return warning(
            "predictions",
            f"{len(scored)} evaluations scored texts, and predictions.jsonl holds none.",
            "Was the file deleted, or the disk full? Evaluate again: trainer.evaluate().",
        )
    latest = scored[-1] if scored else rows[-1]
    name = str(latest.get("name"))
    texts = run.latest_predictions(name)
    empty = sum(not str(row.get("prediction") or "").strip() for row in texts)
    sentence = f"{len(rows):,} texts; the latest of {name!r}: {len(texts):,} at step {latest.get('step')}."
    if texts and empty == len(texts):
        return warning("predictions", f"{sentence} All of them are empty.", "Look at predictions.jsonl.", n=len(rows))
    return ok("predictions", sentence, n=len(rows), latest=len(texts), empty=empty)


def _charts(run: Run) -> Check:
    pictures = sorted((run.path / "plots").rglob("*.png"))
    if not pictures:
        return skipped("charts", "there are none in plots/.", _DRAW)
    bad = {path.name: problem for path in pictures if (problem := png_problem(path)) is not None}
    if bad:
        told = ", ".join(f"{name} {problem}" for name, problem in list(bad.items())[:_SHOWN])
        return warning("charts", f"{len(bad)} of {len(pictures)} cannot be opened: {told}.", _DRAW, damaged=bad)
    return ok(
        "charts",
        f"{len(pictures)} in plots/: {', '.join(path.name for path in pictures[:_SHOWN])}"
        + (" ..." if len(pictures) > _SHOWN else "."),
        n=len(pictures),
    )


def png_problem(path: Path) -> str | None:
    """Say why a picture cannot be opened, by its first and last bytes; None where nothing is wrong with them."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if not data:
        return "is empty"
    if not data.startswith(_PNG) or len(data) < 33 or data[12:16] != b"IHDR":
        return "is no PNG"
    width, height = struct.unpack(">II", data[16:24])
    if not (width and height):
        return "has no size"
    return None if data.endswith(_PNG_END) else "is cut off"


def _report(path: Path) -> Check:
    size, make = _size(path), f"Make it: hf-monitor report {shlex.quote(str(path.parent))}"
    if size is None:
        return skipped("report", "there is no report.html.", make)
    if not path.read_bytes()[-200:].rstrip().lower().endswith(b"</html>"):
        return warning("report", f"report.html is cut off ({size:,} bytes).", make, bytes=size)
    return ok("report", f"report.html, {size / 1024:,.0f} KiB.", bytes=size)


def _wandb(run: Run) -> Iterator[Check]:
    """Say what W&B lacks, of a run that is mirrored there."""
    from hf_monitor.loggers.mirror.host import is_at_work

    for one in mirrored(run.path, is_at_work):
        sentence = f"{one.name}: {one.sentence}{f' {one.url}' if one.url else ''}"
        suggestion = f"cd {shlex.quote(str(run.path))} && {one.command}" if one.command else ""
        amiss = one.amiss and run.status != "running"  # then it is on its way
        yield (warning if amiss else ok)("W&B", sentence, suggestion, url=one.url)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
