"""What a device is held to: its power limit, its highest clock, the temperature at which it slows down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hf_monitor.gpu.nvml import answer_of
from hf_monitor.gpu.questions import celsius, megahertz, watts

__all__ = ["limits"]

# nvml.h: NVML_CLOCK_SM, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
_LIMITS: dict[str, list[tuple[str, tuple[int, ...], Callable[[int], float]]]] = {
    "power_limit_w": [
        ("nvmlDeviceGetEnforcedPowerLimit", (), watts),  # the lowest of all that apply
        ("nvmlDeviceGetPowerManagementLimit", (), watts),
    ],
    "sm_clock_max_mhz": [("nvmlDeviceGetMaxClockInfo", (1,), megahertz)],
    "temperature_slowdown_c": [("nvmlDeviceGetTemperatureThreshold", (1,), celsius)],
}


def limits(nvml: Any, handles: Mapping[str, Any]) -> dict[str, float | None]:
    """Ask for the limits of a device.

    Parameters
    ----------
    nvml : module or None
        ``pynvml``, initialised.
    handles : mapping
        Whom to ask, the nearest first; a MIG instance has no limits of its own, its card answers.

    Returns
    -------
    dict
        ``power_limit_w``, ``sm_clock_max_mhz``, ``temperature_slowdown_c``; None where nobody says.
    """
    found: dict[str, float | None] = dict.fromkeys(_LIMITS)
    for name, ways in _LIMITS.items():
        for function, args, convert in ways:
            ask = getattr(nvml, function, None)
            for handle in handles.values():
                if found[name] is None and ask is not None:
                    found[name] = answer_of(_asked, ask, handle, args, convert)
    return found


def _asked(ask: Callable[..., int], handle: Any, args: tuple[int, ...], convert: Callable[[int], float]) -> float:
    return convert(ask(handle, *args))
