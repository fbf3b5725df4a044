"""What could not be measured or shown, and why."""

from __future__ import annotations

from dataclasses import dataclass

from hf_monitor.report.material import Material

__all__ = ["Gaps", "gaps"]


@dataclass(frozen=True)
class Gaps:
    """Each in a sentence."""

    sentences: tuple[str, ...]


def gaps(material: Material) -> Gaps | None:
    """Collect what the other sections said, each once."""
    sentences = tuple(dict.fromkeys(material.gaps))
    return Gaps(sentences) if sentences else None
