import gc
import logging
import os
import threading
import time
import weakref
from itertools import pairwise
from types import SimpleNamespace

import pytest

from hf_monitor.notebook import area as area_module
from hf_monitor.notebook import shell
from hf_monitor.notebook.area import Area, Drawing


class Shell:
    """What IPython gives: events, a publisher that writes down what it is given, and when."""

    kernel = object()

    def __init__(self):
        self.callbacks = {"pre_run_cell": [], "post_run_cell": []}
        self.events = SimpleNamespace(register=lambda event, function: self.callbacks[event].append(function))
        self.display_pub = self
        self.published = []

    def publish(self, *, data, metadata, transient, update):
        self.published.append((time.monotonic(), threading.current_thread().name, update, transient, data))

    def texts(self):
        return [data["text/plain"] for *_, data in self.published]

    def cell(self, body=lambda: None, error=None):
        for function in self.callbacks["pre_run_cell"]:
            function(None)
        body()
        for function in self.callbacks["post_run_cell"]:
            function(SimpleNamespace(error_in_exec=error, error_before_exec=None))


class Counter:
    """Something that is drawn: it has news all the time."""

    def __init__(self):
        self.value = 0
        self.area = Area(self.draw)

    def draw(self):
        return Drawing(f"<b>{self.value}</b>", str(self.value))

    def count(self):
        self.value += 1
        self.area.changed()


@pytest.fixture
def notebook(monkeypatch):
    found = Shell()
    monkeypatch.setattr(shell, "_shell", lambda: found)
    monkeypatch.setattr(shell, "_resting", False)
    monkeypatch.setattr(shell, "_listeners", [])
    return found


@pytest.fixture
def quick(monkeypatch):
    """Everything ten times as often."""
    for name in ("_EVERY_S", "_LONGEST_S", "_BEAT_S"):
        monkeypatch.setattr(area_module, name, getattr(area_module, name) / 10)


def until(said, patience_s=10.0):
    end = time.monotonic() + patience_s
    while not (answer := said()) and time.monotonic() < end:
        time.sleep(0.005)
    return answer


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "hf_monitor-area"]


def test_it_is_drawn_in_its_place_by_a_thread_at_most_twice_a_second(notebook):
    it = Counter()
    it.area.open()
    end = time.monotonic() + 1.4
    while time.monotonic() < end:
        it.count()
        time.sleep(0.002)
    it.area.close()
    first, *later, last = notebook.published
    assert [first[2], last[2]] == [False, True]
    assert {update for _, _, update, *_ in later} == {True}
    assert {thread for _, thread, *_ in later} == {"hf_monitor-area"}
    assert first[1] == last[1] == threading.current_thread().name
    assert len({transient["display_id"] for *_, transient, _ in notebook.published}) == 1
    assert 1 <= len(later) <= 2
    moments = [moment for moment, *_ in notebook.published[:-1]]
    assert all(after - before >= 0.5 for before, after in pairwise(moments))
    assert notebook.texts()[-1] == str(it.value)
    assert last[-1] == {"text/html": f"<b>{it.value}</b>", "text/plain": str(it.value)}


def test_what_takes_long_to_draw_is_drawn_less_often(notebook, quick):
    it = Counter()

    def work():
        end = time.thread_time() + 0.0015  # 1 % of 0.15 s
        while time.thread_time() < end:
            pass
        return it.draw()

    def wait():
        time.sleep(0.0015)  # as for a training that computes: takes nothing from anybody
        return it.draw()

    def pauses(draw):
        notebook.published.clear()
        it.area = Area(draw)
        it.area.open()
        until(lambda: it.count() or len(notebook.published) > 4)
        it.area.close()
        moments = [moment for moment, *_ in notebook.published[1:]]
        return [after - before for before, after in pairwise(moments[:3])]

    assert min(pauses(work)) >= 0.15
    assert min(pauses(wait)) < 0.15


def test_closed_it_is_not_drawn_again_and_its_thread_ends(notebook, quick):
    it = Counter()
    it.area.open()
    it.area.open()
    assert it.area.is_open
    it.area.close()
    shown = len(notebook.published)
    it.count()
    it.area.flush()
    it.area.close()
    it.area.open()
    assert not it.area.is_open
    assert until(lambda: not threads())
    assert len(notebook.published) == shown == 1  # nothing was new when it was closed


def test_nobody_holds_it(notebook, quick):
    it = Counter()
    it.area.open()
    gone = weakref.ref(it), weakref.ref(it.area)
    del it
    gc.collect()
    assert until(lambda: not any(reference() for reference in gone) and not threads())


def test_it_does_not_hold_what_it_shows(notebook):
    it = Counter()
    area, gone = it.area, weakref.ref(it)
    area.open()
    it.value = 1
    del it
    assert gone() is None
    area.changed()
    area.close()
    assert notebook.texts() == ["0"]


def test_flush_shows_what_is_new_and_only_that(notebook):
    it = Counter()
    it.area.open()
    it.area.flush()
    assert notebook.texts() == ["0"]
    it.count()
    it.area.flush()
    it.area.flush()
    assert notebook.texts() == ["0", "1"]
    it.area.close()


