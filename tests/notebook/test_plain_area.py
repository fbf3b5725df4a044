"""Lines of text where there is no notebook: when one is printed, and when not."""

import gc
import itertools
import logging

import pytest

from hf_monitor.notebook import plain
from hf_monitor.notebook.area import Area
from hf_monitor.notebook.plain import PlainArea, make_area


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(plain, "monotonic", lambda: Clock.now)
    return Clock


class Source:
    text = "begins"

    def line(self):
        return self.text

    def draw(self):
        raise AssertionError("there is no notebook")


def test_lines_come_ever_more_seldom_and_the_last_one_always(clock, capsys):
    source = Source()
    area = make_area(source.draw, source.line)
    assert isinstance(area, PlainArea)
    assert not isinstance(area, Area)
    area.changed()  # not open yet
    area.flush()
    assert capsys.readouterr().out == ""
    area.open()
    printed = []
    for second in range(0, 7200 * 10):  # two hours of ten steps a second
        clock.now = 1000.0 + second / 10
        source.text = f"at {second / 10:g}"
        area.changed()
    source.text = "the end"
    area.close()
    area.close()
    area.changed()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "begins"
    assert lines[-1] == "the end"
    printed = [float(line.removeprefix("at ")) for line in lines[1:-1]]
    gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(printed)]
    assert printed[:3] == [0.5, 1.0, 1.5]
    assert all(min(max(0.5, 0.01 * at), 30) - 0.01 <= gap <= min(max(0.5, 0.01 * at), 30) + 0.2 for gap, at in gaps)
    assert 600 < len(printed) < 800


def test_the_same_line_is_not_printed_twice_and_news_at_the_end_of_a_cell_are(clock, capsys):
    source = Source()
    area = PlainArea(source.line)
    area.open()
    for _ in range(10):
        clock.now += 100
        area.changed()
    area.flush()
    assert capsys.readouterr().out == "begins\n"
    source.text = "news"
    area.flush()  # nobody said that there are any
    assert capsys.readouterr().out == ""
    area.changed()
    area.flush()
    area.close()
    assert capsys.readouterr().out == "news\n"


def test_what_cannot_be_said_is_reported_once_and_who_is_gone_says_nothing(clock, capsys, caplog):
    def line():
        raise ValueError("no words")

    area = PlainArea(line)
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        area.open()
        clock.now += 100
        area.changed()
        area.close()
    assert [record.getMessage() for record in caplog.records] == [
        "hf_monitor: nothing more is printed here: ValueError: no words"
    ]
    source = Source()
    area = PlainArea(source.line)
    area.open()
    del source
    gc.collect()
    clock.now += 100
    area.changed()
    area.close()
    assert capsys.readouterr().out == "begins\n"
