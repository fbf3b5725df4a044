"""HTML pages of one file: every text is escaped, and a policy lets nothing be loaded or run."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hf_monitor.report import words

__all__ = ["fragment", "page"]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hf_monitor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=words.number, duration=words.duration, moment=words.moment)
    return environment


@cache
def _style() -> tuple[Markup, str]:
    """Give the style sheet and its hash, as Content-Security-Policy names it."""
    text = (files("hf_monitor.report") / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"sha256-{digest}"


def fragment(template: str, **data: Any) -> Markup:
    """Fill a template of ``templates/`` that is a piece of a page; it imports ``macros.html`` where it wants them."""
    return Markup(_environment().get_template(template).render(**data))


def page(template: str, **data: Any) -> bytes:
    """Fill a template of ``templates/`` that extends ``base.html``.

    Parameters
    ----------
    template : str
        ``"report.html"``, ``"comparison.html"``.
    **data
        What it names. Texts are escaped; only a ``Markup`` of ours is not.

    Returns
    -------
    bytes
        A whole HTML page in UTF-8: no script, no request, its style inside.
    """
    style, policy = _style()
    text = _environment().get_template(template).render(style=style, policy=policy, **data)
    return words.clean(text).encode("utf-8")
