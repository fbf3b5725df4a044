"""Secrets do not get into the run folder: known token shapes, passwords in URLs, and values with a secret's name.

A name counts when one of its words is exactly token, key, secret, password ... (``hub_token``, ``WANDB_API_KEY``) and
its value is a text of at least 8 characters that is no number or boolean. Whole words, so that ``eos_token_id``-like
model settings survive: their values are numbers or short, and the names of tokenizer tokens are excepted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["MASK", "environment_secrets", "is_secret_name", "mask_text", "mask_values"]

MASK = "***"

_SECRET_WORDS = frozenset(
    {
        "apikey",
        "auth",
        "authorization",
        "credential",
        "credentials",
        "key",
        "passphrase",
        "passwd",
        "password",
        "pwd",
        "secret",
        "token",
    }
)
# Tokenizer and generation settings: `eos_token: "</s_longer>"` is a symbol, not a secret.
_TOKENIZER_TOKENS = re.compile(
    r"(?:^|_)(?:bos|eos|pad|unk|sep|cls|mask|image|audio|video|boi|eoi|decoder_start|start|end|special|forced_bos|"
    r"forced_eos|begin|additional_special|max_new|min_new|num)_tokens?(?:_|$)",
    re.IGNORECASE,
)
_WORKING_FOLDERS = frozenset({"PWD", "OLDPWD"})  # every shell sets them; `MYSQL_PWD` is a password
# `token = get_token(` in a traceback is code; a literal in such a call is none.
_CALL = re.compile(r"[A-Za-z_][\w.]*\(")
_LITERAL_IN_CALL = re.compile(
    r"""(?<![A-Za-z0-9_.-])(?P<name>[A-Za-z_][A-Za-z0-9_.]{0,99}) = [A-Za-z_][\w.]*\(["'](?P<value>[^"']{8,})"""
)
_NUMBER_OR_BOOL = re.compile(r"[-+0-9.,eE_]+|true|false|none|null|yes|no", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_SHAPES = re.compile(
    r"""
    \bhf_[A-Za-z0-9]{16,}                                  # Hugging Face
    | \bapi_org_[A-Za-z0-9]{16,}
    | \bsk-(?:proj-|svcacct-|ant-)?[A-Za-z0-9_-]{16,}      # OpenAI and others in its manner
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,}
    | \bglpat-[A-Za-z0-9_-]{16,}
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                        # AWS key ids
    | \bwandb_v[0-9]+_[A-Za-z0-9_-]{20,}
    | \blocal-[0-9a-f]{40}\b
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                       # Slack
    | (?<=\bBearer[ ])[A-Za-z0-9._~+/=-]{8,} | (?<=\bBasic[ ])[A-Za-z0-9+/=]{8,}
    """,
    re.VERBOSE,
)
# `user:password@host` (a password may hold a slash), and a bare token of 12 characters or more before the `@`.
_URL_PASSWORD = re.compile(r"""(?P<head>://)(?:[^\s/@:'"]*:[^\s@'"]+|[^\s/@:'"]{12,})(?=@)""")
# `--hub_token VALUE`, `--hub_token=VALUE`, `api_key: VALUE`, `password='VALUE'`
# The look-behind keeps the search linear: a name begins where a word begins, not at each of its letters.
_ASSIGNED = re.compile(
    r"""(?<![A-Za-z0-9_.-])(?P<name>-{0,2}[A-Za-z_][A-Za-z0-9_.-]{0,99})"""
    r"""(?P<sep>["']?\s?[=:]\s?["']?|["'],?\s["']|\s["']?)(?P<value>[^\s"',;}\])&]{8,})"""
)


def is_secret_name(name: str) -> bool:
    """Say whether an argument or environment variable of this name may hold a secret."""
    if name in _WORKING_FOLDERS or _TOKENIZER_TOKENS.search(name):
        return False
    words = {word.lower() for word in _WORD.findall(name)}
    # `DB_PASS` is a password; "first pass: ..." in a log and `forward_pass` are not.
    return bool(words & _SECRET_WORDS) or (len(words) > 1 and "pass" in words and name.isupper())


def _is_secret_value(value: object) -> bool:
    return isinstance(value, str) and len(value) >= 8 and not _NUMBER_OR_BOOL.fullmatch(value)


def environment_secrets(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of the environment's secrets, longest first, so that they can be found in any text.

    A path that exists (``GOOGLE_APPLICATION_CREDENTIALS``, ``SSH_AUTH_SOCK``) is a place, not a secret: masking it
    would take it out of every other path below it.

    Parameters
    ----------
    environ : mapping, optional
        ``os.environ`` by default.
    """
    environ = os.environ if environ is None else environ
    values = {v for k, v in environ.items() if is_secret_name(k) and _is_secret_value(v) and not _is_path(v)}
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def _is_path(value: str) -> bool:
    try:
        return Path(value).is_absolute() and Path(value).exists()
    except (OSError, ValueError):  # too long for a path, or a folder that may not be looked into
        return False


def _mask_assignment(match: re.Match[str]) -> str:
    name, sep, value = match["name"], match["sep"], match["value"]
    if sep == " = " and _CALL.fullmatch(value):
        return match[0]
    assigned = "=" in sep or ":" in sep
    # `key value` with a space only counts for a command-line option, else prose would be masked; and the value is not
    # the next option.
    if (assigned or (name.startswith("--") and not value.startswith("-"))) and is_secret_name(name):
        return f"{name}{sep}{MASK}" if _is_secret_value(value) else match[0]
    return f"{name}{sep}{_ASSIGNED.sub(_mask_assignment, value)}"  # `env:API_KEY=...`, `https://host/x?token=...`


def mask_text(text: str, known: tuple[str, ...] = ()) -> str:
    """Mask secrets in a text.

    Parameters
    ----------
    text : str
    known : tuple of str
        Values known to be secret (see :func:`environment_secrets`); each is masked wherever it stands.

    Returns
    -------
    str

    Examples
    --------
    >>> mask_text("train.py --hub_token abcdefgh12 --lr 3e-4 https://me:pw12@host/x")
    'train.py --hub_token *** --lr 3e-4 https://***@host/x'
    """
    for value in known:
        if value in text:
            text = text.replace(value, MASK)
    text = _SHAPES.sub(MASK, text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    if '("' in text or "('" in text:
        text = _LITERAL_IN_CALL.sub(_mask_literal, text)
    return _ASSIGNED.sub(_mask_assignment, text)


def _mask_literal(match: re.Match[str]) -> str:
    found, value = match[0], match["value"]
    return found.removesuffix(value) + MASK if is_secret_name(match["name"]) and _is_secret_value(value) else found


def mask_values(value: Any, known: tuple[str, ...] = (), name: str = "") -> Any:
    """Mask secrets in a nested structure of dicts, lists and texts; everything else is returned as it is.

    Parameters
    ----------
    value : object
    known : tuple of str
        As in :func:`mask_text`.
    name : str
        The name under which `value` stands.
    """
    if isinstance(value, Mapping):
        return {k: mask_values(v, known, str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        masked: list[Any] = []
        option = ""
        for item in value:  # a command line: ["--hub_token", "value"]
            masked.append(mask_values(item, known, option or name))
            option = item.lstrip("-") if isinstance(item, str) and item.startswith("--") and "=" not in item else ""
        return masked
    if isinstance(value, str):
        option, equals, rest = value.partition("=")
        if equals and option.startswith("--") and is_secret_name(option) and _is_secret_value(rest):
            return f"{option}={MASK}"
        return MASK if name and is_secret_name(name) and _is_secret_value(value) else mask_text(value, known)
    return value
