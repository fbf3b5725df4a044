"""Where a process's secrets are found: environment, command line, configuration, and the files of the usual tools.

Only values are taken, into memory, to know what must not be written.
"""

from __future__ import annotations

import configparser
import getpass
import json
import netrc
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hf_monitor.run.secret_names import (
    is_secret_name,
    is_secret_value,
    is_special_token,
    is_strong_name,
    looks_random,
)

__all__ = ["argument_values", "environment_values", "file_values", "named_values", "public_facts", "public_words"]

_LARGEST_FILE = 1 << 20
_MOST_IN_A_FILE = 50
_MAX_DEPTH = 16
_URL_PASSWORD = re.compile(r"""://[^\s/@:'"]{0,100}:([^\s@'"]{1,256}(?:@[^\s/@'",]{1,256}){0,4})@""")
_IN_CONNECTION_STRING = re.compile(r"(?:^|;)\s?(?:AccountKey|SharedAccessKey|Password|Pwd)=([^;]{8,})", re.IGNORECASE)
_WORD_OF_TEXT = re.compile(r"(?=.{1,24}$)(?:[A-Za-z]{0,15}_){0,3}[A-Za-z]{1,15}[0-9]?")


def is_place(value: str) -> bool:
    """Say whether a value is a path that exists: masked, it would be missing from every other path below it."""
    try:
        return Path(value).is_absolute() and Path(value).exists()
    except (OSError, ValueError):  # too long for a path, or a folder that may not be looked into
        return False


def environment_values(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of the environment's secrets, passwords in URLs and connection strings included."""
    for name, value in environ.items():
        if is_secret_name(name) and is_secret_value(value) and not is_place(value):
            if not (name.upper().endswith(("_PATH", "_FILE", "_DIR")) and "/" in value):
                yield value
            if value[:1] in "[{":
                yield from _of_json(value)
        yield from _inside(value)


def _inside(value: str) -> Iterator[str]:
    if "://" in value and "@" in value:
        for found in _URL_PASSWORD.findall(value):
            yield from (form for form in {found, unquote(found)} if is_secret_value(form))
    if "=" in value:
        yield from (found for found in _IN_CONNECTION_STRING.findall(value) if is_secret_value(found))


def _of_json(text: str) -> Iterator[str]:
    try:
        yield from named_values(json.loads(text))
    except (ValueError, RecursionError):
        return


def argument_values(argv: Sequence[str]) -> Iterator[str]:
    """Yield the secrets of a command line: ``--hub_token X``, ``db.password=X``, JSON, config files."""
    option = before = ""
    for argument in argv:
        name, equals, value = argument.partition("=")
        if equals and is_secret_name(name.lstrip("-+")):
            yield from _named(name.lstrip("-+"), value)
        elif option and not argument.startswith("-"):
            yield from _named(option, argument)
        option = argument.lstrip("-") if argument.startswith("-") and not equals else ""
        option = option if is_secret_name(option) else ""
        yield from _inside(argument)
        for text in (argument, value):
            if text[:1] in ("{", "["):
                yield from _of_json(text)
        if argument.endswith((".json", ".yaml", ".yml")) and _may_be_configuration(before):
            yield from _of_config(Path(argument))
        before = argument


def _may_be_configuration(before: str) -> bool:
    """Say whether the argument after this one may name a configuration: ``--train_file train.json`` holds data."""
    return not before.startswith("-") or any(word in before for word in ("config", "args", "param", "deepspeed"))


def _of_config(path: Path) -> list[str]:
    import yaml

    text = _read(path)
    try:
        found = json.loads(text or "{}") if path.suffix == ".json" else yaml.safe_load(text or "{}")
    except (ValueError, yaml.YAMLError, RecursionError):
        return []
    values = list(named_values(found)) if isinstance(found, Mapping) else []
    return values if len(values) <= _MOST_IN_A_FILE else []  # so many are data


def _named(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str) or not is_secret_value(value) or is_special_token(name, value) or is_place(value):
        return
    # `sort_key: published_date`, `metric_key: eval_rougeL` are masked there; elsewhere the word says nothing.
    is_word = _WORD_OF_TEXT.fullmatch(value) and not looks_random(value)
    if is_strong_name(name) or name.lower().endswith("token") or not is_word:
        yield value


def named_values(value: Any, name: str = "", _depth: int = 0) -> Iterator[str]:
    """Yield the values of a nested structure that stand under a secret's name."""
    if _depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_values(item, str(key), _depth + 1)
    elif isinstance(value, list | tuple | set | frozenset):
        if len(value) <= 1000:
            for item in value:
                yield from named_values(item, name, _depth + 1)
    elif isinstance(value, str):
        if name and is_secret_name(name):
            yield from _named(name, str(value))
        if len(value) < 10_000:
            yield from _inside(value)
    elif hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        yield from named_values(dict(vars(value)) if hasattr(value, "__dict__") else {}, name, _depth + 1)


def file_values(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what the Hugging Face, W&B (``.netrc``) and AWS tools have stored for this user."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    hub = Path(environ.get("HF_HOME") or cache / "huggingface")
    for path in (environ.get("HF_TOKEN_PATH"), hub / "token"):
        token = _read(Path(path)) if path else None
        if token and is_secret_value(token.strip()) and len(token) < 1000:
            yield token.strip()
    for path in (
        environ.get("HF_STORED_TOKENS_PATH") or hub / "stored_tokens",
        environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials",
    ):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(_read(Path(path)) or "")
        except configparser.Error:
            continue
        for section in parser.sections():
            yield from named_values(dict(parser.items(section)))
    try:
        hosts = netrc.netrc(environ.get("NETRC") or home / ".netrc").hosts.values()
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return
    yield from (password for _, _, password in hosts if password and is_secret_value(password))


def _read(path: Path) -> str | None:
    try:
        return path.read_text() if path.is_file() and path.stat().st_size <= _LARGEST_FILE else None
    except (OSError, ValueError):
        return None


def public_words(*places: str) -> frozenset[str]:
    """Give the words that anyone can read in this record: names of user, machine and program, and of the folders."""
    words = {socket.gethostname(), *places}
    with suppress(OSError, KeyError, ImportError):  # a user without a name
        words.add(getpass.getuser())
    for place in (str(Path.cwd()), sys.executable, sys.prefix, *places):
        words.update(Path(place).parts)
    return frozenset(words)


def public_facts(facts: Mapping[Any, Any]) -> Iterator[str]:
    """Yield what a run is openly named by: its model, its folders, its packages."""
    model, arguments, packages = (facts.get(name) for name in ("model", "arguments", "packages"))
    if isinstance(model, Mapping):
        yield str(model.get("name_or_path") or "")
    if isinstance(arguments, Mapping):
        for name in ("output_dir", "logging_dir", "run_name", "hub_model_id"):
            path = str(arguments.get(name) or "")
            yield from (path, *Path(path).parts)
    if isinstance(packages, Mapping):
        yield from map(str, packages)
