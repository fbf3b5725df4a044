"""Whether heat or power lowered a device's clocks."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from hf_monitor.diagnosis.finding import Finding, Severity, Verdict, inconclusive
from hf_monitor.diagnosis.intervals import Interval, share_interval
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.samples import Samples
from hf_monitor.diagnosis.thresholds import CLOCK_SHARE, THROTTLED_SHARE
from hf_monitor.diagnosis.wording import evidence_of, of_samples, percent, rounded, too_near

__all__ = ["power_throttling", "thermal_throttling"]

_POWER = frozenset({"sw_power_cap", "hw_power_brake"})


def _is_hot(reasons: frozenset[str]) -> bool:
    """hw_slowdown alone may be either: NVML raises it for heat and for the power brake."""
    hot = not reasons.isdisjoint({"sw_thermal", "hw_thermal"})
    return hot or ("hw_slowdown" in reasons and "hw_power_brake" not in reasons)


def _throttled(
    readings: Readings, gpu: int, counts: Callable[[frozenset[str]], bool]
) -> tuple[Interval | None, Samples, Samples, str]:
    """Give the share of throttled samples, these samples, all that were looked at, and why there is no share."""
    warm = readings.rows_of(gpu)
    rows = warm.where(phase == "train" for phase in warm.column("phase"))
    known = rows.where(isinstance(words, list) for words in rows.column("throttle"))
    if rows and not known:
        why = readings.missing(gpu, "throttle").rstrip(".")
        return None, known, known, f"the hardware does not say why it lowers its clocks{f' ({why})' if why else ''}."
    reason = known.too_few(len(known))
    flags = [
        bool(words) and counts(frozenset(word for word in words if isinstance(word, str)))
        for words in known.column("throttle")
    ]
    return (None if reason else share_interval(flags)), known.where(flags), known, reason


def _judge(share: Interval) -> tuple[Verdict, str]:
    if share.above(THROTTLED_SHARE):
        return "found", ""
    if share.below(THROTTLED_SHARE):
        return "clear", ""
    return "inconclusive", too_near(share.low, share.high, THROTTLED_SHARE)


def _mean(rows: Samples, key: str) -> float | None:
    values = rows.numbers(key)
    return fmean(values) if values else None


def thermal_throttling(readings: Readings, gpu: int) -> Finding:
    """Say whether heat lowered the clocks."""
    share, hit, known, reason = _throttled(readings, gpu, _is_hot)
    rule, unit, threshold = "thermal_throttling", "share", THROTTLED_SHARE
    if share is None:
        sentence = "Whether heat lowered the clocks is not known."
        return inconclusive(rule, sentence, reason, unit=unit, threshold=threshold, n=len(known), gpu=gpu)
    verdict, reason = _judge(share)
    info = readings.gpu_info(gpu)
    limit, hottest = number(info.get("temperature_slowdown_c")), max(known.numbers("temperature_c"), default=None)
    sentence = f"Heat lowered the clocks in {percent(share.value)} of {of_samples(share.n)}"
    sentence += f"; the hottest was {hottest:.0f} °C" if hottest is not None else ""
    sentence += f" (the card slows down at {limit:.0f} °C)." if limit and hottest is not None else "."
    watts = number(info.get("power_limit_w"), 1.0)
    advice = ["better cooling: free the air's way, clean fans and filters, more room to the next card"]
    if watts is not None:
        card = info["uuid"] if isinstance(info.get("uuid"), str) else gpu
        advice.append(f"sudo nvidia-smi -i {card} -pl {0.85 * watts:.0f} (85 % of its power limit: less heat)")
    return Finding(
        rule=rule,
        verdict=verdict,
        severity="warning" if verdict == "found" else "info",
        sentence=sentence,
        value=share.value,
        unit=unit,
        threshold=threshold,
        n_samples=share.n,
        steps=known.steps,
        suggestions=tuple(advice) if verdict == "found" else (),
        reason=reason,
        evidence={"interval": evidence_of(share)}
        | rounded(
            temperature_max_c=hottest,
            temperature_slowdown_c=limit,
            sm_clock_throttled_mhz=_mean(hit, "sm_clock_mhz"),
            sm_clock_mean_mhz=_mean(known, "sm_clock_mhz"),
        ),
        gpu=gpu,
    )


def power_throttling(readings: Readings, gpu: int) -> Finding:
    """Say whether the power limit or the power supply lowered the clocks."""
    share, hit, known, reason = _throttled(readings, gpu, lambda reasons: not reasons.isdisjoint(_POWER))
    rule, unit, threshold = "power_throttling", "share", THROTTLED_SHARE
    if share is None:
        sentence = "Whether power lowered the clocks is not known."
        return inconclusive(rule, sentence, reason, unit=unit, threshold=threshold, n=len(known), gpu=gpu)
    verdict, reason = _judge(share)
    info = readings.gpu_info(gpu)
    braked = share_interval(["hw_power_brake" in words for words in known.column("throttle")])
    highest, clock = number(info.get("sm_clock_max_mhz"), 1.0), _mean(hit, "sm_clock_mhz")
    slow = highest is not None and clock is not None and clock < CLOCK_SHARE * highest
    sentence = f"Power lowered the clocks in {percent(share.value)} of {of_samples(share.n)}"
    if highest is not None and clock is not None:
        sentence += f", to {clock:.0f} MHz on average ({percent(clock / highest)} of the highest, {highest:.0f} MHz)"
    sentence += "."
    severity: Severity = "info"
    advice: tuple[str, ...] = ()
    if verdict == "found" and braked.above(THROTTLED_SHARE):
        severity, sentence = "warning", f"{sentence} The power supply asked for it (power brake)."
        advice = ("check the power supply and its cables to the card: it cannot give what the card takes",)
    elif verdict == "found" and slow:
        severity = "warning"
        watts = number(info.get("power_limit_w"))
        limit = f" (it is {watts:.0f} W)" if watts else ""
        advice = (
            f"look whether the power limit was lowered{limit}: nvidia-smi -q -d POWER; on a laptop, plug it in and "
            "choose its performance mode",
        )
    elif verdict == "found":
        sentence += " That is how a card keeps to its power limit under full load."
    return Finding(
        rule=rule,
        verdict=verdict,
        severity=severity,
        sentence=sentence,
        value=share.value,
        unit=unit,
        threshold=threshold,
        n_samples=share.n,
        steps=known.steps,
        suggestions=advice,
        reason=reason,
        evidence={"interval": evidence_of(share)}
        | rounded(
            power_brake_share=braked.value,
            sm_clock_throttled_mhz=clock,
            sm_clock_max_mhz=highest,
            power_mean_w=_mean(known, "power_w"),
            power_limit_w=number(info.get("power_limit_w")),
        ),
        gpu=gpu,
    )
