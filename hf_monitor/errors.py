"""The errors that hf_monitor raises on purpose. Each message says what was wrong, what was received, and what to do."""

from __future__ import annotations

__all__ = ["HfMonitorError", "InputError", "MissingPackageError", "RunFolderError"]


class HfMonitorError(Exception):
    """Base of every error that hf_monitor raises on purpose."""


class InputError(HfMonitorError, ValueError):
    """A value handed to hf_monitor cannot be used (wrong shape, missing column, unequal lengths ...)."""


class MissingPackageError(HfMonitorError, ImportError):
    """An optional package is needed for what was asked; the message holds the command that installs it."""


class RunFolderError(HfMonitorError, OSError):
    """A run folder cannot be written, or a folder that should be a run is not one."""
