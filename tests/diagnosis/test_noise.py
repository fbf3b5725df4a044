"""How often a verdict is a matter of luck: simulated trainings, seeded, whose true share is known."""

import random

import pytest

from hf_monitor.diagnosis import hardware_findings
from hf_monitor.diagnosis.intervals import mean_interval, share_interval, wilson

SEEDS = range(300)


def spells(rng, n, share, seconds):
    """Make samples of a state that comes in spells of `seconds` on average and holds for `share` of the time."""
    ends = 1 / seconds
    begins = ends * share / (1 - share)
    on, found = rng.random() < share, []
    for _ in range(n):
        found.append(on)
        on = rng.random() >= ends if on else rng.random() < begins
    return found


def rates(share, n, seconds, threshold=0.10):
    found = [share_interval(spells(random.Random(seed), n, share, seconds)) for seed in SEEDS]
    above = sum(interval.above(threshold) for interval in found)
    return above / len(found), sum(interval.below(threshold) for interval in found) / len(found)


@pytest.mark.parametrize("n", [40, 100, 600])
@pytest.mark.parametrize("seconds", [1.12, 3.0, 10.0])
def test_half_of_the_threshold_is_hardly_ever_found(n, seconds):
    above, _ = rates(0.05, n, seconds)
    assert above <= 0.04  # 2.8 % at most over 1000 seeds: 40 samples, spells of 10 s


@pytest.mark.parametrize("n", [40, 100, 600])
def test_on_the_threshold_independent_samples_are_neither_found_nor_clear(n):
    above, below = rates(0.10, n, 1 / 0.9)  # a spell of 1 / (1 - share) samples on average is no spell
    assert max(above, below) <= 0.07  # 2.5 % each by design
    assert above + below <= 0.10


@pytest.mark.no_cover
def test_what_is_really_there_is_found_and_what_is_not_is_clear():
    assert rates(0.40, 100, 1.7)[0] >= 0.99
    assert rates(0.40, 600, 10.0)[0] >= 0.98
    assert rates(0.01, 300, 3.0)[1] >= 0.97
    assert rates(0.0, 40, 1.0) == (0.0, 1.0)


def test_a_verdict_hardly_ever_flips_from_found_to_clear_between_two_trainings_alike():
    rng = random.Random(1)
    flips = 0
    for _ in SEEDS:
        first, second = (share_interval(spells(rng, 600, 0.10, 3.0)) for _ in range(2))
        flips += (first.above(0.10) and second.below(0.10)) or (first.below(0.10) and second.above(0.10))
    assert flips / len(SEEDS) <= 0.02


def test_one_long_spell_is_found():
    assert share_interval([False] * 360 + [True] * 240).above(0.10)  # throttles from its hottest hour on
    assert not share_interval([False] * 40 + [True] * 12).above(0.10)  # too short to tell


@pytest.mark.parametrize("n", [3, 5, 10, 40])
def test_windows_on_the_threshold_are_found_as_rarely_as_the_interval_says(n):
    found = 0
    for seed in range(1000):
        rng = random.Random(seed)
        found += mean_interval([rng.gauss(0.10, 0.03) for _ in range(n)], [1.0] * n).above(0.10)
    assert 0.005 <= found / 1000 <= 0.045  # 2.5 % by design


@pytest.mark.no_cover
def test_utilisation_that_resembles_its_neighbours_is_hardly_ever_called_busy_below_ninety():
    found = 0
    for seed in SEEDS:
        rng = random.Random(seed)
        state, idle = rng.gauss(0, 1), []
        for _ in range(300):
            idle.append(max(0.0, 0.12 + 0.05 * state))
            state = 0.9 * state + (1 - 0.9**2) ** 0.5 * rng.gauss(0, 1)
        found += mean_interval(idle).below(0.10)
    assert found / len(SEEDS) <= 0.02


def test_wilsons_interval_is_wilsons():
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_mean_has_students_interval_over_its_blocks():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.value == 2.0
    assert interval.high - 2.0 == pytest.approx(4.3027 / 3**0.5)  # standard deviation 1
    pairs = mean_interval([value for k in range(10) for value in (k, k + 1.0)])  # 20 values in 10 blocks
    assert pairs.high - pairs.value == pytest.approx(2.2622 * 3.0277 / 10**0.5, rel=1e-3)


def test_whole_run_verdicts_agree_with_the_simulated_truth(folder):
    rng = random.Random(5)
    flags = spells(rng, 900, 0.5, 20.0)
    folder.begin().windows([max(0.0, rng.gauss(0.3, 0.1)) for _ in range(20)], seconds=45.0)
    folder.gpu(900, throttle=lambda k: ["hw_thermal"] if flags[k] else [], utilization_percent=lambda k: 60 + k % 20)
    verdicts = {found.rule: found.verdict for found in hardware_findings(folder.run())}
    assert (verdicts["thermal_throttling"], verdicts["data_bound"]) == ("found", "found")
    assert (verdicts["compute_bound"], verdicts["power_throttling"]) == ("clear", "clear")
