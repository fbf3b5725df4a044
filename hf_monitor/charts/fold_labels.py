"""Where the names of points go so that they do not lie on one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hf_monitor.charts.fold_chart import width_of

__all__ = ["place_labels"]

_Box = tuple[float, float, float, float]

_CHARACTER, _LINE = 6.5, 12.0  # points, of a text in size 9
_CELL = 3.0  # points nearer to one another than this share a label


def place_labels(
    points: Sequence[tuple[float, float]],
    names: Mapping[int, str],
    box: _Box,
    inches: tuple[float, float],
) -> tuple[list[tuple[str, tuple[int, float, float, str]]], list[int]]:
    """Place names beside points, the first free place of six.

    Parameters
    ----------
    points : sequence of (x, y)
    names : mapping of int to str
        Index of a point -> its name.
    box : tuple of float
        Limits of the axes: x from, x to, y from, y to.
    inches : tuple of float
        About how wide and high the axes are: the layout itself is only known when all is drawn.

    Returns
    -------
    list of (str, (int, float, float, str))
        Text, and the point it belongs to, offset in points of 1/72 inch, and its horizontal alignment.
    list of int
        Points whose names have no free place.
    """
    width, height = inches[0] * 72, inches[1] * 72
    at = [((x - box[0]) / (box[1] - box[0]) * width, (y - box[2]) / (box[3] - box[2]) * height) for x, y in points]
    taken: list[_Box] = [(x - 4, x + 4, y - 4, y + 4) for x, y in at]
    together: dict[tuple[int, int], list[int]] = {}
    for index in names:
        together.setdefault((round(at[index][0] / _CELL), round(at[index][1] / _CELL)), []).append(index)
    placed, left_out = [], []
    for indices in together.values():
        index = indices[0]
        text = ", ".join(names[i] for i in indices[:4]) + (f" and {len(indices) - 4} more" if len(indices) > 4 else "")
        long = _CHARACTER * width_of(text)
        x, y = at[index]
        for dx, dy, ha in (
            (8, 0, "left"),
            (-8, 0, "right"),
            (0, 12, "center"),
            (0, -12, "center"),
            (7, 11, "left"),
            (-7, -11, "right"),
        ):
            left = x + dx - {"left": 0.0, "right": long, "center": long / 2}[ha]
            own = (left, left + long, y + dy - _LINE / 2, y + dy + _LINE / 2)
            inside = own[0] >= 0 and own[1] <= width and own[2] >= 0 and own[3] <= height
            if inside and not any(_overlap(own, other) for other in taken):
                taken.append(own)
                placed.append((text, (index, float(dx), float(dy), ha)))
                break
        else:
            left_out += indices
    return placed, left_out


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
