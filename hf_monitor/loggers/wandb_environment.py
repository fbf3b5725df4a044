"""What the variables ``WANDB_*``, wandb's settings files and ``.netrc`` say: off, offline or online; the key's place.

wandb is not imported and nobody is asked over the network; no key is ever part of what is given back. The rules are
those of wandb 0.31 (``wandb_settings.py``, ``lib/wbauth``): a variable wins over ``./wandb/settings``, that one over
``~/.config/wandb/settings``; a key is looked for in ``WANDB_API_KEY``, ``.netrc``, the settings files.
"""

from __future__ import annotations

import configparser
import importlib.util
import netrc
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["WandBState", "usable_environment", "wandb_missing", "wandb_state"]

_SERVER = "https://api.wandb.ai"
_SHORTEST_KEY = 40  # characters; wandb/sdk/lib/wbauth/validation.py
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+")  # a JWT; they may be of any length
_TRUE = {"true", "1", "yes", "on"}
_MODES = {
    "online": "online",
    "run": "online",
    "shared": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


@dataclass(frozen=True)
class WandBState:
    """How W&B can be had here.

    Attributes
    ----------
    mode : str
        ``"online"``, ``"offline"`` or ``"disabled"``: what can be had. Without a usable key it is ``"offline"``.
    asked : str
        Which of them is asked for; ``"online"`` where nothing is said.
    why : str
        Why it is not online, or where the key is: ``"no API key for api.wandb.ai: neither ..."``.
    advice : str
        What mends it; empty where nothing is amiss.
    host : str
        Of the server.
    key_source : str or None
        Where the key (or identity token) is: the name of a variable, or a path; None where there is none. Of a key that
        is not of the form of one it is where that one is.
    port : int
        Of the server; 0 where its address cannot be read.
    """

    mode: Literal["online", "offline", "disabled"]
    asked: Literal["online", "offline", "disabled"]
    why: str
    advice: str
    host: str
    key_source: str | None
    port: int = 0

    @property
    def ready(self) -> bool:
        """Whether what is asked for can be had."""
        return self.mode == self.asked


def wandb_missing() -> str:
    """Say why the package cannot be imported; empty where it can. A folder ``wandb`` of runs is not the package."""
    try:
        spec = importlib.util.find_spec("wandb")
    except ValueError:  # imported, and without a spec: somebody's own
        return ""
    if spec is None:
        return "the package wandb is not installed"
    if spec.origin is None:  # a folder of that name, such as its runs leave, is found as a package without code
        place = next(iter(spec.submodule_search_locations or []), "wandb")
        return f"the package wandb is not installed: {place!r} is a folder of runs"
    return ""


def wandb_state(environ: Mapping[str, str] | None = None, home: Path | None = None) -> WandBState:
    """Say how W&B can be had: what is asked for, and whether there is a key for it.

    Whether the server can be reached and takes the key is not asked: without a network that may take minutes.

    Parameters
    ----------
    environ : mapping, optional
        Variables; those of the process where not given.
    home : Path, optional
        Where ``.netrc`` and ``.config/wandb`` are.

    Returns
    -------
    WandBState
    """
    environ = os.environ if environ is None else environ
    home = Path(os.path.expanduser("~")) if home is None else home  # noqa: PTH111 - Path.home() raises where there is none
    settings = _settings(environ, home)
    server = environ.get("WANDB_BASE_URL") or settings.get("base_url") or _SERVER
    host, place = _split(server)

    def state(mode: str, asked: str, why: str, advice: str = "", key_source: str | None = None) -> WandBState:
        return WandBState(_MODES[mode], _MODES[asked], why, advice, host, key_source, _port(server))  # type: ignore[arg-type]

    if environ.get("WANDB_DISABLED", "").strip().lower() in _TRUE:
        return state("disabled", "disabled", "it is switched off by WANDB_DISABLED", "unset WANDB_DISABLED")
    mode, said_by = environ.get("WANDB_MODE"), "WANDB_MODE"
    if not mode:
        mode, said_by = settings.get("mode"), "the settings of wandb"
        if not mode and settings.get("disabled", "").lower() in _TRUE:  # of `wandb off`, long ago
            mode = "offline"
    mode = (mode or "online").strip()
    if mode.lower() not in _MODES:
        return state(
            "offline",
            "online",
            f"{said_by} is {mode[:40]!r}, which wandb does not know",
            "WANDB_MODE=online, offline or disabled.",
        )
    asked = _MODES[mode.lower()]
    if asked == "disabled":
        mend = "unset WANDB_MODE" if said_by == "WANDB_MODE" else "wandb enabled"
        return state(asked, asked, f"it is switched off by {said_by}", mend)
    if asked == "offline":
        return state(asked, asked, f"offline mode: {said_by} asks for it")
    shown = re.sub(r"^(\w+://)?.*@", r"\1", server)  # a proxy's user and password are no one's business
    login = "wandb login" if server == _SERVER else f"wandb login --host={shown}"
    advice = f"{login}; or WANDB_MODE=offline, and wandb sync later."
    token = environ.get("WANDB_IDENTITY_TOKEN_FILE")
    key, source = environ.get("WANDB_API_KEY"), "WANDB_API_KEY"
    if token and key:
        why = "WANDB_API_KEY and WANDB_IDENTITY_TOKEN_FILE are both set, which wandb does not take"
        return state("offline", asked, why, "unset WANDB_IDENTITY_TOKEN_FILE", source)
    if token:
        name = "WANDB_IDENTITY_TOKEN_FILE"
        if not Path(token).expanduser().is_file():
            return state("offline", asked, f"{name} names no file that exists", advice)
        return state("online", asked, f"an identity token for {host} is there", key_source=name)
    if not key:
        key, source = _from_netrc(place, environ, home)
    if not key and settings.get("api_key"):
        key, source = settings["api_key"], "the settings of wandb"
    if not key:
        why = f"no API key for {host}: neither WANDB_API_KEY nor {source}"
        return state("offline", asked, why, advice)
    if not _is_key(key):
        why = f"the API key in {source} is not of the form of one ({len(key)} characters, blanks at its ends count)"
        return state(
            "offline", asked, why, f"{advice} Keys: {shown.replace('//api.', '//').rstrip('/')}/authorize", source
        )
    return state("online", asked, f"a key for {host} is in {source}", key_source=source)


def usable_environment(environ: Mapping[str, str], state: WandBState) -> dict[str, str]:
    """Give the variables with which wandb starts in the mode of `state`.

    ``WANDB_MODE`` is that mode: wandb breaks at ``OFFLINE`` or a misspelt one. A key with a blank at its end is left
    out: wandb breaks at it, too, also offline.
    """
    usable = {**environ, "WANDB_MODE": environ.get("WANDB_MODE", "") if _is_shared(environ, state) else state.mode}
    key = environ.get("WANDB_API_KEY")
    if key and not _is_key(key):
        del usable["WANDB_API_KEY"]
    return usable


def _is_shared(environ: Mapping[str, str], state: WandBState) -> bool:
    return state.mode == "online" and environ.get("WANDB_MODE") == "shared"


def _is_key(key: str) -> bool:
    if _TOKEN.fullmatch(key):
        return True
    bare = key.split("-", 1)[-1]  # "local-..." of a server of one's own
    return len(bare) >= _SHORTEST_KEY and re.fullmatch(r"[\w-]+", bare) is not None


def _split(server: str) -> tuple[str, str]:
    """Give the host, and the host with its port as ``.netrc`` has it."""
    try:
        found = urlsplit(server)
        host, place = found.hostname, found.netloc
    except ValueError:  # "http://[": wandb will say so
        host, place = None, ""
    bare = server.rpartition("@")[2]
    return host or bare, place or bare


def _port(server: str) -> int:
    try:
        found = urlsplit(server)
        return found.port or {"http": 80, "https": 443}.get(found.scheme, 0)
    except ValueError:
        return 0


def _settings(environ: Mapping[str, str], home: Path) -> dict[str, str]:
    """Read what ``wandb login``, ``wandb offline`` and ``wandb disabled`` write down, the folder's after the user's."""
    user = Path(environ.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb").expanduser()
    here = Path(
        ".wandb" if Path(".wandb").exists() else "wandb"
    )  # WANDB_DIR does not count: wandb reads them before it
    found: dict[str, str] = {}
    for path in (user / "settings", here / "settings"):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):  # wandb itself will say so
            continue
        if parser.has_section("default"):
            found |= parser["default"]
    return found


def _from_netrc(place: str, environ: Mapping[str, str], home: Path) -> tuple[str | None, str]:
    named = environ.get("NETRC")
    paths = [Path(named).expanduser()] if named else [home / ".netrc", home / "_netrc"]
    path = next((one for one in paths if one.exists()), paths[0])
    try:
        found = netrc.netrc(str(path)).authenticators(place)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None, str(path)
    return (found[2] if found is not None and found[2] else None), str(path)
