"""Secrets that are assigned in a text: ``--hub_token VALUE``, ``API_KEY=VALUE``, ``"password": "VALUE"``, ``?token=``.

Where the form leaves no doubt (an option, a variable of the environment, a query, a name such as ``api_key`` or
``password``), every value is masked. ``key`` and ``token`` alone also stand in prose and in code (``Sort key:
published_date``, ``sorted(rows, key=by_length)``), so there a value must look like a token. What is plainly an
expression (``token = self.next_token(``) stays readable.
"""

from __future__ import annotations

import re

from hf_monitor.run.secret_names import (
    holds_passwords,
    is_secret_name,
    is_secret_value,
    is_special_token,
    is_strong_name,
    looks_random,
)
from hf_monitor.run.secret_shapes import MASK

__all__ = ["mask_assignments"]

_HINT = re.compile(r"key|token|secret|pass|pwd|auth|credential", re.IGNORECASE)
# A name begins where a word begins: with each letter as a possible beginning the search would be quadratic.
_NAME = re.compile(
    r"""(?:(?<![A-Za-z0-9_.-])|(?<=%[0-9A-Fa-f]{2}))
        (?:(?<=\\)[nrt])?                            # the end of a line within an escaped text
        (?P<name>-{0,2}(?:(?:[Aa]ccess|[Aa][Pp][Ii]|[Ss]ecret|[Pp]rivate|[Rr]efresh)[ ])?[A-Za-z_][A-Za-z0-9_.-]{0,99})
        (?P<close>(?:\\?["'])?\]?)
        (?P<sep>[ \t]{0,8}(?:[:!]?={1,3}>?|:|->|%3[AD])[ \t]{0,8}|,\s?|[ \t]{1,8})
        (?P<quote>(?:[bBfFrRuU]{0,2}\\{0,3}["'])?)""",
    re.VERBOSE,
)
_LONGEST_QUOTED = 4096
_BARE = re.compile(r"""[^\s"',;}\])&]{1,512}""")
_WHOLE_BARE = re.compile(r"""[^\s"',;}\])&]+""")
# After an option, a variable of the environment or a password's name a value ends at a blank or a quote; `;Name=`
# begins the next part of a connection string, `&name=` that of a query.
_WORD = re.compile(r"""(?:(?![;&,][A-Za-z_][A-Za-z0-9_-]{0,99}=)[^\s"'])+""")
_LINE = re.compile(r"[^\r\n]+")
_CALL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,99}[(\[]")
_CALL_END = re.compile(r"\s*$|[^\n]{0,300}?[)\]](?![A-Za-z0-9@#$%^&*!])")
_LITERAL = re.compile(r"""[bBfFrRuU]{0,2}(?P<quote>["'])""")
_DOTTED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*")
_BRACKETS = frozenset({"(", "[", "{"})
_TYPE = re.compile(r"(?:str|bytes|int|bool|None|Any|Optional|Union|SecretStr)\b(?:[ ,|=)\[]|$)")
_VARIABLE = re.compile(r"[a-z_]+")
_AFTER_EXPRESSION = frozenset({"", " ", "\t", "\r", "\n", ",", ")", "]", "}", ";", ":"})
_OBJECT = re.compile(
    r"args|cfg|cls|config|context|ctx|env|environ|kwargs|model|options|opts|os|params|request|self|settings|state|"
    r"tokenizer|trainer|training_args"
)


def mask_assignments(text: str) -> str:
    """Mask values that are assigned to a secret's name, in time linear in the text's length."""
    if not _HINT.search(text):
        return text
    parts, done = [], 0
    for match in _NAME.finditer(text):
        if match.start() < done or not (is_secret_name(match["name"]) or _in_connection_string(text, match)):
            continue
        found = _value(text, match)
        if found is not None:
            start, end = found
            if start >= done:
                parts += [text[done:start], MASK]
                done = end
    return "".join([*parts, text[done:]]) if parts else text


def _in_connection_string(text: str, match: re.Match[str]) -> bool:
    """``UID=sa;PWD=...``: elsewhere PWD is the folder that a shell is in."""
    if match["name"] != "PWD" or match["sep"] != "=":
        return False
    return text.startswith(";", match.start("name") - 1) and not text.startswith("/", match.end())


def _value(text: str, match: re.Match[str]) -> tuple[int, int] | None:
    """Find where the secret value stands that belongs to a name; None where there is none."""
    name, sep, quote, start = match["name"], match["sep"], match["quote"], match.end()
    if not sep.strip() or sep.strip() == ",":
        return _after_option(text, match)
    assigned = "=" in sep or "%3D" in sep
    query = text[max(0, match.start("name") - 3) : match.start("name")].endswith(("?", "&", "%3F", "%26"))
    # How options, variables of the environment and keyword arguments are written.
    certain = sep == "=" and (name.startswith("-") or name.isupper() or name.lower().endswith("token"))
    strong = query or certain or is_strong_name(name)
    if quote and (end := _end_of_quoted(text, start, quote)) is not None:
        value = text[start:end]
        if not strong and "f" in quote.lower() and "{" in value:  # key = f"{prefix}_{name}"
            return None
        strong = strong or (bool(match["close"]) and _is_token(name, value))
        compared = sep.strip() in ("==", "!=", "===")
        prose = compared or not (assigned or match["close"])
        return (start, end) if _hidden(value, name, strong, prose) else None
    if not query and not name.startswith("-"):
        as_in_a_shell = sep == "=" and name.isupper()
        names_too = not quote and (assigned or bool(match["close"])) and not as_in_a_shell
        in_brackets = text[start : start + 1] in _BRACKETS and not (strong and (sep == "=" or not assigned))
        if in_brackets:  # what is in there has names of its own, or none
            return None
        code = None if as_in_a_shell else _code(text, start, names_too)
        if code is not None:
            return code if _hidden(text[slice(*code)], name, strong, False) else None
        if holds_passwords(name) and sep != "=" and _begins_line(text, match.start()):
            line = _LINE.match(text, start)
            found = line is not None and is_secret_value(line[0].strip()) and not _TYPE.match(line[0])
            return line.span() if line and found else None
    to_blank = sep == "=" and strong and not query
    bare = (_WORD if to_blank else _BARE).match(text, start)
    if bare is None:
        return None
    value = bare[0].rstrip(",;:)]}")
    if not _hidden(value, name, strong, not assigned):
        return None
    if to_blank:
        return start, start + len(value)
    whole = _WHOLE_BARE.match(text, start)
    return start, whole.end() if whole else bare.end()


def _is_token(name: str, value: str) -> bool:
    """Say whether ``{"token": value}`` is a token of a service rather than a word of a tokenizer."""
    return (
        name.lower().endswith("token")
        and value.isascii()
        and (len(value) >= 16 or not value.replace("_", "").isalpha())
    )


def _hidden(value: str, name: str, strong: bool, prose: bool) -> bool:
    if not is_secret_value(value) or is_special_token(name, value):
        return False
    if strong:
        return True
    return looks_random(value) if prose else looks_random(value) or not _DOTTED.fullmatch(value)


def _after_option(text: str, match: re.Match[str]) -> tuple[int, int] | None:
    """``--hub_token VALUE``, ``['--hub_token', 'VALUE']``; elsewhere ``key value`` is prose."""
    name, quote, start = match["name"], match["quote"], match.end()
    end = _end_of_quoted(text, start, quote) if quote else None
    if not name.startswith("-"):
        # ('api_key', 'VALUE'): headers and settings as pairs; ["password", "username"] are columns
        if end is None or not match["close"] or "," not in match["sep"] or not is_strong_name(name):
            return None
        return (start, end) if is_secret_value(text[start:end]) and looks_random(text[start:end]) else None
    if end is None:
        word = _WORD.match(text, start)
        end = start if word is None else start + len(word[0].rstrip(",;)]}"))
    value = text[start:end]
    return (start, end) if is_secret_value(value) and not value.startswith("-") else None


def _end_of_quoted(text: str, start: int, quote: str) -> int | None:
    mark = quote.lstrip("bBfFrRuU")  # with the backslashes of a text within a text
    last = start + _LONGEST_QUOTED
    end = text.find(mark, start, last)
    while end >= 0 and _is_escaped(text, start, end):
        end = text.find(mark, end + 1, last)
    return None if end < 0 or "\n" in text[start:end] else end


def _is_escaped(text: str, start: int, at: int) -> bool:
    backslashes = 0
    while at - backslashes > start and text[at - backslashes - 1] == "\\":
        backslashes += 1
    return backslashes % 2 == 1


def _code(text: str, start: int, names_too: bool) -> tuple[int, int] | None:
    """Recognise an expression: ``get_token(...)``, ``self.token``.

    Returns
    -------
    (int, int) or None
        Where the literal in a call stands, ``(0, 0)`` for an expression without one; None for no expression.
    """
    call = _CALL.match(text, start)
    if call is not None and _CALL_END.match(text, call.end()):
        literal = _LITERAL.match(text, call.end())
        end = None if literal is None else _end_of_quoted(text, literal.end(), literal["quote"])
        if literal is None or end is None or call[0][-1] == "[":
            return 0, 0
        value = text[literal.end() : end]
        known_by_name = is_secret_name(value) and not looks_random(value)  # os.getenv("API_KEY")
        return (0, 0) if known_by_name else (literal.end(), end)
    dotted = _DOTTED.match(text, start, start + 200)
    if dotted is None or text[dotted.end() : dotted.end() + 1] not in _AFTER_EXPRESSION:
        return None
    words = dotted[0].split(".")
    if len(words) > 1 and _OBJECT.fullmatch(words[0]):
        return 0, 0
    is_name = is_secret_name(words[-1]) or words[-1].endswith(("token_id", "tokens"))
    if names_too and is_name and _VARIABLE.fullmatch(words[-1]):
        return 0, 0
    return None


def _begins_line(text: str, at: int) -> bool:
    start = text.rfind("\n", max(0, at - 200), at) + 1
    return (start > 0 or at <= 200) and not text[start:at].strip(" \t-")
