"""How numbers are said in findings."""

from __future__ import annotations

from hf_monitor.diagnosis.intervals import Interval

__all__ = ["evidence_of", "mib", "of_samples", "percent", "rounded", "too_near"]


def percent(share: float) -> str:
    """Say a share (0 to 1) in percent, with a digit more where it is small."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.1f} %"


def too_near(low: float, high: float, threshold: float, what: str = "this") -> str:
    """Say why an interval of shares (0 to 1) tells nothing, as the reason of a finding."""
    if float("inf") in map(abs, (low, high)):
        return (
            f"{what} is too near {percent(threshold)} to tell from so few windows (a smaller logging_steps gives more)."
        )
    bounds = [percent(min(max(bound, 0.0), 1.0)) for bound in (low, high)]
    return f"{what} is too near {percent(threshold)} to tell (95 % interval {bounds[0]} to {bounds[1]})."


def mib(value: float) -> str:
    """Say an amount of memory, in GiB from 1 GiB on."""
    return f"{value / 1024:.1f} GiB" if value >= 1024 else f"{value:.0f} MiB"


def of_samples(n: int) -> str:
    """Say how many samples, in the singular for one."""
    return "1 sample" if n == 1 else f"{n} samples"


def evidence_of(interval: Interval) -> list[float] | None:
    """Give the bounds of an interval as plain numbers; None where it is unbounded."""
    bounds = [round(interval.low, 4), round(interval.high, 4)]
    return None if float("inf") in map(abs, bounds) else bounds


def rounded(**values: float | None) -> dict[str, float]:
    """Give evidence: numbers with four decimals, without those that are not known."""
    return {name: round(value, 4) for name, value in values.items() if value is not None}
