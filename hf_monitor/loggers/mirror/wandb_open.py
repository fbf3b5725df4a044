"""Open the W&B run of a mirror: online where it can be had in a bounded time, else offline, and say why."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from hf_monitor.loggers.mirror.core_log import status_of
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_file import files_of, last_step
from hf_monitor.loggers.wandb_environment import WandBState, usable_environment, wandb_missing, wandb_state
from hf_monitor.run.files import try_folder

__all__ = ["Opened", "drop_core", "find_core", "open_run", "prepare", "wandb_folder"]

INIT_TIMEOUT_S = 20.0
_REACH_S = 4.0
_FLUSH_S = 1.0  # how much of the file a kill may lose
_CORE = "wandb-core"


@dataclass
class Opened:
    """A wandb run, or why there is none.

    Attributes
    ----------
    run : wandb.Run or None
    mode : str
        ``"online"``, ``"offline"``, ``"disabled"`` (the user wants none) or ``"none"`` (there can be none).
    why : str
        Why it is not online, where that is asked for; else why it is disabled.
    advice : str
        What mends it.
    last_step : int
        The last step that W&B has of this run, -1 where none.
    folder : str
        Where wandb keeps it.
    """

    run: Any
    mode: str
    why: str = ""
    advice: str = ""
    last_step: int = -1
    folder: str = ""

    @property
    def url(self) -> str | None:
        """Of the run; None offline."""
        return str(self.run.url) if self.run is not None and self.mode == "online" and self.run.url else None


def wandb_folder(spec: MirrorSpec, environ: Mapping[str, str] = os.environ) -> Path:
    """Give the folder in which wandb keeps its own: ``wandb`` in the run folder, or in ``WANDB_DIR``."""
    root = Path(environ.get("WANDB_DIR") or spec.run_dir).expanduser().absolute()
    return root / (".wandb" if (root / ".wandb").exists() else "wandb")


def prepare(spec: MirrorSpec) -> None:
    """Set what wandb looks at when it is imported; only in a process of our own.

    What would go to the home folder stays in the run folder, and the command is that of the training, masked.
    """
    within = spec.folder / "wandb"
    for name, place in (("CACHE", "cache"), ("DATA", "data"), ("ARTIFACT", "artifacts")):
        os.environ.setdefault(f"WANDB_{name}_DIR", str(within / place))
    sys.argv = [spec.program or "hf-monitor", *spec.argv]


def open_run(spec: MirrorSpec, *, continued: bool, offline: bool = False, told_step: int = -1) -> Opened:
    """Open it.

    Parameters
    ----------
    spec : MirrorSpec
    continued : bool
        Whether it was opened before.
    offline : bool
        Whether it is not to be online, whatever else is said.
    told_step : int
        The last step that was told when the run was finished before: its files may have been sent and deleted.
    """
    missing = wandb_missing()
    if missing:
        return Opened(None, "none", missing, "pip install wandb")
    asked = {"WANDB_MODE": str(spec.settings["mode"])} if spec.settings.get("mode") else {}
    if offline:
        asked = {"WANDB_MODE": "offline"}
    if isinstance(spec.settings.get("base_url"), str):
        asked["WANDB_BASE_URL"] = spec.settings["base_url"]
    state = wandb_state({**os.environ, **asked})
    if state.mode == "disabled":
        return Opened(None, "disabled", state.why, state.advice)
    for name, value in usable_environment({**os.environ, **asked}, state).items():
        os.environ[name] = value
    if state.mode == "offline" and state.key_source and state.asked == "online":
        os.environ.pop("WANDB_API_KEY", None)  # of no form that wandb takes; it breaks at it, also offline
    folder = wandb_folder(spec)
    trouble = _trouble_with(folder)
    if trouble:
        return Opened(None, "none", trouble, "WANDB_DIR=FOLDER names another one.")
    # In one line: where a key was looked for, and what else could be done, is for `hf-monitor check`.
    why = "" if state.ready else state.why.partition(": neither")[0]
    advice = "" if state.ready else state.advice.partition("; or ")[0]
    if state.mode == "online" and _is_gone(state, spec):
        why = f"{state.host} does not answer"
    elif state.mode == "online":
        try:
            return _opened(spec, "online", continued)
        except Exception as error:  # noqa: BLE001 - whatever becomes of W&B, the folder is told offline
            drop_core()
            why, advice = _reason(error, state.host, _status(spec))
    try:
        found = _opened(spec, "offline", continued)
    except Exception as error:  # noqa: BLE001 - as above: then there is none
        drop_core()
        return Opened(None, "none", _reason(error, state.host)[0], advice)
    found.why, found.advice = why, advice
    found.last_step = max(found.last_step, told_step)
    return found


def _is_gone(state: WandBState, spec: MirrorSpec) -> bool:
    """Say whether nobody is at the server's address, in some seconds; wandb would look for it for 20 s and more.

    A proxy may know names and ways that we do not.
    """
    proxies = ("http_proxy", "https_proxy", "all_proxy")
    proxied = any(os.environ.get(name) or os.environ.get(name.upper()) for name in proxies)
    if proxied or not state.port or any("proxy" in name for name in spec.settings):
        return False
    reached: list[bool] = []

    def reach() -> None:
        with suppress(OSError, UnicodeError), socket.create_connection((state.host, state.port), _REACH_S):
            reached.append(True)

    thread = threading.Thread(target=reach, name="hf_monitor W&B server", daemon=True)  # a name may take minutes
    thread.start()
    thread.join(_REACH_S)
    return not reached


def _opened(spec: MirrorSpec, mode: str, continued: bool) -> Opened:
    import wandb

    before = last_step(files_of(wandb_folder(spec), spec.wandb_id)) if mode == "offline" and continued else -1
    run = wandb.init(
        id=spec.wandb_id,
        project=spec.project,
        entity=spec.entity,
        name=spec.name,
        group=spec.group,
        job_type=spec.job_type,
        notes=spec.notes,
        tags=list(spec.tags) or None,
        dir=str(wandb_folder(spec).parent),
        # Not "allow" at the first time: the server is not asked for a run that it cannot have.
        resume="allow" if continued else None,
        mode=None if os.environ.get("WANDB_MODE") == "shared" else mode,  # type: ignore[arg-type]
        settings=_settings(wandb.Settings, spec),
    )
    if mode == "online":
        before = int(run.starting_step) - 1  # run.step is 0 until the first row
    return Opened(run, mode, last_step=before, folder=str(Path(run.dir).parent))


def _settings(kind: Any, spec: MirrorSpec) -> Any:
    """Give ours, but for what a variable of the user sets; and the spec's, which win."""
    known = kind.model_fields
    git = _facts(spec).get("git")
    folder = git.get("folder") if isinstance(git, dict) else None
    ours = {
        "init_timeout": INIT_TIMEOUT_S,
        "x_transaction_log_flush_interval": _FLUSH_S,
        "x_stats_pid": spec.parent_pid or os.getpid(),
        "program": spec.program or None,
        "git_root": folder if folder and Path(folder).is_dir() else None,
        "git_remote_url": _remote(folder or "."),  # wandb looks there, too, where we know of no repository
    }
    ours = {name: value for name, value in ours.items() if value is not None and _variable(name) not in os.environ}
    theirs = {name: value for name, value in spec.settings.items() if name != "mode"}
    # With WANDB_SAVE_CODE the changes that are not committed would go up, and nobody masks them.
    chosen = {**ours, "save_code": False, **theirs, "silent": True, "console": "off"}
    return kind(**{name: value for name, value in chosen.items() if name in known})


