"""Is Weights & Biases ready: the package, a key or offline mode. Nothing is sent, and no key is shown."""

from __future__ import annotations

import configparser
import importlib.util
import netrc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from hf_monitor.errors import close_names
from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning

__all__ = ["check_trackers", "check_wandb"]

_SERVER = "https://api.wandb.ai"
_SHORTEST_KEY = 40  # characters; https://docs.wandb.ai/support/find_api_key
_ASKING = ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_RUN_ID")
_OFF = {"true", "1", "yes", "on"}


def check_trackers(report_to: Sequence[str] | None) -> Check | None:
    """Look whether transformers knows the trackers that are asked for; None where it knows them all.

    Parameters
    ----------
    report_to : sequence of str or None
        As in ``TrainingArguments``. Whether W&B is ready is for :func:`check_wandb` to say.
    """
    from transformers.integrations import integration_utils

    known = integration_utils.INTEGRATION_TO_CALLBACK
    unknown = [str(one) for one in report_to or () if one not in known and one not in ("none", "all")]
    if not unknown:
        return None
    close = close_names(unknown[0], known)
    sentence = f"{', '.join(map(repr, unknown))} is no tracker that transformers knows: the training would not start."
    advice = f"--report_to {close[0]}" if close else f"none, all, or of {', '.join(sorted(known))}."
    return failed("report_to", sentence, advice, unknown=unknown)


def check_wandb(
    report_to: Sequence[str] | None, environment: Mapping[str, str] | None = None, home: Path | None = None
) -> Check:
    """Look whether a training that reports to W&B will come through its start.

    Whether the server can be reached is not asked: without a network that may take minutes.

    Parameters
    ----------
    report_to : sequence of str or None
        As in ``TrainingArguments``; None where that is not known, then variables ``WANDB_*`` count as asking for it.
    environment : mapping, optional
        That of the process.
    home : Path, optional
        Where ``.netrc`` and ``.config/wandb`` are.
    """
    name = "W&B"
    environment = os.environ if environment is None else environment
    home = Path.home() if home is None else home
    found = [variable for variable in _ASKING if environment.get(variable)]
    if report_to is None and not found:
        return skipped(name, "it is not asked for: --report_to is not given.")
    if report_to is not None and "wandb" not in report_to:
        return skipped(name, "it is not asked for.", f"--report_to wandb, since {found[0]} is set." if found else "")
    spec = importlib.util.find_spec("wandb")
    if spec is None:
        return failed(name, "the package wandb is not installed.", "pip install wandb")
    if spec.origin is None:  # a folder of that name, such as its runs leave, is found as a package without code
        place = next(iter(spec.submodule_search_locations or []), "wandb")
        return failed(name, f"the package wandb is not installed: {place!r} is a folder of runs.", "pip install wandb")
    settings = _settings(environment, home)
    mode = (environment.get("WANDB_MODE") or settings.get("mode") or "online").lower()
    if mode in {"disabled", "dryrun"} or environment.get("WANDB_DISABLED", "").lower() in _OFF:
        if mode == "dryrun":
            return _offline(name)
        return warning(
            name,
            "it is asked for, and switched off by WANDB_MODE or WANDB_DISABLED.",
            "unset WANDB_MODE WANDB_DISABLED",
        )
    if mode == "offline" or settings.get("disabled", "").lower() in _OFF:
        return _offline(name)
    server = environment.get("WANDB_BASE_URL") or settings.get("base_url") or _SERVER
    host = urlsplit(server).hostname or server
    login = "wandb login" if server == _SERVER else f"wandb login --host={server}"
    advice = f"{login}; or WANDB_MODE=offline, and wandb sync later."
    if environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        path = Path(environment["WANDB_IDENTITY_TOKEN_FILE"])
        if path.is_file():
            return ok(
                name, f"an identity token for {host} is there; whether the server takes it was not asked.", mode=mode
            )
        return failed(name, "WANDB_IDENTITY_TOKEN_FILE names no file that exists.", advice, mode=mode)
    key, source = environment.get("WANDB_API_KEY"), "WANDB_API_KEY"
    if not key:
        key, source = _from_netrc(host, environment, home)
    if key is None:
        return failed(
            name,
            f"no API key for {host}: neither WANDB_API_KEY nor {source}; the training would wait for one, or break.",
            advice,
            mode=mode,
        )
    bare = key.rpartition("-")[2]  # "local-..." of a server of one's own
    if key != key.strip() or len(bare.strip()) < _SHORTEST_KEY:
        sentence = (
            f"the API key in {source} is not of the form of one ({len(key)} characters, blanks at its ends count)."
        )
        return failed(name, sentence, f"{advice} Keys: {server.replace('//api.', '//')}/authorize", mode=mode)
    return ok(name, f"a key for {host} is in {source}; whether the server takes it was not asked.", mode=mode)


def _offline(name: str) -> Check:
    return ok(name, "offline mode: runs are kept in ./wandb; `wandb sync` sends them later.", mode="offline")


def _settings(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Read what ``wandb login``, ``wandb offline`` and ``wandb disabled`` write down, the folder's after the user's."""
    user = Path(environment.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb")
    here = Path(environment.get("WANDB_DIR") or ".") / "wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([user / "settings", here / "settings"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):  # wandb itself will say so
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def _from_netrc(host: str, environment: Mapping[str, str], home: Path) -> tuple[str | None, str]:
    named = environment.get("NETRC")
    places = [Path(named).expanduser()] if named else [home / ".netrc", home / "_netrc"]
    for place in places:
        try:
            found = netrc.netrc(str(place)).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            continue
        if found is not None and found[2]:
            return found[2], str(place)
    return None, str(places[0])
