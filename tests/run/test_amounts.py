"""Numbers and durations as people read them."""

import pytest

from hf_monitor.run.amounts import duration, number


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((None, ""), (0, "0 s"), (-1, "0 s"), (6.2e-6, "less than 0.01 ms"), (6.2e-5, "0.062 ms"), (0.0042, "4.2 ms")),
        *(
            (0.01, "0.01 s"),
            (0.87, "0.87 s"),
            (9.96, "10 s"),
            (45.2, "45 s"),
            (188, "3 min 08 s"),
            (7500, "2 h 05 min"),
        ),
    ],
)
def test_a_duration(seconds, words):
    assert duration(seconds) == words


def test_a_number():
    assert [number(one) for one in (1.0, 2.84167, 376089105105.2, 10**400)] == [
        "1",
        "2.842",
        "376,089,105,105",
        "about 10^400",
    ]