def _facts(spec: MirrorSpec) -> dict[str, Any]:
    from hf_monitor.run.rows import decode_line

    try:
        return decode_line((spec.folder / "run.json").read_bytes())
    except (OSError, ValueError):
        return {}


def _variable(setting: str) -> str:
    return f"WANDB_{setting[1:].upper()}" if setting.startswith("x_") else f"WANDB_{setting.upper()}"


def _remote(folder: str) -> str | None:
    """Give the address of the repository without user and password, where it has such; wandb leaves the user in."""
    name = os.environ.get("WANDB_GIT_REMOTE") or "origin"
    try:
        command = ["git", "-C", folder, "config", "--get", f"remote.{name}.url"]
        url = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
        parts = urlsplit(url)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return None
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _trouble_with(folder: Path) -> str:
    """Say why a folder cannot be written; wandb would take a temporary one without a word."""
    try:
        try_folder(folder)
    except OSError as error:
        return f"the folder {str(folder)!r} cannot be written: {error.strerror or error}"
    return ""


def _status(spec: MirrorSpec) -> int:
    """Give what the server answered at the opening that has just failed; wandb's error does not say it."""
    made = sorted(wandb_folder(spec).glob("run-*"), key=lambda folder: folder.stat().st_mtime_ns)
    mine = [folder for folder in made if folder.name.endswith(f"-{spec.wandb_id}")]
    return status_of(mine[-1]) if mine else 0


def _reason(error: Exception, host: str, status: int = 0) -> tuple[str, str]:
    """Give why it failed, and what mends it."""
    if status == 401:
        return f"{host} refuses the key (401)", "wandb login --relogin"
    if status in (403, 404):
        return f"{host} refuses it ({status})", "the key's user may not write there, or entity or project is another"
    text = " ".join(str(error).split("\n")[0].split())[:200]
    lower = text.lower()
    if any(word in lower for word in ("timed out", "connection refused", "deadline", "no such host", "giving up")):
        return f"{host} does not answer", ""
    return text or type(error).__name__, ""


def find_core() -> psutil.Process | None:
    """Give wandb's own helper of this process."""
    with suppress(psutil.Error):
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if child.name().startswith(_CORE) and child.status() != psutil.STATUS_ZOMBIE:
                    return child
    return None


def drop_core(*, patient: bool = False) -> None:
    """End wandb's helper: after that wandb can be used as if for the first time.

    After an opening that failed the id is taken in it ("run ID in use"), and it may be waiting for a server.

    Parameters
    ----------
    patient : bool
        Whether it is let end by itself; else it is killed, in whatever state it is.
    """
    core = None if patient else find_core()
    if core is not None:
        with suppress(psutil.Error):
            core.kill()
    with suppress(BaseException):  # teardown of a helper that is gone raises what it finds, also SystemExit
        sys.modules["wandb"].teardown()
