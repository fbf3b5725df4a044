"""A scene as HTML for a notebook, and as text."""

from __future__ import annotations

from markupsafe import Markup

from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.words import number

__all__ = ["draw"]


def draw(scene: Scene) -> Drawing:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    Drawing
    """
    lines = [Markup("<b>{}</b> {} {}").format(scene.title, scene.status, scene.ending)]
    lines += [Markup("{} {} / {} {}").format(bar.label, bar.done, bar.total, bar.note) for bar in scene.bars]
    for name, curve in scene.state.curves.items():
        lines.append(Markup("{} {}").format(name, number(curve.last[1]) if curve.last else ""))
    html = Markup("<br>").join(lines) + Markup("").join(scene.pictures)
    return Drawing(str(html), str(Markup("\n").join(lines).striptags()))
