"""Which fonts draw a text, and what is drawn where no font has a character."""

from __future__ import annotations

import importlib.util
import logging
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.text import Text

__all__ = ["dress", "families", "shown", "text_columns", "text_style"]

# A logger and not `warnings`, which would end a training under `python -W error`.
_log = logging.getLogger("hf_monitor.charts")

# Part of matplotlib, with Latin, Greek, Cyrillic, Hebrew, Arabic, some emoji; and the minus sign, which Nanum lacks.
_FIRST = "DejaVu Sans"
# The first of them that is here. Noto's JP face has all Hangul too, and is the only one of NotoSansCJK-*.ttc that
# matplotlib before 3.11 sees.
_KOREAN = (
    "NanumGothic",
    "Nanum Gothic",
    "Noto Sans CJK KR",
    "Noto Sans CJK JP",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
)
_KOREAN_FILES = ("nanumgothic", "notosanscjk-regular", "notosanscjkkr-regular", "malgun", "applesdgothicneo")
# All that pins a font file, also where rcParams ask for bold or italic: coverage is looked up in just that file.
_FACE = {"style": "normal", "variant": "normal", "weight": "normal", "stretch": "normal"}

# Blank, yet neither control nor format characters: Hangul fillers, combining grapheme joiner, Khmer and Mongolian ones.
_BLANK = frozenset(map(ord, "\u115f\u1160\u3164\uffa0\u034f\u17b4\u17b5\u180b\u180c\u180d\u180f")) | set(
    range(0xE0100, 0xE01F0)
)
_LOOKS = dict.fromkeys(range(0xFE00, 0xFE10))  # choose between two looks of the character before them
_MARKS = 3  # on one letter; more would be a tower over the texts around


def families() -> list[str]:
    """Give the fonts that are here: DejaVu Sans first, which has the minus sign, then one for Korean.

    The first of Nanum Gothic, Noto Sans CJK (KR or JP), Malgun Gothic and Apple SD Gothic Neo that matplotlib knows, or
    else NanumGothic of the PyPI package ``koreanize-matplotlib``. The package is not imported (that would change
    rcParams): its font file is added to the fonts that matplotlib knows.

    Returns
    -------
    list of str
        One or two names; none of them is missing, so matplotlib has nothing to complain about.
    """
    from matplotlib.font_manager import fontManager

    # Fonts may come later (fontManager.addfont): their number says whether it is worth to look again.
    korean = _korean_family(len(fontManager.ttflist))
    return [_FIRST] if korean is None else [_FIRST, korean]


def text_style() -> dict[str, Any]:
    """Give the properties of matplotlib's Text that draw a user's text as it is: fonts, no mathtext, no TeX.

    Weight and style are set too, since the bold fonts lack some characters of the regular ones.
    """
    face = {f"font{name}": value for name, value in _FACE.items()}
    return {"fontfamily": families(), **face, "parse_math": False, "usetex": False}


