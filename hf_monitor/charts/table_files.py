"""Files of tables where run folders are expected: refused with the line that reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["refuse_table_file"]

_READERS = {
    ".csv": "pandas.read_csv({})",
    ".tsv": r"pandas.read_csv({}, sep='\t')",
    ".txt": "pandas.read_csv({})",
    ".xlsx": "pandas.read_excel({})",
    ".xls": "pandas.read_excel({})",
    ".parquet": "pandas.read_parquet({})",
    ".feather": "pandas.read_feather({})",
    ".json": "pandas.read_json({})",
    ".jsonl": "pandas.read_json({}, lines=True)",
}


def refuse_table_file(given: Any) -> None:
    """Refuse the path of a table, and say how to read it; a file of a run folder is left to :func:`load_run`.

    Raises
    ------
    InputError
    """
    if not isinstance(given, str | os.PathLike):
        return
    path = Path(given).expanduser()
    reader = _READERS.get(path.suffix.lower())
    if reader is None or not path.is_file() or any((path.parent / n).is_file() for n in ("run.json", "metrics.jsonl")):
        return
    call = reader.format(repr(str(given)))
    raise InputError(f"{str(given)!r} is a file, where a run folder or a table is expected. Pass {call} instead.")
