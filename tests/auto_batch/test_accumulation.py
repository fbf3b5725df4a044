"""Batch x accumulation x ranks is the effective batch, whatever the card, the ranks and the ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_monitor.auto_batch.accumulation import DEFAULT_EFFECTIVE_BATCH, divisors, per_rank_batch, settle
from hf_monitor.errors import InputError
from hf_monitor.gpu.tiers import TIERS

tiers = st.sampled_from(list(TIERS.values()))
ranks = st.integers(1, 16)


def fits_tier(size, steps, tier):
    return tier.batch_sizes[0] <= size <= tier.batch_sizes[1] and tier.accumulation[0] <= steps <= tier.accumulation[1]


@pytest.mark.no_cover
@given(ceiling=st.integers(1, 2000), tier=tiers, num_processes=ranks, share=st.integers(1, 600))
def test_the_product_is_exact_the_ceiling_holds_and_the_tier_is_met_where_it_can_be(
    ceiling, tier, num_processes, share
):
    effective = share * num_processes
    found = settle(ceiling, tier, num_processes=num_processes, effective_batch_size=effective)
    assert found.per_device_batch_size * found.accumulation * num_processes == effective == found.effective_batch_size
    assert 1 <= found.per_device_batch_size <= ceiling
    sizes = [d for d in range(1, min(share, ceiling) + 1) if share % d == 0]
    possible = any(fits_tier(d, share // d, tier) for d in sizes)
    met = fits_tier(found.per_device_batch_size, found.accumulation, tier)
    assert met == possible
    assert (found.note is None) == met
    low, high = tier.batch_sizes
    if not met and any(low <= d <= high for d in sizes):
        assert low <= found.per_device_batch_size <= high  # the batch first, then the accumulation


@pytest.mark.no_cover
@given(tier=tiers, num_processes=ranks, effective=st.integers(1, 5000))
def test_an_effective_batch_that_the_ranks_do_not_divide_is_refused_with_both_neighbours(
    tier, num_processes, effective
):
    if effective % num_processes == 0:
        assert per_rank_batch(effective, num_processes) * num_processes == effective
        return
    with pytest.raises(InputError) as caught:
        settle(64, tier, num_processes=num_processes, effective_batch_size=effective)
    below = effective - effective % num_processes
    named = f"effective_batch_size of {below} or {below + num_processes}" if below else f"of {num_processes}"
    assert str(caught.value).endswith(named)


@pytest.mark.parametrize(
    ("tier", "size", "steps"), [("High-End", 128, 1), ("Mid-Range", 64, 2), ("Budget", 32, 4), ("Low-End", 16, 8)]
)
def test_every_tier_reaches_the_default_within_its_ranges(tier, size, steps):
    found = settle(1000, TIERS[tier])
    assert (found.per_device_batch_size, found.accumulation, found.note) == (size, steps, None)
    assert found.effective_batch_size == DEFAULT_EFFECTIVE_BATCH == 128


@pytest.mark.parametrize(
    ("ceiling", "tier", "options", "size", "words"),
    [
        (20, "Mid-Range", {}, 16, "at most 20 fit the device"),
        (500, "High-End", {"num_processes": 4}, 32, "each of 4 processes contributes only 32 samples"),
        (500, "Low-End", {"effective_batch_size": 8}, 8, "an update has only 8 samples"),
        (500, "Low-End", {"effective_batch_size": 74}, 37, "no divisor of 74 up to 74 lies there"),
        (100, "Mid-Range", {"effective_batch_size": 256}, 64, "since 4 batches of 64 make 256 samples"),
        (99, "Low-End", {"effective_batch_size": 16}, 16, "since 1 batch of 16 makes 16 samples"),
        (1, "Budget", {}, 1, "1 x 128 = 128"),
    ],
)
def test_where_the_tier_yields_the_note_says_why(ceiling, tier, options, size, words):
    found = settle(ceiling, TIERS[tier], **options)
    assert found.per_device_batch_size == size
    assert words in found.note
    assert found.note.startswith(f"the {tier} tier prefers batches of")


@pytest.mark.parametrize(
    ("ceiling", "options", "words"),
    [
        (0, {}, "ceiling must be 1 or more, got 0"),
        (8, {"effective_batch_size": 0}, "effective_batch_size must be a whole number, 1 or more, got 0"),
        (8, {"effective_batch_size": 12.5}, "got 12.5"),
        (8, {"num_processes": 0}, "num_processes must be a whole number"),
        (8, {"num_processes": 3}, r"128 \(the default\) .* effective_batch_size of 126 or 129"),
        (8, {"effective_batch_size": 10**20}, "effective_batch_size must be at most 1048576 samples, got 1000"),
    ],
)
def test_numbers_that_cannot_be_are_refused(ceiling, options, words):
    with pytest.raises(InputError, match=words):
        settle(ceiling, TIERS["Low-End"], **options)


@given(st.integers(1, 3000))
def test_divisors_are_all_of_them_in_order(number):
    assert divisors(number) == [d for d in range(1, number + 1) if number % d == 0]


def test_of_two_that_suit_the_tier_the_larger_batch_is_taken():
    found = settle(1000, TIERS["Low-End"], effective_batch_size=192)  # 24 x 8 would do as well
    assert (found.per_device_batch_size, found.accumulation, found.note) == (32, 6, None)
