"""Machine: what GPU, processor and memory did, and how long the training waited for data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hf_monitor.diagnosis.rows import number
from hf_monitor.report.machine_tiles import TIMES, Numbers, Tile, gpu_tiles, host_tiles, timing_tiles
from hf_monitor.report.material import Material
from hf_monitor.report.plots import Level, Mark, Picture, Series, line_plot
from hf_monitor.report.recording import Recording, Track

__all__ = ["Machine", "machine"]

_MOST_DEVICES = 8
_GIB_FROM = 10_000.0  # MiB
_FEWEST_SAMPLES = 5
_BUSY, _BY_OTHERS = 80.0, 30.0  # % of all cores
_SOURCE = "system.jsonl"


@dataclass(frozen=True)
class Machine:
    """Numbers at a glance, pictures, and what is to be said about them."""

    tiles: Sequence[Tile]
    pictures: Sequence[Picture]
    notes: Sequence[str]


class _Panel(NamedTuple):
    title: str
    key: str
    y_label: str
    y_range: tuple[float, float] | None


_PANELS = (
    _Panel("GPU utilization", "utilization_percent", "utilization (%)", (0.0, 100.0)),
    _Panel("Power", "power_w", "power (W)", (0.0, 0.0)),
    _Panel("Temperature", "temperature_c", "temperature (°C)", None),
)


_TIMED = (
    ("Waiting for data", "data_wait_share", 100.0, "share of the time (%)", 10.0),
    ("Throughput", "samples_per_second", 1.0, "samples/s", 0.0),
)


def machine(material: Material) -> Machine | None:
    """Draw utilization, memory, power and temperature of the GPUs, else CPU and RAM; wait for data and throughput.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Machine or None
        None where nothing was sampled and no step was timed.
    """
    found = material.recording
    timing = [row for row in material.run.metrics if row.get("kind") == "timing"]
    material.gaps += dict.fromkeys(found.problems)
    sampled = bool(found.gpus or found.host)
    if not sampled:
        material.gaps.append("GPU, processor and memory were not sampled (GpuMonitorCallback does it).")
    elif not found.gpus:
        material.gaps.append("No GPU was sampled: processor and RAM are shown instead.")
    if not timing:
        material.gaps.append("No step was timed, so it is not known how long the training waited for data.")
    if not sampled and not timing:
        return None
    numbers = {name: _column(timing, name) for name in ("step", *TIMES)}
    pictures = _of_time(found) if sampled else []
    for title, key, factor, label, reach in _TIMED:
        series = _over_steps(numbers["step"], key, numbers[key], factor)
        if series is not None:
            pictures.append(line_plot(title, [series], y_label=label, y_range=(0.0, reach), source="metrics.jsonl"))
    tiles = [*(gpu_tiles(found) if found.gpus else host_tiles(found)), *timing_tiles(numbers)]
    notes = []
    if found.n_unused:
        notes.append(f"{found.n_unused} more GPUs of the machine were not used by this training, and are not drawn.")
    if len(found.gpus) > _MOST_DEVICES:
        notes.append(f"Of {len(found.gpus)} GPUs the first {_MOST_DEVICES} are drawn.")
    notes += _shared_with_others(found, material)
    return Machine(tiles, pictures, notes)


def _shared_with_others(found: Recording, material: Material) -> list[str]:
    """Say that other programs took the processor: then all times are longer than they would be alone."""
    cores = number(material.facts.get("cpu_count"), 1.0)
    of_machine, of_process = found.host.get("cpu_percent"), found.host.get("process_cpu_percent")
    # The workers of the data loader are processes of their own, and no others.
    workers = number(material.config.get("dataloader_num_workers")) or 0
    processes = number(material.fact("devices").get("world_size")) or 1
    if not of_machine or not of_process or cores is None or workers or processes > 1:
        return []
    if min(len(of_machine.while_training), len(of_process.while_training)) < _FEWEST_SAMPLES:
        return []
    busy = float(of_machine.while_training.mean())
    own = float(of_process.while_training.mean()) / cores
    if busy < _BUSY or busy - own < _BY_OTHERS:
        return []
    return [
        f"The processor was busy to {busy:.0f} %: this process took {own:.0f} %, other programs {busy - own:.0f} %. "
        "Times may be longer than they would be alone."
    ]


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float | None]:
    """Give a number of each row; one that is usual is not asked about, since there may be a million."""
    return [
        value if value.__class__ is float and 0.0 <= value <= 1.0 else number(value)
        for value in [row.get(name) for row in rows]
    ]


def _over_steps(at: Numbers, key: str, found: Numbers, factor: float) -> Series | None:
    """Take a number of the timed intervals over the steps."""
    steps, values = [], []
    for step, value in zip(at, found, strict=True):
        if step is not None and value is not None:
            steps.append(step)
            values.append(value * factor)
    return Series(key.replace("_", " "), steps, values) if steps else None


class _Time:
    """The time axis, in a unit that suits its length."""

    def __init__(self, found: Recording) -> None:
        self.clock = found.clock()
        tracks = [track for tracks in (*found.gpus.values(), found.host) for track in tracks.values()]
        end = max(float(self.clock.at(track).max()) for track in tracks)
        self.divisor, unit = (1.0, "s") if end < 180 else (60.0, "min") if end < 180 * 60 else (3600.0, "h")
        self.label = f"time ({unit})"
        self.breaks = [at / self.divisor for at in self.clock.breaks]
        begins = list(self.clock.begins.items())
        self.marks = [Mark(begin / self.divisor, f"attempt {attempt}") for attempt, begin in begins[1:]]

    def series(self, name: str, track: Track, factor: float = 1.0) -> Series:
        return Series(name, self.clock.at(track) / self.divisor, track.all * factor, self.breaks)  # type: ignore[arg-type]


def _of_time(found: Recording) -> list[Picture]:
    time = _Time(found)
    if not found.gpus:
        return _of_host(found, time)
    pictures = []
    gpus = list(found.gpus.items())[:_MOST_DEVICES]
    for panel in _PANELS:
        series = [time.series(found.name(gpu), tracks[panel.key]) for gpu, tracks in gpus if panel.key in tracks]
        if series:
            pictures.append(
                line_plot(
                    panel.title,
                    series,
                    x_label=time.label,
                    y_label=panel.y_label,
                    y_range=panel.y_range,
                    marks=time.marks,
                    source=_SOURCE,
                )
            )
    memory = _memory(
        "GPU memory",
        [
            (
                found.name(gpu) + ("" if "memory_used_mib" in tracks else ", held by torch"),
                tracks.get("memory_used_mib") or tracks.get("torch_reserved_mib"),
                found.facts.get(gpu, {}).get("memory_total_mib"),
            )
            for gpu, tracks in gpus
        ],
        time,
    )
    return pictures[:1] + memory + pictures[1:]


def _of_host(found: Recording, time: _Time) -> list[Picture]:
    names = (("machine", "cpu_percent"), ("this process (100 % is one core)", "process_cpu_percent"))
    busy = [time.series(name, found.host[key]) for name, key in names if key in found.host]
    pictures = []
    if busy:
        pictures.append(
            line_plot(
                "Processor",
                busy,
                x_label=time.label,
                y_label="busy (%)",
                y_range=(0.0, 100.0),
                marks=time.marks,
                source=_SOURCE,
            )
        )
    tracks = [("machine", "ram_used_mib", found.ram_total_mib), ("this process", "process_rss_mib", None)]
    return pictures + _memory("RAM", [(name, found.host.get(key), total) for name, key, total in tracks], time)


def _memory(title: str, tracks: Sequence[tuple[str, Track | None, object]], time: _Time) -> list[Picture]:
    """Draw memory from 0, against its total where that is known."""
    totals = sorted({known for _, _, total in tracks if (known := number(total, 1.0)) is not None})
    largest = max([*totals, *(float(track.all.max()) for _, track, _ in tracks if track is not None)], default=0.0)
    factor, unit = (1 / 1024, "GiB") if largest >= _GIB_FROM else (1.0, "MiB")
    series = [time.series(name, track, factor) for name, track, _ in tracks if track is not None]
    if not series:
        return []
    levels = [Level(total * factor, f"total {total * factor:,.4g} {unit}") for total in totals[-3:]]
    return [
        line_plot(
            title,
            series,
            x_label=time.label,
            y_label=f"used ({unit})",
            y_range=(0.0, 0.0),
            marks=time.marks,
            levels=levels,
            source=_SOURCE,
        )
    ]
