"""A file of the user's that has the name of a module: what the import of torch then finds is not what it looks for."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

__all__ = ["hidden_by", "installed_torch"]


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
    own = os.path.dirname(os.__file__)  # noqa: PTH120 - whatever is imported for this (pathlib) could be the hidden one
    places = {os.path.abspath(one) for one in sys.path} - {own}  # noqa: PTH100
    for file in files:
        folder, name = os.path.split(str(file))
        if name == "__init__.py":
            folder, name = os.path.split(folder)
        stem = name.removesuffix(".py")
        if stem not in sys.stdlib_module_names and name != "torch.py":
            continue
        if folder in places and not folder.endswith("-packages") and not folder.startswith(own + os.sep):
            return os.path.join(folder, name)  # noqa: PTH118
    return None


def _not_torch(module: Any) -> str | None:
    """Give the place of what is called torch and is none: a single file, or a folder of data or of sources."""
    if file := getattr(module, "__file__", None):
        return None if hasattr(module, "__path__") else str(file)
    return next((str(one) for one in getattr(module, "__path__", ())), None)


def installed_torch() -> str | None:
    """Give the version of the torch that pip installed, also where it cannot be imported."""
    try:
        from importlib import metadata

        return metadata.version("torch")
    except Exception:  # noqa: BLE001 - what hides a module from torch may hide it from this import too
        return None
