"""Texts of the pictures: how wide they are, cut to the room there is."""

from __future__ import annotations

import re
from itertools import accumulate

from markupsafe import Markup

from hf_monitor.charts.text_layout import text_width

__all__ = ["FONT_SIZE", "cut", "text", "width"]

FONT_SIZE = 14.0
"""In units of the view box (440 wide): 11 px on a phone. On a wide screen style.css makes it smaller."""
_ROOM = 0.92  # text_width() is an upper bound, of DejaVu Sans; the fonts of a page are narrower
_LONGEST = 400  # characters that are looked at
# Neither XML nor HTML may hold them; and what turns the direction of the text around it.
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def width(shown: str, size: float = FONT_SIZE) -> float:
    """Give the width of a text, in units of the view box; rather too much than too little."""
    return text_width(shown) * size * _ROOM


def cut(name: object, room: float, size: float = FONT_SIZE) -> str:
    """Make one clean line of a name that fits into some room; what is cut off is an ellipsis.

    Parameters
    ----------
    name : object
        Whatever it is called; 10,000 characters are well.
    room : float
        In units of the view box.
    size : float
        Of the font.

    Returns
    -------
    str
    """
    whole = str(name)
    shown = " ".join(_UNSEEN.sub("\ufffd", " ".join(whole[:_LONGEST].split())).split())
    if len(whole) <= _LONGEST and width(shown, size) <= room:
        return shown
    left = room - width("…", size)
    ends = list(accumulate(width(character, size) for character in shown))
    return shown[: sum(end <= left for end in ends)].rstrip() + "…"


def text(shown: str, x: float, y: float, anchor: str = "start", kind: str = "") -> Markup:
    """Give the element of a text, which is escaped."""
    extra = Markup(' class="{}"').format(kind) if kind else Markup("")
    return Markup('<text x="{:.1f}" y="{:.1f}"{}{}>{}</text>').format(
        x, y, Markup("") if anchor == "start" else Markup(' text-anchor="{}"').format(anchor), extra, shown
    )
