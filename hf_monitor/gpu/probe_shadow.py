"""A file of the user's that has the name of a module: what the import of torch then finds is not what it looks for."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

__all__ = ["hidden_by"]


def hidden_by(error: BaseException) -> str | None:
    """Give the file or folder that was found instead of torch, or of a module of Python itself.

    Parameters
    ----------
    error : Exception
        Of ``import torch``.

    Returns
    -------
    str or None
        ``/home/me/project/random.py``; None where every module was found where it belongs.
    """
    torch = sys.modules.get("torch")
    if torch is not None and (other := _not_torch(torch)):
        return other
    # A module that could not be imported is in sys.modules no more, but its file is in the traceback.
    files = [getattr(sys.modules.get(name), "__file__", None) for name in sys.stdlib_module_names]
    files += [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    own = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places = {Path(one).resolve() for one in sys.path if one and not one.endswith(".zip")}
    for file in files:
        if not file or file.startswith("<"):
            continue
        path = Path(file).resolve()
        module = path.parent if path.name == "__init__.py" else path
        if module.stem not in (sys.stdlib_module_names | {"torch"}) or module.parent not in places:
            continue
        if module.stem == "torch" and path.name == "__init__.py":
            continue  # a package, as torch is one
        if not any(module.is_relative_to(one) for one in own) and "-packages" not in module.parent.name:
            return str(module)
    return None


def _not_torch(module: Any) -> str | None:
    """Give the place of what is called torch and is none: a single file, or a folder of data or of sources."""
    if file := getattr(module, "__file__", None):
        return None if hasattr(module, "__path__") else str(file)
    return next((str(one) for one in getattr(module, "__path__", ())), None)
