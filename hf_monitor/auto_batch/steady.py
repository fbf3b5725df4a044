"""Whether a size that fits alone also fits step after step, and which size to try where it does not.

A step after ``empty_cache`` finds the device empty; in a training it finds the blocks of the steps before, cut up by
what has come to stay among them: the optimizer's state, made in the first update, and gradients that accumulate. A
block that finds no place large enough takes a new one, and the step takes more than it does alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

__all__ = ["EXPANDABLE", "largest_steady", "micro_steps"]

EXPANDABLE = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
"""What lets the allocator's blocks grow instead (docs.pytorch.org/docs/stable/notes/cuda.html)."""

_FIRST_SHARE = 0.02  # of the size that fits alone; doubled each time
_NEAR_ENOUGH = 0.04  # between what went through and what did not
_PROOFS = 7  # after which what went through is good enough


def micro_steps(size: int, accumulation: bool) -> Iterator[tuple[int, bool]]:
    """Give what a proof is made of: three updates of the size, and after the first a smaller batch, of other shapes.

    Parameters
    ----------
    size : int
    accumulation : bool
        Two micro-steps an update; the smaller batch is then the first of one, whose gradients live through the second.

    Yields
    ------
    int, bool
        Samples, and whether the update is made after them.

    Examples
    --------
    >>> list(micro_steps(8, False))
    [(8, True), (4, True), (8, True), (8, True)]
    >>> list(micro_steps(8, True))
    [(8, False), (8, True), (4, False), (8, True), (8, False), (8, True)]
    """
    smaller = max(1, size // 2)
    if accumulation:
        for first in (size, smaller, size):
            yield first, False
            yield size, True
    else:
        for one in (size, smaller, size, size):
            yield one, True


def largest_steady(found: int, proves: Callable[[int], bool]) -> tuple[int, int]:
    """Give a size that goes through the proof, going down from the one that fits alone.

    Down by 2 %, 4 %, 8 % ... of it, at least by one; then up again by halves, until what goes through is within 4 % of
    what does not, or seven proofs were made.

    Parameters
    ----------
    found : int
        Fits alone.
    proves : callable
        Says of a size whether it goes through.

    Returns
    -------
    int, int
        The size, 0 where not even one sample goes through; and the smallest that did not, ``found + 1`` if all did.
    """
    size, failed, share, proofs = found, found + 1, _FIRST_SHARE, 1
    while not proves(size):
        failed = size
        if size == 1:
            return 0, failed
        size = max(1, min(size - 1, int(found * (1 - share))))
        share, proofs = 2 * share, proofs + 1
    while proofs < _PROOFS and failed <= found and failed - size > max(1.0, _NEAR_ENOUGH * found):
        middle = (size + failed) // 2
        proofs += 1
        size, failed = (middle, failed) if proves(middle) else (size, middle)
    return size, failed
