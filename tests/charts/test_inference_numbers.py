"""Statistics against values from tables, or counted by hand."""

import math

import pytest

from hf_monitor.charts.inference_numbers import (
    Bin,
    Estimate,
    calibration_error,
    equal_bins,
    mean_estimate,
    median_estimate,
    paired_shares,
    sign_test,
    spearman,
    student,
    wilson,
)


@pytest.mark.parametrize(
    ("degrees", "table"), [(1, 12.706), (4, 2.776), (5, 2.571), (9, 2.262), (10, 2.228), (30, 2.042), (10**6, 1.960)]
)
def test_student_is_that_of_the_tables(degrees, table):
    assert student(degrees) == pytest.approx(table, abs=1e-3)


def test_mean_and_its_interval():
    assert mean_estimate([3.0]) == Estimate(3.0, None, None)
    assert mean_estimate([0.0, 100.0, 0.0, 100.0]) == Estimate(50.0, None, None)  # t would say -42 to 142
    found = mean_estimate([1.0, 2.0, 3.0, 4.0, 5.0])  # s² = 2.5, t(4) = 2.7764
    half = 2.7764 * math.sqrt(2.5 / 5)
    assert found == (3.0, pytest.approx(3 - half), pytest.approx(3 + half))
    assert mean_estimate([1.0, 2.0, 3.0, 4.0, 5.0], 1.5, 4.5) == Estimate(3.0, 1.5, 4.5)


def test_the_difference_of_paired_shares_is_that_of_newcombe():
    found = paired_shares(36, 2, 12, 0)  # the paper's 36, 12, 2 and 0 of 50
    assert found == (0.2, pytest.approx(0.0569, abs=5e-5), pytest.approx(0.3404, abs=5e-5))
    # 22 of 50 and 32 of 50, which go together: the covariance has a correction of n / 2.
    found, (l1, u1), (l2, u2) = paired_shares(20, 2, 12, 16), wilson(32, 50), wilson(22, 50)
    phi = (20 * 16 - 2 * 12 - 25) / math.sqrt(22 * 28 * 32 * 18)
    low = math.sqrt((0.64 - l1) ** 2 - 2 * phi * (0.64 - l1) * (u2 - 0.44) + (u2 - 0.44) ** 2)
    high = math.sqrt((u1 - 0.64) ** 2 - 2 * phi * (u1 - 0.64) * (0.44 - l2) + (0.44 - l2) ** 2)
    assert found == (0.2, pytest.approx(0.2 - low), pytest.approx(0.2 + high))
    same = paired_shares(54, 0, 0, 0)
    assert (same.value, same.low) == (0, -same.high)
    assert paired_shares(0, 0, 10, 0).high == 1.0


def test_wilson_never_leaves_the_share_outside():
    for n in range(1, 201):
        low, high = wilson(n, n)
        assert (high, wilson(0, n)[0]) == (1.0, 0.0)
        assert low == pytest.approx(1 - wilson(0, n)[1])


def test_median_has_an_interval_of_order_statistics():
    assert median_estimate([5.0, 1.0]) == Estimate(3.0, None, None)
    assert median_estimate([1.0, 2, 3, 4, 5]) == Estimate(3, None, None)
    assert median_estimate([1.0, 2, 3, 4, 5, 6]) == Estimate(3.5, 1, 6)  # covers with 1 - 2 / 64
    assert median_estimate(range(1, 21)) == Estimate(10.5, 6, 15)  # the 6th and 15th, as in the tables
    assert median_estimate(range(1, 10_002)) == Estimate(5001, 4902, 5100)


def test_sign_test_is_the_binomial_one():
    assert sign_test(8, 2) == 2 * (1 + 10 + 45) / 1024
    assert sign_test(0, 0) == sign_test(3, 3) == 1
    assert sign_test(0, 6) == 2 / 64
    exact, normal = sign_test(550, 450), sign_test(551, 450)  # on both sides of the change of method
    assert exact == pytest.approx(0.00173, abs=1e-5)
    assert normal == pytest.approx(0.00156, abs=5e-5)


def test_spearman_with_ties_and_without_variation():
    assert spearman([1, 2, 3], [2, 4, 9]) == Estimate(1, None, None)
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]).value == pytest.approx(4.5 / math.sqrt(22.5))
    assert spearman([1, 1], [1, 2]) is None
    found = spearman(range(10), [1, 0, 3, 2, 5, 4, 7, 6, 9, 8])  # rho = 1 - 6 * 10 / 990
    half = 1.959964 * math.sqrt((1 + found.value**2 / 2) / 7)
    assert found.value == pytest.approx(1 - 60 / 990)
    assert found.low == pytest.approx(math.tanh(math.atanh(found.value) - half))


def test_bins_have_equal_counts_and_do_not_part_equal_confidences():
    confidences = [i / 40 for i in range(40)]
    bins = equal_bins(confidences, [1.0] * 20 + [0.0] * 20, share=True)
    assert [(one.low, one.high, one.n) for one in bins] == [
        (0, 9 / 40, 10),
        (10 / 40, 19 / 40, 10),
        (20 / 40, 29 / 40, 10),
        (30 / 40, 39 / 40, 10),
    ]
    assert bins[0].outcome == Estimate(1.0, *wilson(10, 10))
    assert [one.n for one in equal_bins([0.5] * 15 + [0.9] * 15, [1.0] * 30, share=True)] == [15, 15]
    assert [one.n for one in equal_bins([0.5] * 30, [1.0] * 30, share=True)] == [30]
    assert [one.n for one in equal_bins([0.1, 0.2], [3.0, 5.0], share=False)] == [2]
    assert equal_bins([], [], share=True) == []


def test_calibration_error_is_weighted_by_count():
    bins = [Bin(0, 0.5, 30, 0.4, Estimate(0.5, None, None)), Bin(0.5, 1, 10, 0.9, Estimate(0.6, None, None))]
    assert calibration_error(bins) == pytest.approx((30 * 0.1 + 10 * 0.3) / 40)
