"""What is true of a process when a run starts: its command, its code, its packages, its machine."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from hf_monitor.run.process import process_identity
from hf_monitor.run.secrets import environment_secrets, mask_values

__all__ = ["PACKAGES", "git_facts", "package_versions", "process_facts"]

PACKAGES = (
    "accelerate",
    "datasets",
    "evaluate",
    "hf-monitor",
    "matplotlib",
    "mecab-ko",
    "numpy",
    "nvidia-ml-py",
    "peft",
    "rouge-score",
    "sacrebleu",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
    "wandb",
)


def package_versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Give the versions of the installed packages among `names`; no package is imported."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _code_folders() -> list[Path]:
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    return [script.resolve().parent, Path.cwd()] if script.is_file() else [Path.cwd()]


def git_facts(folder: str | os.PathLike[str] | None = None, timeout_seconds: float = 5.0) -> dict[str, Any] | None:
    """Give the git commit that the code was run from.

    Parameters
    ----------
    folder : path-like, optional
        A folder in the repository; by default the one of the started script, else (a notebook, an installed command)
        the working folder.
    timeout_seconds : float
        For each of the two git commands (a repository on a slow network drive must not hold up a training).

    Returns
    -------
    dict or None
        ``commit``, ``branch``, ``folder`` (where it was asked) and ``dirty`` (True where tracked files differ from the
        commit; None where git took too long). None outside a repository or without git.
    """

    def git(folder: object, *arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments],
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    folders = [folder] if folder is not None else _code_folders()
    found = next(((one, commit) for one in folders if (commit := git(one, "rev-parse", "HEAD"))), None)
    if found is None:
        return None
    folder, commit = found
    changes = git(folder, "status", "--porcelain", "--untracked-files=no")
    branch = git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    dirty = None if changes is None else bool(changes)
    return {"commit": commit, "branch": branch, "dirty": dirty, "folder": str(folder)}


def process_facts() -> dict[str, Any]:
    """Give the facts about this process; of these only the command is masked already.

    Returns
    -------
    dict
        ``command`` (can be pasted into a shell), ``working_folder``, ``python``, ``platform``, ``git``, ``packages``,
        and those of :func:`hf_monitor.run.process.process_identity`.
    """
    import psutil

    arguments = list(getattr(sys, "orig_argv", sys.argv))
    return {
        "command": shlex.join(mask_values(arguments, environment_secrets())),  # before quoting hides a value's shape
        "working_folder": str(Path.cwd()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **process_identity(),
        "cpu_count": os.cpu_count(),
        "memory_total_mib": psutil.virtual_memory().total // 2**20,
        "git": git_facts(),
        "packages": package_versions(),
    }
