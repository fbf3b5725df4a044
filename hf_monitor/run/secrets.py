"""Secrets do not get into the run folder.

Three kinds are masked: values that are *known* (environment, command line, arguments, stored logins) wherever they
stand, also quoted, escaped or in base64; *shapes* (tokens of well-known services, passwords in URLs, private keys)
wherever they stand; and values that are *assigned* to a secret's name (``--hub_token X``, ``api_key: X``).

A known value that is also a public word of this record (the user's name, a folder, the model, a package) is masked
only where it is assigned: elsewhere it is no secret, and a mask there would tell which word the secret is.
"""

from __future__ import annotations

import json
import os
import re
import sys
import weakref
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, quote_plus

from hf_monitor.run.secret_assignments import mask_assignments
from hf_monitor.run.secret_headers import mask_headers
from hf_monitor.run.secret_names import MIN_LENGTH, is_secret_name, is_secret_value, is_special_token, looks_random
from hf_monitor.run.secret_shapes import MASK, SCREENS, mask_shapes
from hf_monitor.run.secret_sources import (
    argument_values,
    environment_values,
    file_values,
    named_values,
    public_facts,
    public_words,
)

__all__ = [
    "MASK",
    "HarmlessText",
    "SecretMask",
    "environment_secrets",
    "is_secret_name",
    "mask_text",
    "mask_values",
]

_PLAIN_WORD = re.compile(r"[A-Z]?[a-z_]{1,15}|[A-Z_]{1,16}")
_KEY_LINE = re.compile(r"\s*[A-Za-z0-9+/=]{1,80}\s*")
_LONGEST_KEY = 200  # lines


class HarmlessText(str):
    """A text of names and numbers that is known to hold no secret: a mask gives it back as it is, at no cost."""

    __slots__ = ()


