"""``hf-monitor backup``: its options, and what it says."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_backup", "run_backup"]

_WHOLE, _DAMAGED, _WRONG_USAGE = 0, 1, 2


def add_backup(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    backup = commands.add_parser(
        "backup",
        help="pack a run into one archive, with a manifest and checksums",
        description=(
            "Pack what hf_monitor recorded of a run (rows, texts, facts, log, charts, report) into one zip archive. "
            "Unpacked it is a run folder again, and sha256sum -c SHA256SUMS checks it. A run that is still going can "
            "be packed, too."
        ),
        epilog=(
            "Exit code: 0 packed (with --verify: and as it should be), 1 --verify found damage, 2 wrong usage, or the "
            "archive cannot be written."
        ),
    )
    backup.add_argument(
        "run", metavar="RUN", help="the run folder, the output_dir it lies in, or an archive to --verify"
    )
    backup.add_argument(
        "-o", "--output", metavar="FILE", help="a .zip, or a folder (default: FOLDER-RUN_ID.zip beside the run folder)"
    )
    backup.add_argument(
        "--checkpoints",
        choices=("none", "best", "all"),
        default="none",
        help="which checkpoints to pack with it: the best one, or all of this run (default: %(default)s)",
    )
    backup.add_argument("--output_dir", metavar="FOLDER", help="where the checkpoints lie, if not where the run says")
    backup.add_argument("--overwrite", action="store_true", help="replace an archive that is there")
    backup.add_argument("--verify", action="store_true", help="read the archive again, and compare every checksum")
    backup.add_argument("--json", action="store_true", help="print the archive and what is in it as JSON")
    backup.set_defaults(command=run_backup)


def run_backup(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Raises
    ------
    HfMonitorError
        As :func:`hf_monitor.preflight.backup_archive.backup` and :func:`verify_backup` do.
    """
    from hf_monitor.preflight.backup_archive import backup
    from hf_monitor.preflight.backup_manifest import manifest_of, verify_backup

    given = Path(options.run).expanduser()
    if given.is_file() and options.verify:
        archive = given
    else:
        archive = backup(
            options.run,
            options.output,
            checkpoints=options.checkpoints,
            output_dir=options.output_dir,
            overwrite=options.overwrite,
        )
    problems = verify_backup(archive) if options.verify else []
    made = {} if archive is given else manifest_of(archive)
    size = archive.stat().st_size
    try:
        if options.json:
            verified = {"verified": options.verify, "problems": problems}
            print(json.dumps({"archive": str(archive), "bytes": size, "manifest": made or None, **verified}, indent=2))
        else:
            if made:
                print(f"{archive} ({size / 2**20:.1f} MiB): {_inside(made)}.")
            for problem in problems:
                print(problem)
            if options.verify and not problems:
                print("every file is there, and every checksum is right")
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        print(f"hf-monitor: error: the result cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return _DAMAGED if problems else _WHOLE


def _inside(manifest: dict[str, Any]) -> str:
    """Say what was packed."""
    from hf_monitor.preflight.backup_files import RUN_FOLDER
    from hf_monitor.preflight.backup_manifest import MANIFEST

    paths = [str(one["path"]) for one in manifest["files"]]
    folders = dict.fromkeys(path.split("/")[0] for path in paths)
    checkpoints = ", ".join(name for name in folders if name != RUN_FOLDER)
    n_left = len(manifest["left_out"])
    left = f"; {n_left} left out, see {MANIFEST}" if n_left else ""
    return (
        f"run {manifest['run_id']}, {manifest['ending']}; {len(paths)} files, "
        f"{checkpoints or 'no checkpoint (--checkpoints best packs it)'}{left}"
    )
