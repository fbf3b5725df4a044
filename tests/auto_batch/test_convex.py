"""The largest size within a limit, of convex piecewise linear peaks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor.auto_batch.convex import ConvexPeaks

LINES = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**7)), min_size=1, max_size=5)


def peaks_of(lines):
    return ConvexPeaks(lambda size: max(fixed + slope * size for fixed, slope in lines))


@pytest.mark.no_cover
@given(LINES, st.integers(0, 3 * 10**9), st.integers(1, 600))
@settings(max_examples=300, deadline=None)
def test_the_largest_is_the_last_that_fits(lines, limit, maximum):
    peaks = peaks_of(lines)
    found = peaks.largest(limit, maximum)
    assert 0 <= found <= maximum
    off = 2 * 1e-4 * limit + 1  # what may be taken from a line instead of measured
    assert found == 0 or peaks.at(found) <= limit + off
    assert found == maximum or peaks.at(found + 1) > limit - off


def test_t5_small_by_its_knee():
    """Peaks of T5-small in MiB as issue 5 names them: flat up to the knee, then a line; limits of many cards."""
    peaks = peaks_of([(1027, 22), (693, 102.7)])
    limits = (2000, 4000, 6000, 8000, 12000, 16000, 24000, 40000, 80000)
    assert [peaks.largest(limit, 1024) for limit in limits] == [
        sum(max(1027 + 22 * n, 693 + 102.7 * n) <= limit for n in range(1, 1025)) for limit in limits
    ]
    assert len(peaks.measured) <= 10
    assert peaks.largest(10**9, 1024) == 1024
    assert peaks.largest(1048, 1024) == 0
    assert peaks.largest(10**9, 0) == 0


def test_rounding_does_not_lead_astray():
    sizes = itertools.count(1)
    steps = {n: -(-(10_000 + 700 * n) // 512) * 512 for n in itertools.islice(sizes, 300)}
    peaks = ConvexPeaks(steps.__getitem__)
    for limit in range(11_000, 200_000, 7777):
        found = peaks.largest(limit, 300)
        assert abs(found - sum(peak <= limit for peak in steps.values())) <= 1