class SecretMask:
    """What must not be written, and the way to take it out.

    Callable, for :class:`hf_monitor.Logger`: ``Logger(path, mask=SecretMask.of_process())``. Can be pickled.

    Parameters
    ----------
    values : iterable of str
        Known secrets.
    public : iterable of str
        Words that are masked only where they are assigned to a secret's name.

    Examples
    --------
    >>> mask = SecretMask()
    >>> mask.learn({"hub_token": "correct-horse"})
    >>> mask.text("logged in with correct-horse")
    'logged in with ***'
    """

    def __init__(self, values: Iterable[str] = (), public: Iterable[str] = ()) -> None:
        self._values: frozenset[str] = frozenset()
        self._public: frozenset[str] = frozenset()
        self._set_once = False
        self._listeners: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._key_lines = 0  # how many more lines may belong to a private key that is printed line by line
        self._set(values, public)

    @classmethod
    def of_process(cls, environ: Mapping[str, str] | None = None, argv: Sequence[str] | None = None) -> SecretMask:
        """Make a mask that knows the secrets of the environment, the command line and the stored logins.

        Parameters
        ----------
        environ : mapping, optional
            ``os.environ`` by default.
        argv : sequence of str, optional
            ``sys.orig_argv`` and ``sys.argv`` by default.
        """
        mask = cls(public=public_words())
        mask.learn_process(environ, argv)
        return mask

    def learn_process(self, environ: Mapping[str, str] | None = None, argv: Sequence[str] | None = None) -> None:
        """Learn what environment, command line and stored logins hold now."""
        environ = os.environ if environ is None else environ
        argv = [*getattr(sys, "orig_argv", ()), *sys.argv] if argv is None else argv
        self._set((*environment_values(environ), *argument_values(argv), *file_values(environ)), ())

    def learn(self, *sources: Mapping[Any, Any] | Iterable[str], public: Iterable[str] = ()) -> None:
        """Add known values.

        Parameters
        ----------
        *sources : mapping or iterable of str
            Of a mapping (arguments, a configuration; nested) what stands under a secret's name, else the values
            themselves.
        public : iterable of str
            More public words.
        """
        values: list[str] = []
        words = list(public)
        for source in sources:
            if isinstance(source, Mapping):
                values += named_values(source)
                words += public_facts(source)
            else:
                values += source
        self._set(values, words)

    def knows(self, values: Iterable[str]) -> bool:
        """Say whether all of these values that may be secrets are known."""
        return self._values.issuperset(value for value in values if is_secret_value(value))

    def _set(self, values: Iterable[str], public: Iterable[str]) -> None:
        values = self._values.union(value for value in values if is_secret_value(value))
        words = self._public.union(word for word in public if len(word) >= MIN_LENGTH)
        if values == self._values and words == self._public and self._set_once:
            return
        self._values, self._public, self._set_once = values, words, True
        forms: set[str] = set()
        for value in values - words:
            forms.update(_forms(value))
        self._screen = tuple(form.encode("utf-8", "surrogatepass") for form in forms)
        for value in values - words:
            forms.update(_base64_forms(value.encode("utf-8", "replace")))
        ordered = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        # A single plain word, as a whole: `learning`, not `learning_rate`.
        plain = [form for form in ordered if _PLAIN_WORD.fullmatch(form)]
        other = [re.escape(form) for form in ordered if not _PLAIN_WORD.fullmatch(form)]
        whole = [rf"(?<![A-Za-z0-9_]){form}(?![A-Za-z0-9_])" for form in plain]
        self._in_keys = re.compile("|".join(other)) if other else None
        self._known = re.compile("|".join([*other, *whole])) if forms else None
        self._forms = ordered
        for listener in self._listeners:
            if (told := listener()) is not None:
                told()

    def when_it_learns(self, told: Callable[[], None]) -> None:
        """Have a method called whenever there are new values: who keeps a copy of this mask needs another one.

        Parameters
        ----------
        told : bound method
            Held weakly.
        """
        self._listeners = [listener for listener in self._listeners if listener() not in (None, told)]
        self._listeners.append(weakref.WeakMethod(told))

    def __getstate__(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(sorted(self._values)), tuple(sorted(self._public))

    def __setstate__(self, state: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<SecretMask of {len(self._values)} known values>"

    def __call__(self, text: str) -> str:
        """Mask a text that goes into a log; a private key may come in several, line by line."""
        if type(text) is HarmlessText:
            return text
        masked = self.text(text)
        if self._key_lines or "PRIVATE KEY" in text:
            return self._line_of_key(text, masked)
        return masked

    def _line_of_key(self, text: str, masked: str) -> str:
        if "-----END" in text:
            self._key_lines = 0
        elif "-----BEGIN" in text and "PRIVATE KEY" in text:
            self._key_lines = _LONGEST_KEY
        elif self._key_lines:
            self._key_lines -= 1
            return MASK if _KEY_LINE.fullmatch(text) else masked
        return masked

    def text(self, text: str) -> str:
        """Mask all three kinds in a text."""
        return mask_assignments(mask_headers(self._mask_data(text)))

    def _mask_known(self, text: str) -> str:
        known = self._known
        if known is not None and any(form in text for form in self._forms):
            return known.sub(MASK, text)
        return text

    def _mask_data(self, text: str) -> str:
        return mask_shapes(self._mask_known(text))

    def key(self, key: str) -> str:
        """Mask known values and shapes in the name of a value; a plain word stays, or rows would lose their keys."""
        in_keys = self._in_keys
        if in_keys is not None and len(key) >= MIN_LENGTH:
            key = in_keys.sub(MASK, key)
        return mask_shapes(key)

    def values(self, value: Any, name: str = "") -> Any:
        """Mask a nested structure of dicts, lists and texts, names and keys included; all else is returned as it is.

        Parameters
        ----------
        value : object
        name : str
            The name under which `value` stands.
        """
        if isinstance(value, str):
            return self._value(value, name)
        if isinstance(value, Mapping):
            return self._mapping(value, lambda item, key: self.values(item, str(key)))
        if isinstance(value, list | tuple):
            if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], str):
                pair_name, second = value  # a header or a setting as a pair; two columns are none
                if is_secret_name(pair_name) and is_secret_value(second) and looks_random(second):
                    return [pair_name, MASK]
            masked: list[Any] = []
            option = ""
            for item in value:  # a command line: ["--hub_token", "value"]
                masked.append(self.values(item, option or name))
                is_option = isinstance(item, str) and item.startswith("--") and "=" not in item
                option = item.lstrip("-") if is_option else ""
            return masked
        return value

    def _mapping(self, value: Mapping[Any, Any], mask: Any) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, item in value.items():
            shown = self.key(key) if isinstance(key, str) else key
            while shown != key and shown in found:  # two secrets as keys
                shown += "_"
            found[shown] = mask(item, key)
        return found

    def _value(self, value: str, name: str) -> str:
        option, equals, rest = value.partition("=")
        if equals and option.startswith("--") and is_secret_name(option) and is_secret_value(rest):
            return f"{option}={MASK}"
        if name and is_secret_name(name) and is_secret_value(value) and not is_special_token(name, value):
            return MASK
        return self.text(value)

    def data(self, value: Any) -> Any:
        """Mask known values and shapes in a nested structure: for texts of people and models, which assign nothing."""
        if isinstance(value, str):
            return self._mask_data(value)
        if isinstance(value, Mapping):
            return self._mapping(value, lambda item, _: self.data(item))
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value

    def may_change(self, encoded: bytes) -> bool:
        """Say whether :meth:`data` may find something in a JSON text in UTF-8; quick, so that most need no more."""
        return any(form in encoded for form in self._screen) or any(screen.search(encoded) for screen in SCREENS)


