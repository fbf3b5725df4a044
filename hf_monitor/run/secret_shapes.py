"""Secrets that are known by their shape: tokens of well-known services, passwords in URLs, private keys."""

from __future__ import annotations

import re

from hf_monitor.run.secret_names import looks_random

__all__ = ["MASK", "SCREENS", "mask_shapes"]

MASK = "***"

# Where a word begins, also after `\\n` and `%20` as an escaped text has them.
_BEGIN = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=\\u[0-9a-f]{4}))"
_SHAPES = re.compile(
    rf"""
    {_BEGIN}(?:
      hf_[A-Za-z0-9]{{16,}} | api_org_[A-Za-z0-9]{{16,}}           # Hugging Face
    | sk-(?:proj|svcacct|ant|admin|or|lf)-[A-Za-z0-9_-]{{16,}}     # OpenAI and others in its manner
    | gsk_[A-Za-z0-9]{{20,}} | nvapi-[A-Za-z0-9_-]{{20,}} | r8_[A-Za-z0-9]{{20,}} | lsv2_[a-z]{{2}}_[A-Za-z0-9_]{{20,}}
    | gh[pousr]_[A-Za-z0-9]{{20,}} | github_pat_[A-Za-z0-9_]{{20,}}
    | gl(?:pat|dt|rt|ptt|cbt)-[A-Za-z0-9_-]{{16,}}
    | (?:AKIA|ASIA)[A-Z0-9]{{16}}(?![A-Za-z0-9])                   # AWS key ids
    | wandb_v[0-9]+_[A-Za-z0-9_-]{{20,}} | local-[0-9a-f]{{40}}(?![0-9a-f])
    | xox[abeoprs]-[A-Za-z0-9-]{{10,}} | xapp-[A-Za-z0-9-]{{16,}}  # Slack
    | AIza[A-Za-z0-9_-]{{35}} | ya29\.[A-Za-z0-9_-]{{20,}} | GOCSPX-[A-Za-z0-9_-]{{20,}}  # Google
    | [spr]k_(?:live|test)_[A-Za-z0-9]{{16,}} | whsec_[A-Za-z0-9]{{20,}}  # Stripe
    | npm_[A-Za-z0-9]{{30,}} | pypi-AgE[A-Za-z0-9_-]{{20,}} | dckr_pat_[A-Za-z0-9_-]{{20,}}
    | dop_v1_[a-f0-9]{{40,}} | shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{{32}}
    | SG\.[A-Za-z0-9_-]{{16,}}\.[A-Za-z0-9_-]{{16,}}               # SendGrid
    )
    | (?:{_BEGIN}|(?<=/bot))[0-9]{{8,10}}:AA[A-Za-z0-9_-]{{32,}}     # Telegram
    | (?:(?<![A-Za-z0-9_-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{{2}}))     # JSON Web Token
      eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]{{8,}}(?:\.[A-Za-z0-9_-]*){{0,3}}
    """,
    re.VERBOSE,
)
_SK = re.compile(r"(?:(?<![A-Za-z0-9_-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))sk-[A-Za-z0-9_-]{16,}")
_WEBHOOK = re.compile(
    r"(?P<head>hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9/_-]{8,}"
)
# `user:password@host` (a password may hold a slash or an `@`; what begins with a port is an address), and a bare token
# of 12 characters or more before the `@`. Bounded, so that the search stays linear.
_URL_PASSWORD = re.compile(
    r"""(?P<head>://)(?:[^\s/@:'"]{0,100}+:(?![0-9]{1,5}/)[^\s@'"]{1,256}+(?:@[^\s/@'",]{1,256}+(?=@)){0,4}+"""
    r"""|[^\s/@:'"]{12,256}+)(?=@)"""
)
_PRIVATE_KEY = re.compile(
    r"(?P<head>-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----)(?:(?!-----END).){1,20000}", re.DOTALL
)


def _after(mark: str, then: str, heads: str) -> str:
    """Make a pattern that begins with `mark`, a rare character that is found fast, and only then looks around."""
    behind = "|".join(f"(?<={head}{re.escape(mark)})" for head in heads.split())
    return f"{re.escape(mark)}(?={then})(?:{behind})"


SCREENS = tuple(
    re.compile(pattern.encode())
    for pattern in (
        _after("_", "[A-Za-z0-9_-]{16}", "hf org gh. pat gsk r8 lsv2_.. _v. _v.. live test whsec npm dop_v1 shp.."),
        _after("-", "[A-Za-z0-9_-]{10}", "sk api gl.. gl... local xox. xapp GOCSPX pypi"),
        _after("-", "----", "KEY BLOCK"),
        _after(".", "[A-Za-z0-9_-]{16}", "SG ya29"),
        "A(?:[KS]IA[A-Z0-9]{16}|Iza[A-Za-z0-9_-]{35}|(?<=:A)A[A-Za-z0-9_-]{32})",
        "J(?<=eyJ)[A-Za-z0-9_-]{8}",
        r"/(?:(?<=:/)/[^\s@'\"]{1,420}@|(?<=hooks\.slack\.com/)|(?<=/api/webhooks/))",
    )
)
"""One of these is found in whatever :func:`mask_shapes` would change."""


def mask_shapes(text: str) -> str:
    """Mask what is a secret by its shape, wherever it stands."""
    text = _SHAPES.sub(MASK, text)
    if "sk-" in text:
        text = _SK.sub(lambda match: MASK if match[0][3:].isalnum() or looks_random(match[0][3:]) else match[0], text)
    if "://" in text and "@" in text:
        text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    if "hooks" in text:
        text = _WEBHOOK.sub(rf"\g<head>{MASK}", text)
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(rf"\g<head>{MASK}", text)
    return text
