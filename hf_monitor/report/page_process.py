"""A process of its own that makes the report of a large run: its rows take memory that a training may not have.

Started by ``hf_monitor.callbacks._page``; no torch, and last in line for everything.
"""

from __future__ import annotations

import json

__all__ = ["ANSWER", "main"]

ANSWER = "hf_monitor_report"
"""A key of the answer: libraries may print, too."""


def main(run_dir: str, training: int) -> int:
    """Write ``report.html`` into a run folder, and answer with a line of JSON.

    The answer has ``kind``: ``"made"``, ``"disk"`` (the operating system refused something) or ``"failed"``; and
    ``reason``.

    Parameters
    ----------
    run_dir : str
    training : int
        The process with whose end this one ends.

    Returns
    -------
    int
        The exit code.
    """
    from hf_monitor.charts.draw_process import stand_back

    stand_back(training)
    answer = {"kind": "made", "reason": ""}
    try:
        from hf_monitor.report.one_page import write_report

        write_report(run_dir)
    except OSError as error:
        answer = {"kind": "disk", "reason": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001 - said by the training's process, in one line
        answer = {"kind": "failed", "reason": f"{type(error).__name__}: {error}"}
    print(f"\n{json.dumps({ANSWER: True, **answer})}", flush=True)
    return answer["kind"] != "made"
