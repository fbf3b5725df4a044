"""StepClock: sums by hand, with a clock that is set by hand."""

import pytest

from hf_monitor.callbacks._step_clock import StepClock


class Hand:
    def __init__(self):
        self.now = 100.0
        self.clock = StepClock(lambda: self.now)

    def wait(self, seconds):
        self.now += seconds

    def step(self, seconds, data=0.0):
        self.wait(data)
        self.clock.step_begin()
        self.wait(seconds)
        self.clock.step_end()


@pytest.fixture
def hand():
    return Hand()


def test_steps_and_waits_are_told_apart(hand):
    hand.step(1.0, data=50.0)  # the start: workers, the first batch; in neither
    hand.step(2.0, data=0.5)
    hand.step(3.0, data=1.5)
    found = hand.clock.window()
    assert found == {
        "steps": 3,
        "seconds": 8.0,
        "step_seconds": 2.0,
        "step_seconds_max": 3.0,
        "data_wait_seconds": pytest.approx(2 / 3, abs=1e-6),
        "data_wait_share": 0.25,
        "other_seconds": 0.0,
    }
    assert hand.clock.window() == {}


def test_logging_evaluation_and_saving_are_no_wait_for_data(hand):
    hand.step(1.0)
    hand.wait(0.25)
    hand.clock.other_end()  # logged
    hand.wait(10.0)
    hand.clock.other_end()  # evaluated
    hand.wait(5.0)
    hand.clock.other_end()  # saved
    hand.step(1.0, data=0.5)
    found = hand.clock.window()
    assert (found["other_seconds"], found["data_wait_share"], found["seconds"]) == (15.25, 0.2, 2.5)


def test_what_a_user_does_within_a_step_is_part_of_it(hand):
    hand.step(1.0)
    hand.clock.step_begin()
    hand.wait(1.0)
    hand.clock.other_end()  # trainer.log() or evaluate() in a callback of his
    hand.wait(1.0)
    hand.clock.step_end()
    found = hand.clock.window()
    assert (found["step_seconds_max"], found["other_seconds"], found["data_wait_share"]) == (2.0, 0.0, 0.0)


def test_an_event_before_any_step_counts_nothing(hand):
    hand.wait(5.0)
    hand.clock.other_end()
    hand.clock.step_end()
    assert hand.clock.window() == {}


def test_throughput_counts_waits_and_all_processes(hand):
    hand.step(1.0)
    hand.clock.window()
    hand.clock.n_samples, hand.clock.n_tokens = 8, 640
    hand.step(1.5, data=0.5)
    found = hand.clock.window(processes=2)
    assert (found["samples_per_second"], found["tokens_per_second"]) == (8.0, 640.0)


def test_where_fetches_are_told_all_else_between_steps_is_no_wait(hand):
    hand.clock.hears_fetches = True
    hand.step(1.0)
    hand.wait(3.0)  # another callback's on_step_end
    hand.clock.fetch_begin()
    hand.wait(0.5)
    hand.clock.fetch_end()
    hand.clock.fetch_begin()  # of the second micro-batch
    hand.wait(0.5)
    hand.clock.fetch_end()
    hand.wait(2.0)  # tokens counted over all processes
    hand.step(1.0)
    found = hand.clock.window()
    assert (found["seconds"], found["data_wait_seconds"], found["other_seconds"]) == (3.0, 0.5, 5.0)


def test_the_start_of_the_workers_at_an_epochs_begin_is_wait_for_data(hand):
    hand.clock.hears_fetches = True
    hand.step(1.0)
    hand.wait(7.0)  # an evaluation at the epoch's end
    hand.clock.epoch_begin()
    hand.wait(2.0)
    hand.clock.fetch_begin()
    hand.wait(1.0)
    hand.clock.fetch_end()
    hand.step(1.0)
    found = hand.clock.window()
    assert (found["data_wait_seconds"], found["other_seconds"], found["seconds"]) == (1.5, 7.0, 5.0)


def test_alone_an_epochs_end_and_begin_are_no_wait(hand):
    hand.step(1.0)
    hand.wait(7.0)
    hand.clock.other_end()  # on_epoch_end
    hand.wait(4.0)
    hand.clock.epoch_begin()
    hand.step(1.0, data=0.5)
    found = hand.clock.window()
    assert (found["seconds"], found["other_seconds"]) == (2.5, 11.0)
