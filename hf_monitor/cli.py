"""hf-monitor: the command line."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    raise NotImplementedError
