"""Which weights a training had at its end: those of its best checkpoint, where the Trainer loaded them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_monitor.report.material import Material
from hf_monitor.run.better import name_says_lower

__all__ = ["is_reversed", "loaded_step"]


def is_reversed(metric: str, config: Mapping[str, Any]) -> bool:
    """Tell whether the Trainer takes the worst value of a metric for the best.

    transformers sets ``greater_is_better`` to True for every metric whose name does not end with ``loss``.
    """
    return metric == _key(config) and config.get("greater_is_better") is True and name_says_lower(metric)


def _key(config: Mapping[str, Any]) -> str:
    wanted = config.get("metric_for_best_model") or "loss"
    return wanted if isinstance(wanted, str) and wanted.startswith("eval_") else f"eval_{wanted}"


def loaded_step(material: Material) -> int | None:
    """Find the step whose weights ``load_best_model_at_end`` loaded; None where there is no sign that any were.

    As ``Trainer`` (transformers 5.23) does: the best evaluation so far, whenever its checkpoint is there. Without any
    row that tells of a checkpoint the arguments are believed.
    """
    config, key = material.config, _key(material.config)
    if config.get("load_best_model_at_end") is not True or not _came_to_its_end(material) or key not in material.curves:
        return None
    greater = config.get("greater_is_better")
    sign = 1 if (greater if isinstance(greater, bool) else not key.endswith("loss")) else -1
    steps, values = (part.tolist() for part in material.curves[key].finite)
    points = [(step, value) for step, value in zip(steps, values, strict=True) if step > 0]
    if not points:
        return None
    saved = sorted({step for step, _ in material.checkpoints})
    if not saved:
        return int(max(points, key=lambda point: sign * point[1])[0])
    loaded = None
    for now in saved:
        so_far = [point for point in points if point[0] <= now]
        best = max(so_far, key=lambda point: sign * point[1])[0] if so_far else None
        loaded = int(best) if best is not None and best in saved else loaded
    return loaded


def _came_to_its_end(material: Material) -> bool:
    """Tell whether the latest training ended in order: the weights are loaded before it says so."""
    ended = False
    for row in material.run.events:
        if row.get("event") in ("train_begin", "train_end", "error"):
            ended = row.get("event") == "train_end"
    return ended
