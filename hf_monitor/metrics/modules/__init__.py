"""`evaluate` modules that load from the installed package: no hub, no network."""

from __future__ import annotations

from pathlib import Path

from hf_monitor.errors import InputError

__all__ = ["module_path"]


def module_path(name: str) -> str:
    """Give the path to hand to ``evaluate.load``.

    Parameters
    ----------
    name
        ``"rouge"`` or ``"bleu"``.

    Returns
    -------
    str
        Absolute path of the module's script in the installed package.

    Raises
    ------
    InputError
        If there is no such module.

    Examples
    --------
    >>> rouge = evaluate.load(module_path("rouge"))                      # doctest: +SKIP
    >>> rouge.compute(predictions=["..."], references=[["...", "..."]])  # doctest: +SKIP
    """
    folder = Path(__file__).resolve().parent
    known = sorted(path.parent.name for path in folder.glob("*/*.py") if path.stem == path.parent.name)
    if name not in known:
        raise InputError(f"There is no evaluate module {name!r} in hf_monitor; choose one of {', '.join(known)}.")
    return str(folder / name / f"{name}.py")
