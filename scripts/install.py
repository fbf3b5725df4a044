"""Install what ``pip install`` would, with uv where it can be had: less than half of the work, on all cores.

``make`` calls this as ``.venv/bin/python scripts/install.py install ...``, with what ``pip install`` is to be given.
uv does not read pip's configuration, so it is told here where to look. pip does the work itself where uv is not to be
had, fails, or would have to be told what this does not know. ``HF_MONITOR_UV=0`` leaves uv out.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
UV = Path(sys.prefix) / ("Scripts" if os.name == "nt" else "bin") / "uv"

# Options of pip that change nothing of what is installed, or that uv has by itself.
WITHOUT_EFFECT = {
    *("cache-dir", "compile", "default-timeout", "disable-pip-version-check", "no-cache-dir", "no-color", "no-input"),
    *("no-python-version-warning", "prefer-binary", "progress-bar", "quiet", "require-virtualenv", "retries"),
    *("root-user-action", "timeout", "verbose"),
}
LISTS = {"extra-index-url": "--extra-index-url", "find-links": "--find-links", "constraint": "--constraint"}


def configured(listed: str) -> dict[str, str]:
    """Read ``pip config list``: what pip is told by its files and by the environment, the stronger one of each."""
    options: dict[str, str] = {}
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.partition(".")
        if section in sections:
            sections[section][option.replace("_", "-")] = str(ast.literal_eval(value))
    for section in sections.values():
        options |= section
    return options


def for_uv(options: dict[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """Give uv's arguments and environment for what pip is told; None where it is told what uv cannot be."""
    arguments: list[str] = []
    # As pip: the best version of all places, and the certificates of the system.
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_SYSTEM_CERTS": "1"}
    for option, value in options.items():
        if option in LISTS:
            for item in value.split():
                arguments += [LISTS[option], item] if is_there(item) else []
        elif option == "index-url":
            environment["UV_INDEX_URL"] = value  # not an argument: one in TORCH counts more
        elif option == "cert":
            environment["SSL_CERT_FILE"] = value
        elif option not in WITHOUT_EFFECT:
            return None
    return arguments, environment


def is_there(place: str) -> bool:
    """Say whether a place can be looked at: pip passes over a folder that does not exist, uv fails at it."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path)).exists()
    return "://" in place or Path(place).exists()


def by_uv(arguments: list[str]) -> bool:
    """Install with uv; say in a line why not, where it does not."""
    listed = subprocess.run([*PIP[:4], "config", "list"], capture_output=True, text=True, check=False)
    try:
        told = for_uv(configured(listed.stdout)) if listed.returncode == 0 else None
    except (ValueError, SyntaxError):  # not as pip writes it today
        told = None
    if told is None:
        print("pip's configuration says more than uv can be told: installing with pip")
        return False
    if not UV.exists():
        get = [*PIP, "install", "--only-binary", "uv", "-c", "constraints.txt", "uv"]
        subprocess.run(get, capture_output=True, check=False)
    if not UV.exists():
        print("uv is not to be had here: installing with pip")
        return False
    options, environment = told
    command = [str(UV), "--quiet", "pip", "install", "--python", sys.executable, *options, *arguments]
    try:
        done = subprocess.run(command, env=environment | os.environ, stderr=subprocess.PIPE, text=True, check=False)
    except OSError as error:  # a program that this machine cannot start
        print(f"uv does not start ({error.strerror or error}): installing with pip")
        return False
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        print(f"uv failed ({said[:300]}): installing with pip")
    return done.returncode == 0


def main(arguments: list[str]) -> int:
    """Run ``pip install`` with these arguments, or uv for it."""
    if os.environ.get("HF_MONITOR_UV") != "0" and by_uv(arguments):
        return 0
    return subprocess.run([*PIP, "install", *arguments], env=os.environ | {"PIP_COMPILE": "0"}, check=False).returncode


if __name__ == "__main__":
    if sys.argv[1:2] != ["install"]:
        sys.exit("usage: install.py install WHAT PIP INSTALL TAKES ...")
    sys.exit(main(sys.argv[2:]))