def _forms(value: str) -> Iterator[str]:
    """Yield a secret as it is, and as it looks in a URL, in JSON and in a repr."""
    lines = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
    for text in (value, value.strip(), *(line for line in lines if len(line) >= 16 and line[:5] != "-----")):
        yield text
        escaped = text.encode("utf-8", "replace")
        yield from (quote(escaped, safe=""), quote(escaped), quote_plus(escaped))
        for ascii_only in (True, False):
            yield json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield repr(text)[1:-1]


def _base64_forms(value: bytes) -> Iterator[str]:
    """Yield what base64 makes of a value within a longer text (``user:password``), wherever it begins there."""
    for before in range(3):
        first, end = -(-before * 8 // 6), (before + len(value)) * 8 // 6  # characters that depend on nothing else
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(b"\0" * before + value).decode()[first:end]


def environment_secrets(environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Values of the environment's secrets, longest first, so that they can be found in any text.

    A path that exists (``GOOGLE_APPLICATION_CREDENTIALS``, ``SSH_AUTH_SOCK``) is a place, not a secret: masking it
    would take it out of every other path below it.

    Parameters
    ----------
    environ : mapping, optional
        ``os.environ`` by default.
    """
    values = set(environment_values(os.environ if environ is None else environ))
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def mask_text(text: str, known: Iterable[str] = ()) -> str:
    """Mask secrets in a text.

    Parameters
    ----------
    text : str
    known : iterable of str
        Values known to be secret (see :func:`environment_secrets`); each is masked wherever it stands.

    Returns
    -------
    str

    Examples
    --------
    >>> mask_text("train.py --hub_token abcdefgh12 --lr 3e-4 https://me:pw12@host/x")
    'train.py --hub_token *** --lr 3e-4 https://***@host/x'
    """
    return SecretMask(known).text(text)


def mask_values(value: Any, known: Iterable[str] = (), name: str = "") -> Any:
    """Mask secrets in a nested structure of dicts, lists and texts; everything else is returned as it is.

    Parameters
    ----------
    value : object
    known : iterable of str
        As in :func:`mask_text`.
    name : str
        The name under which `value` stands.
    """
    return SecretMask(known).values(value, name)
