"""Whether a size that fits alone also fits step after step, and which size to try where it does not.

A step after ``empty_cache`` finds the device empty; in a training it finds the blocks of the steps before, cut up by
what has come to stay among them: the optimizer's state, made in the first update, and gradients that accumulate. A
block that finds no place large enough takes a new one, and the step takes more than it does alone. Batches of other
lengths cut at other places: BART-base in bf16 on a whole H100 went through updates of one length, and ran out of
memory when others came between (docs/auto_batch.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from hf_monitor.seq2seq.batches import MakeBatch, shorter

__all__ = ["EXPANDABLE", "WORST", "Shape", "batch_of", "largest_steady", "updates"]

EXPANDABLE = "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
"""What lets the allocator's blocks grow instead (docs.pytorch.org/docs/stable/notes/cuda.html)."""

_FIRST_SHARE = 0.02  # of the size that fits alone; doubled each time
_NEAR_ENOUGH = 0.04  # between what went through and what did not
_PROOFS = 7  # after which what went through is good enough


class Shape(NamedTuple):
    """A batch of a training, as shares of the worst: of its samples, of the lengths of its sources and targets."""

    samples: float = 1.0
    source: float = 1.0
    target: float = 1.0


WORST = Shape()
_OTHERS = (Shape(samples=0.5), Shape(source=0.4, target=0.3), Shape(source=0.85, target=0.75), Shape(source=0.65))


def updates(accumulation: bool) -> Iterator[tuple[Shape, ...]]:
    """Give what a proof is made of: updates of the worst batch, and between them others, each of another shape.

    Parameters
    ----------
    accumulation : bool
        Two micro-steps an update: the gradients that the other batch left lie among the blocks that the worst needs.

    Yields
    ------
    tuple of Shape
        An update's batches: ten in all with accumulation, nine without.
    """
    yield (WORST, WORST) if accumulation else (WORST,)
    for other in _OTHERS:
        if accumulation:
            yield other, WORST
        else:
            yield (other,)
            yield (WORST,)


def batch_of(shape: Shape, make: MakeBatch, size: int, *, can_cut: bool) -> Mapping[str, Any]:
    """Make a batch of a shape.

    Parameters
    ----------
    shape : Shape
    make : callable
        Makes the worst batch of so many samples.
    size : int
        Samples of the worst batch.
    can_cut : bool
        Whether the batch is an encoder-decoder's. Where its lengths cannot be cut, it has fewer samples instead.
    """
    batch = make(max(1, int(size * shape.samples)))
    if shape.source == shape.target == 1:
        return batch
    cut = shorter(batch, shape.source, shape.target) if can_cut else None
    return make(max(1, int(size * shape.source))) if cut is None else cut


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