def text_columns(text: str) -> int:
    """Count the columns of a text, as a terminal does: a Hangul syllable or a Chinese character takes two."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shown(text: object, limit: int = 40, uncovered: Counter[str] | None = None) -> str:
    """Make one line of at most `limit` columns of a user's text, with U+XXXX for what no font has.

    White space becomes one space, decomposed letters (file names from macOS) are put together (NFC), and variation
    selectors are left out. U+XXXX stands for a character without a glyph, for a mark that is not in the font of its
    letter, for the fourth mark of a letter, and for what would not be seen: control and zero-width characters, bidi
    overrides, lone surrogates, Hangul fillers.

    Parameters
    ----------
    text : object
        Drawn as ``str(text)``, or as the name of its type where that fails.
    limit : int
        Columns, see :func:`text_columns`; a longer text ends with an ellipsis.
    uncovered : Counter, optional
        The characters for which U+XXXX stands are counted in it.

    Returns
    -------
    str
        Every character of it is in a font of :func:`families`. A space is put before an underscore in front, since
        matplotlib leaves such names out of legends.

    Notes
    -----
    Hebrew and Arabic are given in the order in which they are read. matplotlib 3.11 draws them from right to left and
    joins the letters; before that it draws them from left to right and unjoined, which is hard to read.
    """
    try:
        line = str(text).strip()
    except Exception:  # noqa: BLE001 - str() of a user's object may do anything, and a label is no reason to stop
        line = f"<{type(text).__name__} without text>"
    # Cut before any work, with room for white space that shrinks, and for letters made of several characters.
    start = line[: 8 * max(limit, 0) + 16]
    longer = len(start) < len(line)
    line = " ".join(start.split())
    if line.startswith("_"):
        line = f" {line}"
    if line.isascii() and line.isprintable():
        return _cut(list(line), limit, longer)[0]
    line = unicodedata.normalize("NFC", line).translate(_LOOKS)
    pieces, absent = _pieces(line)
    if any(_is_cjk(char) for char in absent.values()) and len(families()) == 1:
        if _look_on_disk():
            pieces, absent = _pieces(line)
        else:
            _say_how_to_get_a_font()
    result, kept = _cut(pieces, limit, longer)
    if uncovered is not None:
        uncovered.update(char for index, char in absent.items() if index < kept)
    return result


def dress(ax: Axes) -> None:
    """Give all texts of axes (titles, labels, legend, annotations) the fonts, and have none of them parsed.

    Numbers on the axes get the fonts too, whatever font.family and text.usetex say. Twins and colour bars are axes of
    their own. The title of a figure belongs to whoever made the figure: ``figure.suptitle(text, **text_style())``.
    """
    style = text_style()
    for text in _texts(ax):
        text.update(style)
    for axis in ax._axis_map.values():
        _dress_ticks(axis, style)


def _texts(ax: Axes) -> list[Text]:
    texts: list[Text] = [ax.title, ax._left_title, ax._right_title, *ax.texts]  # type: ignore[attr-defined]
    texts += [axis.label for axis in ax._axis_map.values()]
    texts += [cell.get_text() for table in ax.tables for cell in table.get_celld().values()]
    legend = ax.get_legend()
    return texts if legend is None else [*texts, legend.get_title(), *legend.get_texts()]


def _dress_ticks(axis: Axis, style: dict[str, Any]) -> None:
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

    given = isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator)
    if given and not isinstance(axis.get_major_formatter(), NullFormatter | ScalarFormatter):  # texts, not numbers
        labels = _labels(axis.get_major_ticks(len(axis.get_majorticklocs())))
    elif _numbers_are_plain():
        return  # ticks cost
    else:
        style = {**style, "fontfamily": _FIRST}
        del style["parse_math"]  # powers of ten are written with it
        labels = [axis.offsetText, *_labels(axis.majorTicks[:1])]  # later ticks copy the first
        if not isinstance(axis.get_minor_formatter(), NullFormatter):
            labels += _labels(axis.minorTicks[:1])
    for label in labels:
        label.update(style)


def _labels(ticks: list[Any]) -> list[Text]:
    return [label for tick in ticks for label in (tick.label1, tick.label2)]


def _numbers_are_plain() -> bool:
    """Tell whether matplotlib itself draws numbers in our first font, as it does where rcParams say nothing else."""
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties

    default, ours = FontProperties(), FontProperties(family="sans-serif", **_FACE)  # type: ignore[arg-type]
    return default == ours and rcParams["font.sans-serif"][:1] == [_FIRST] and not rcParams["text.usetex"]


def _pieces(line: str) -> tuple[list[str], dict[int, str]]:
    """Give what is drawn for each character, and the characters for which it is U+XXXX, by their index."""
    charmaps = [_charmap(family) for family in families()]
    pieces: list[str] = []
    absent: dict[int, str] = {}
    base, marks = charmaps[0], 0  # the font of the letter before
    for index, char in enumerate(line):
        code, category = ord(char), unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs") or code in _BLANK:
            font = None
        elif category[0] == "M" or code in (0xFF9E, 0xFF9F):
            # matplotlib 3.11 takes a letter with its marks out of one font, or warns that the letter is missing.
            marks += 1
            font = base if code in base and marks <= _MARKS else None
        else:
            marks = 0
            font = next((charmap for charmap in charmaps if code in charmap), None)
        if font is None:
            absent[index] = char
        base = charmaps[0] if font is None else font
        pieces.append(char if font is not None else f"U+{code:04X}")
    return pieces, absent


def _cut(pieces: list[str], limit: int, longer: bool) -> tuple[str, int]:
    """Join the pieces that fit into `limit` columns, and say how many they are."""
    used = fits = 0
    for index, piece in enumerate(pieces):
        used += text_columns(piece)
        if used > limit:
            longer = True
            break
        if used < limit:
            fits = index + 1
    if not longer:
        return "".join(pieces), len(pieces)
    return ("".join(pieces[:fits]).rstrip() + "…" if limit > 0 else ""), fits


def _is_cjk(char: str) -> bool:
    return unicodedata.name(char, "").startswith(("HANGUL", "CJK", "HIRAGANA", "KATAKANA"))


@cache
def _korean_family(n_fonts: int) -> str | None:
    """Look for a Korean font; `n_fonts` is how many matplotlib knows, and only the key of the cache."""
    from matplotlib.font_manager import FontProperties, fontManager

    here = {entry.name for entry in fontManager.ttflist if entry.name in _KOREAN and Path(entry.fname).is_file()}
    for family in _KOREAN:
        if family in here:
            return family
    path = _packaged_font()
    if path is None:
        return None
    # The list of fonts is matplotlib's own and global, but a list of families for fallback takes names only, no files.
    # It is no setting: what others draw looks as before.
    fontManager.addfont(path)
    return FontProperties(fname=path).get_name()


def _packaged_font() -> Path | None:
    spec = importlib.util.find_spec("koreanize_matplotlib")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "fonts" / "NanumGothic.ttf"
        if path.is_file():
            return path
    return None


@cache
def _charmap(family: str) -> frozenset[int]:
    """Give the characters that the font of a family has."""
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    path = findfont(FontProperties(family=[family], **_FACE))  # type: ignore[arg-type]
    face = getattr(path, "face_index", 0)  # matplotlib before 3.11 knows the first face only, and no such parameter
    font = FT2Font(path, face_index=face) if face else FT2Font(path)
    return frozenset(font.get_charmap())


@cache
def _look_on_disk() -> bool:
    """Look once for a font installed after matplotlib made its list, which it keeps between processes."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in sorted(findSystemFonts()):
        if Path(path).stem.lower().replace("_", "-") in _KOREAN_FILES:
            fontManager.addfont(path)
    return len(families()) > 1


@cache
def _say_how_to_get_a_font() -> None:
    _log.warning(
        "There is no font for Korean here, so charts show U+XXXX instead. Install one: "
        'pip install "hf-monitor[korean]" (or, on Debian and Ubuntu, apt install fonts-nanum), and start Python again.'
    )
