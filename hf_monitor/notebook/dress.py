"""Colours and small parts of an area: legible on white and on black, and without the style sheet.

A notebook that is not trusted, and pages that show notebooks, take the style sheet out; ``style`` attributes with the
usual properties stay. So these hold all that is needed, texts keep the colour of the page, and the sheet only turns
pictures in dark themes.
"""

from __future__ import annotations

from markupsafe import Markup

from hf_monitor.report.text_cut import shown
from hf_monitor.report.words import clean, quoted

__all__ = ["BETTER", "CELL", "LEFT", "QUIET", "RIGHT", "STYLE", "WORSE", "badge", "card", "line", "name", "table"]

# The dark themes of JupyterLab (and nbconvert's pages), of VS Code and of Colab.
_DARK = (
    'body[data-jp-theme-light="false"]',
    "body.vscode-dark",
    "body.vscode-high-contrast",
    'body[data-vscode-theme-kind*="dark"]',
    "html[theme=dark]",
)
_LIGHTER = ("hfm-better", "#5fd39a"), ("hfm-worse", "#e8b84a")


def _in_dark(what: str) -> str:
    return ",".join(f"{where} .hfm-card .{what}" for where in _DARK)


STYLE = Markup(
    "<style>.hfm-card tr{background:none!important}"
    f"{_in_dark('hfm-plot')}{{filter:invert(.92) hue-rotate(180deg)}}"
    + "".join(f"{_in_dark(what)}{{color:{colour}!important}}" for what, colour in _LIGHTER)
    + "</style>"
)

QUIET = "opacity:.75"
_BOX = (
    "max-width:920px;margin:4px 0;padding:8px 12px;border:1px solid #8888;border-radius:6px;"
    "word-wrap:break-word;overflow-wrap:anywhere"
)
_CELL = "padding:2px 12px 2px 0;vertical-align:top;border:none;"
LEFT, RIGHT = f"{_CELL}text-align:left;white-space:nowrap", f"{_CELL}text-align:right;white-space:nowrap"
CELL = f"{_CELL}text-align:left;white-space:pre-wrap;overflow-wrap:anywhere;width:100%"
# At least 4 : 1 on white and on #111; lighter in a theme that is known to be dark.
BETTER = Markup('class="hfm-better" style="color:#1f8a4c"')
WORSE = Markup('class="hfm-worse" style="color:#ae6718"')

_GOOD, _INFO, _WARN, _BAD = "#1a7f4b", "#3355bb", "#8a5a00", "#b3261e"
_BADGES = {
    "finished": _GOOD,
    "interrupted": _WARN,
    "stopped": _WARN,
    "terminated": _WARN,
    "unknown": _WARN,
    "warning": _WARN,
    "crashed": _BAD,
    "killed": _BAD,
    "error": _BAD,
    "NaN": _BAD,
    "infinite": _BAD,
    "-infinite": _BAD,
}


def badge(word: str) -> Markup:
    """Give a word on its colour: a status, the severity of an alert, a number that is none."""
    return Markup(
        '<span style="background:{};color:#fff;padding:1px 7px;border-radius:8px;font-weight:600">{}</span>'
    ).format(_BADGES.get(word, _INFO), name(word, 40))


def name(text: object, most: int = 60) -> str:
    """Give others' words for a line of ours: cut, clean, in a direction of their own."""
    return clean(shown(quoted(text, most)))


def card(content: Markup) -> str:
    """Put content into a frame, with the style sheet: an output of a notebook."""
    return str(STYLE + Markup('<div class="hfm-card" style="{}">{}</div>').format(_BOX, content))


def line(*parts: object, style: str = "") -> Markup:
    """Put parts into a line of its own, those that are text escaped."""
    attribute = Markup(' style="{}"').format(style) if style else Markup("")
    return Markup("<div{}>{}</div>").format(attribute, Markup("").join(parts))  # type: ignore[arg-type]


def table(rows: Markup) -> Markup:
    """Put rows into a table at the left side."""
    return Markup(
        '<div style="overflow-x:auto"><table style="margin:6px 0;border-collapse:collapse;border:none">{}</table></div>'
    ).format(rows)