def test_flush_waits_for_what_is_being_drawn(notebook, quick):
    it = Counter()
    drawing, go_on = threading.Event(), threading.Event()

    def draw():
        if threading.current_thread().name == "hf_monitor-area":
            drawing.set()
            assert go_on.wait(10)
        return it.draw()

    it.area = Area(draw)
    it.area.open()
    it.count()
    assert drawing.wait(10)
    threading.Timer(0.05, go_on.set).start()
    it.area.flush()
    assert notebook.texts() == ["0", "1"]
    it.area.close()


def test_an_error_in_drawing_is_said_once_and_the_next_news_is_shown(notebook, caplog):
    it = Counter()

    def draw():
        if it.value < 3:
            raise ValueError(f"no {it.value}")
        return it.draw()

    it.area = Area(draw)
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        it.area.open()
        for _ in range(3):
            it.count()
            it.area.flush()
        it.area.close()
    assert notebook.texts() == ["", "3"]  # its place was taken when it was opened
    assert [record.getMessage() for record in caplog.records] == [
        "hf_monitor: the area in the notebook stays as it is: ValueError: no 0"
    ]


def test_nothing_raises_where_nothing_can_be_shown(monkeypatch, caplog):
    monkeypatch.setattr(shell, "_shell", lambda: None)
    it = Counter()
    it.area.open()
    it.count()
    it.area.flush()
    it.area.close()
    assert len(caplog.records) == 1


def test_without_a_thread_it_is_drawn_when_the_cell_ends(notebook, monkeypatch, caplog):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    it = Counter()
    it.area.open()
    it.count()
    it.area.flush()
    it.count()
    it.area.close()
    assert notebook.texts() == ["0", "1", "2"]
    assert "can't start new thread" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_shows_nothing_and_waits_for_nothing(notebook):
    it = Counter()
    it.area.open()
    it.count()
    locked, go_on = threading.Event(), threading.Event()

    def hold():
        with it.area._lock:
            locked.set()
            go_on.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert locked.wait(10)
    child = os.fork()
    if child == 0:
        for call in (it.area.open, it.count, it.area.flush, it.area.close):
            call()
        os._exit(len(notebook.published) - 1)
    ended = 0, 0

    def has_ended():
        nonlocal ended
        ended = os.waitpid(child, os.WNOHANG)
        return ended[0]

    if not until(has_ended, 5):
        os.kill(child, 9)
        os.waitpid(child, 0)
    go_on.set()
    holder.join()
    it.area.close()
    assert ended == (child, 0)


def test_the_clock_goes_on_while_a_cell_runs_and_rests_with_it(notebook, quick):
    it = Counter()

    class Clock:
        def draw(self):
            return Drawing("", str(time.monotonic()))

    clock = Clock()
    it.area = Area(clock.draw)
    it.area.open()
    assert until(lambda: len(notebook.published) > 1)  # nobody said that it changed
    notebook.cell()
    time.sleep(0.1)
    shown = len(notebook.published)
    time.sleep(1.2)
    assert len(notebook.published) == shown
    it.area.changed()
    assert until(lambda: len(notebook.published) == shown + 1)  # news is shown also then
    notebook.cell(lambda: until(lambda: len(notebook.published) > shown + 1))
    assert len(notebook.published) > shown + 1
    it.area.close()


def test_what_somebody_cleared_is_not_seen_and_shown_once_more_at_the_end(notebook):
    hooks = []
    notebook.register_hook = hooks.append
    notebook.execution_count = 7

    def clear(kind="clear_output"):
        for hook in hooks:
            assert hook({"header": {"msg_type": kind}}) == {"header": {"msg_type": kind}}

    kept, cleared = Counter(), Counter()
    kept.area.open()
    notebook.execution_count = 8
    cleared.area.open()
    clear("display_data")
    assert kept.area.is_seen
    assert cleared.area.is_seen
    clear()
    assert kept.area.is_seen
    assert not cleared.area.is_seen
    kept.area.close()
    cleared.area.close()
    assert [(update, data["text/plain"]) for *_, update, _, data in notebook.published] == 3 * [(False, "0")]
    assert len(hooks) == 1


def test_listeners_hear_how_a_cell_ended_as_long_as_they_live(notebook, caplog):
    class Listener:
        def __init__(self):
            self.heard = []

        def listen(self, error):
            self.heard.append(error)
            if error is not None:
                raise ValueError("in the listener")

    first, second = Listener(), Listener()
    shell.at_cell_end(first.listen)
    shell.at_cell_end(second.listen)
    assert [len(functions) for functions in notebook.callbacks.values()] == [1, 1]
    stopped = ValueError("in the cell")
    notebook.cell()
    notebook.cell(error=stopped)  # what they raise reaches nobody
    assert first.heard == second.heard == [None, stopped]
    del first
    gc.collect()
    notebook.cell()
    assert len(second.heard) == 3
    assert len(shell._listeners) == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
