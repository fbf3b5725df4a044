"""The ladder: evidence and the probe's answer in, checks, problems and notes out. Pure: asks nothing of the machine."""

from __future__ import annotations

from dataclasses import dataclass

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.ladder_cuda import cuda_rung
from hf_monitor.gpu.ladder_driver import driver_rung, hardware_rung
from hf_monitor.gpu.ladder_kernel import kernel_rung
from hf_monitor.gpu.ladder_torch import environment_rung, torch_rung
from hf_monitor.gpu.notes import notes_of
from hf_monitor.gpu.report import Check, Problem

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the ladder says.

    Attributes
    ----------
    problems : tuple of Problem
        The root cause first; empty where a device works, and never where none does.
    notes : tuple of Problem
    checks : tuple of Check
        In the order of the ladder, from the machine up to the first computation.
    """

    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    checks: tuple[Check, ...]


def diagnose(case: Case) -> Diagnosis:
    """Climb the ladder. A rung that stands on a broken one is skipped; independent ones are all reported.

    Parameters
    ----------
    case : Case

    Returns
    -------
    Diagnosis
    """
    rungs: list[tuple[str, Problem | str | None]] = []

    def broken(*names: str) -> bool:
        return any(isinstance(found, Problem) for name, found in rungs if name in names)

    # A probe that never came to a stage says nothing of the machine; everything else would be guessed.
    rungs.append(("probe", case.probe_problem("") or f"answered in {case.answer.seconds:.1f} s"))
    rungs.append(("gpu", hardware_rung(case)))
    asked = not broken("probe")
    rungs.append(("driver", driver_rung(case) if asked and not broken("gpu") else None))
    rungs.append(("torch", torch_rung(case) if asked else None))
    rungs.append(("environment", environment_rung(case) if not broken("gpu") else None))
    rungs.append(("cuda", cuda_rung(case) if not broken("probe", "gpu", "driver", "torch", "environment") else None))
    rungs.append(("kernel", kernel_rung(case) if not broken("probe", "gpu", "driver", "torch", "cuda") else None))
    if not case.working and not broken(*(name for name, _ in rungs)):
        count = "1 device" if case.count == 1 else f"{case.count} devices"
        rungs[-1] = ("kernel", problem("nothing_works", "; ".join(case.texts), count=count, python=case.python))

    problems = tuple(found for _, found in rungs if isinstance(found, Problem))
    checks = tuple(
        Check(name, "failed", found.cause)
        if isinstance(found, Problem)
        else Check(name, "skipped" if found is None else "ok", found or "an earlier check decides")
        for name, found in rungs
    )
    if not case.working:
        return Diagnosis(problems, (), checks)
    return Diagnosis((), (*problems, *notes_of(case)), checks)
