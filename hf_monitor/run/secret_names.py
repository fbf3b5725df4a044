"""Which names may hold a secret, and which values may be one.

A name counts when one of its words is exactly token, key, secret, password ... (``hub_token``, ``WANDB_API_KEY``,
``clientSecret``) and its value is a text of at least 8 characters that is no number or boolean. Whole words, so that
model settings (``max_new_tokens``, ``num_key_value_heads``) survive; the names of tokenizer tokens are excepted.
"""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["holds_passwords", "is_secret_name", "is_secret_value", "is_special_token", "is_strong_name", "looks_random"]

MIN_LENGTH = 8
"""Characters that a value must have to count as a secret."""

# Nobody calls a column or a sorting order so: any value is a secret.
_PASSWORD_WORDS = frozenset({"passphrase", "passwd", "password", "passwords", "pwd"})
_STRONG_WORDS = _PASSWORD_WORDS | {"apikey", "apikeys", "secret", "secrets"}
# `sort key`, `special token`: what they hold may be no secret at all.
_WEAK_WORDS = frozenset({"auth", "authorization", "credential", "credentials", "key", "token"})
_QUALIFIED = frozenset({"key", "keys", "token", "tokens"})
_QUALIFIER = re.compile(
    r"access|account|admin|api|app|auth|aws|azure|bearer|bot|client|csrf|deploy|encryption|gh|git|github|gitlab|google|"
    r"hf|hub|id|jwt|license|master|oauth|openai|personal|private|push|refresh|secret|security|service|session|shared|"
    r"signing|slack|ssh|user|wandb|webhook"
)
_GLUED = re.compile(r"(?:password|passwd|passphrase|secret|apikey|(?:access|auth|secret|private)(?:key|token))$")
# "first pass: ..." in a log and `forward_pass` are no passwords.
_PASS_OF = re.compile(
    r"admin|db|database|email|ftp|git|imap|ldap|login|mail|mongo|mysql|pg|postgres|proxy|redis|root|smtp|sql|ssh|sudo|"
    r"user|vpn"
)
# Tokenizer and generation settings: `eos_token: "</s_longer>"` is a symbol, not a secret.
_TOKENIZER_TOKENS = re.compile(
    r"(?:^|[-_.])(?:additional_special|audio|begin|bos|boi|cls|decoder_start|end|eoi|eos|forced_bos|forced_eos|image|"
    r"lang|language|mask|max_new|min_new|num|pad|sep|special|start|unk|video)[-_]tokens?(?:[-_]|$)",
    re.IGNORECASE,
)
_SPECIAL_TOKEN = re.compile(r"<[^<>\s]{1,60}>|\[[A-Za-z0-9_]{1,30}\]")
_WORKING_FOLDERS = frozenset({"PWD", "OLDPWD"})  # every shell sets them; `MYSQL_PWD` is a password
_NUMBER_OR_BOOL = re.compile(r"[-+0-9.,:eETZ_ ]+|true|false|none|null|yes|no", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# `published`, `SelfAttention`, `T5ForConditionalGeneration`, `0`, `q`; possessive, or it would try each way to cut it.
_PART = re.compile(r"(?:[A-Z]?[a-z]{2,}+|[A-Z]{1,5}(?![a-z])|[0-9]{1,2}(?=[A-Z]|[a-z]{2}))*+(?:[0-9]{0,10}|[a-z])")
_LONG_RUN = re.compile(r"[a-z]{22}|[A-Z]{22}")
_SPLIT = re.compile(r"[-_./:|@#()\[\]<>=?!*$'\" ]+")


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def is_secret_name(name: str) -> bool:
    """Say whether an argument or environment variable of this name may hold a secret."""
    if name in _WORKING_FOLDERS or _TOKENIZER_TOKENS.search(name):
        return False
    words = _words(name)
    return not _WEAK_WORDS.isdisjoint(words) or _is_strong(name, words)


def is_strong_name(name: str) -> bool:
    """Say whether a secret's name leaves no doubt: ``api_key``, ``password``, ``MY_KEY``; not ``sort_key``, ``key``."""
    words = _words(name)
    return _is_strong(name, words) or (len(words) > 1 and name.isupper())  # as the environment's variables are written


def _is_strong(name: str, words: list[str]) -> bool:
    return (
        not _STRONG_WORDS.isdisjoint(words)
        or _is_pass(name, words)
        or any(_GLUED.search(word) for word in words)  # PGPASSWORD, userpassword
        or any(_QUALIFIER.fullmatch(a) and b in _QUALIFIED for a, b in pairwise(words))
    )


def holds_passwords(name: str) -> bool:
    """Say whether the values are chosen by people, so that they may hold spaces: passwords and passphrases."""
    words = _words(name)
    return not _PASSWORD_WORDS.isdisjoint(words) or _is_pass(name, words) or any(w.endswith("password") for w in words)


def _is_pass(name: str, words: list[str]) -> bool:
    return "pass" in words and len(words) > 1 and (name.isupper() or any(map(_PASS_OF.fullmatch, words)))


def is_secret_value(value: object) -> bool:
    """Say whether a value may be a secret: a text of 8 characters or more, no number or boolean, not masked already."""
    return (
        isinstance(value, str)
        and len(value) >= MIN_LENGTH
        and not _NUMBER_OR_BOOL.fullmatch(value)
        and any(map(str.isalnum, value))
    )


def is_special_token(name: str, value: str) -> bool:
    """Say whether this is a symbol of a tokenizer: ``token: <extra_id_0>``."""
    return "token" in name.lower() and not holds_passwords(name) and bool(_SPECIAL_TOKEN.fullmatch(value))


def looks_random(value: str) -> bool:
    """Say whether a value is made like a token rather than of words and numbers.

    ``published_date``, ``gpt2-medium``, ``encoder.block.0.SelfAttention.q`` are words; ``a8Bz09qL`` is none.
    """
    value = value[:512]
    return value.isascii() and not (all(map(_PART.fullmatch, _SPLIT.split(value))) and _LONG_RUN.search(value) is None)
