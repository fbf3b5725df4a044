"""Numbers of the machine at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hf_monitor.diagnosis.rows import number as plain
from hf_monitor.report.recording import Recording, Track
from hf_monitor.report.words import number

__all__ = ["TIMES", "Numbers", "Tile", "gpu_tiles", "host_tiles", "timing_tiles"]

TIMES = ("seconds", "data_wait_share", "samples_per_second", "tokens_per_second")
"""What the tiles of the timed intervals are made of."""

Numbers = Sequence[float | None]

_JOULES_PER_WH = 3600.0
_SHORTEST_S = 1e-12


class Tile(NamedTuple):
    """A number, what it is, and what it is made of."""

    name: str
    value: str
    note: str = ""


def gpu_tiles(found: Recording) -> list[Tile]:
    """Say how busy the GPUs were, what memory they took at most, power and energy."""
    several = len(found.gpus) > 1
    names = {found.name(gpu): found.facts.get(gpu, {}).get("name") for gpu in found.gpus}
    models = list(dict.fromkeys(str(name) for name in names.values() if name))
    tiles = [Tile("GPU" + "s" * several, (f"{len(names)} x " if several else "") + ", ".join(models))] if models else []
    busy = _each(found, "utilization_percent", lambda track: float(np.median(track.while_training)))
    if busy:
        n = sum(len(found.gpus[gpu]["utilization_percent"].while_training) for gpu, _ in busy)
        tiles.append(_ranged("Median utilization", found, busy, "%", f"{n:,} samples while training"))
    tiles += _peak_memory(found)
    power = _each(found, "power_w", lambda track: float(np.median(track.while_training)))
    if power:
        limits = {found.facts.get(gpu, {}).get("power_limit_w") for gpu, _ in power}
        limit = limits.pop() if len(limits) == 1 else None
        of = "" if plain(limit) is None else f"while training; the limit is {number(limit)} W"
        tiles.append(_ranged("Median power", found, power, "W", of))
    heat = _each(found, "temperature_c", lambda track: float(track.all.max()))
    if heat:
        tiles.append(_ranged("Highest temperature", found, heat, "°C", ""))
    energy = _each(found, "energy_j", Track.gained)
    if energy:
        said = "of the whole card, from the first sample to the last"
        tiles.append(Tile("Energy", f"{number(sum(joules for _, joules in energy) / _JOULES_PER_WH, 3)} Wh", said))
    return tiles


def _peak_memory(found: Recording) -> list[Tile]:
    peaks = []
    for gpu, tracks in found.gpus.items():
        track = tracks.get("memory_used_mib")
        total = found.facts.get(gpu, {}).get("memory_total_mib")
        if track is not None:
            peaks.append((float(track.all.max()), plain(total, 1.0), gpu))
    tiles = []
    if peaks:  # of several the fullest
        used, total, gpu = max(peaks, key=lambda peak: (peak[0] / (peak[1] or 1e15), peak[0]))
        share = "" if total is None else f"{100 * used / total:.0f} % of {number(total)} MiB"
        whose = found.name(gpu) if len(peaks) > 1 else ""
        note = ", ".join(part for part in (share, whose, "highest sample") if part)
        tiles.append(Tile("Peak memory", f"{number(used)} MiB", note))
    held = _each(found, "torch_reserved_peak_mib", lambda track: float(track.all.max()))
    if held:
        tiles.append(_ranged("Held by torch at most", found, held, "MiB", "its allocator's own peak"))
    return tiles


def host_tiles(found: Recording) -> list[Tile]:
    """Say how busy the processor was, and what RAM was taken at most."""
    tiles = []
    if track := found.host.get("cpu_percent"):
        busy = float(np.median(track.while_training))
        tiles.append(Tile("Median processor load", f"{number(busy, 3)} %", "of the machine, while training"))
    if track := found.host.get("ram_used_mib"):
        used = float(track.all.max())
        of = (
            f"{100 * used / found.ram_total_mib:.0f} % of {number(found.ram_total_mib)} MiB"
            if found.ram_total_mib
            else ""
        )
        tiles.append(Tile("Peak RAM", f"{number(used)} MiB", of))
    if track := found.host.get("process_rss_mib"):
        tiles.append(Tile("Peak RAM of this process", f"{number(float(track.all.max()))} MiB"))
    return tiles


def timing_tiles(timing: Mapping[str, Numbers]) -> list[Tile]:
    """Say how long the training waited for data, and how much it did a second; means over the time.

    Parameters
    ----------
    timing : mapping of str to sequence of (float or None)
        Under each of ``TIMES`` what the timed intervals have.
    """
    lengths = timing["seconds"]
    tiles = []
    wait, n = _mean(timing["data_wait_share"], lengths)
    if wait is not None:
        tiles.append(Tile("Waited for data", f"{number(100 * wait, 3)} %", f"of the time of {n:,} logged intervals"))
    speed, _ = _mean(timing["samples_per_second"], lengths)
    if speed is not None:
        tiles.append(Tile("Throughput", f"{number(speed)} samples/s", "while training, without evaluations"))
    tokens, _ = _mean(timing["tokens_per_second"], lengths)
    if tokens is not None:
        tiles.append(Tile("Tokens", f"{number(tokens)} tokens/s"))
    return tiles


def _mean(values: Numbers, lengths: Numbers) -> tuple[float | None, int]:
    """Give the mean of a number, each interval weighing as long as it took, and of how many intervals."""
    total = whole = 0.0
    n = 0
    for value, seconds in zip(values, lengths, strict=True):
        if value is not None and seconds is not None and seconds >= _SHORTEST_S:
            total += value * seconds
            whole += seconds
            n += 1
    return (total / whole if n else None), n


def _each(found: Recording, key: str, reduce: Any) -> list[tuple[tuple[int, int], float]]:
    return [(gpu, reduce(tracks[key])) for gpu, tracks in found.gpus.items() if key in tracks]


def _ranged(name: str, found: Recording, values: Sequence[tuple[tuple[int, int], float]], unit: str, note: str) -> Tile:
    """Say the value of one device, or the lowest and the highest of several and whose they are."""
    (low_gpu, low), (high_gpu, high) = (one(values, key=lambda pair: pair[1]) for one in (min, max))
    if len(values) == 1 or low == high:
        return Tile(name, f"{number(low, 3) if low < 1000 else number(low)} {unit}", note)
    whose = f"{found.name(low_gpu)} lowest, {found.name(high_gpu)} highest"
    return Tile(
        name, f"{number(low, 3)} to {number(high, 3)} {unit}", ", ".join(part for part in (note, whose) if part)
    )
