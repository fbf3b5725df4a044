"""NotebookLogger, beside a stand-in for IPython's shell, and without any."""

import gc
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import weakref
from argparse import Namespace

import numpy as np
import pytest

from hf_monitor import NotebookLogger, load_run
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.notebook import experiment as experiment_module
from hf_monitor.notebook import plots, progress, shell
from hf_monitor.notebook.draw import draw
from hf_monitor.notebook.metrics_table import readings
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.watch.curve import Curve
from hf_monitor.report.watch.state import State


class Meta:
    """As much of a tensor without values as is asked for."""

    shape, is_meta = (), True

    def item(self):
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")


class Broken(Meta):
    """A tensor on a GPU on which a kernel failed meanwhile."""

    is_meta = False

    def item(self):
        raise RuntimeError("CUDA error: device-side assert triggered")


class StandIn:
    """As much of IPython's shell as the package asks for, and what it was told to show."""

    def __init__(self):
        self.kernel = object()
        self.execution_count = 1
        self.events = self.display_pub = self
        self.outputs = {}  # id -> list of bundles
        self.first_in = {}  # id -> cell
        self.ended = []

    def register(self, event, listener):
        if event == "post_run_cell":
            self.ended.append(listener)

    def publish(self, data, metadata, transient, update):
        place = transient["display_id"]
        assert update == (place in self.outputs)
        self.outputs.setdefault(place, []).append(data)
        self.first_in.setdefault(place, self.execution_count)

    def end_cell(self, error=None):
        for listener in self.ended:
            listener(Namespace(error_in_exec=error, error_before_exec=None))
        self.execution_count += 1

    def shown_in(self, cell):
        return [self.outputs[place][-1]["text/html"] for place in self.outputs if self.first_in[place] == cell]


@pytest.fixture
def notebook(monkeypatch):
    found = StandIn()
    monkeypatch.setattr(shell, "_shell", lambda: found)
    return found


@pytest.fixture
def scenes(monkeypatch):
    """What the areas of experiments draw, as scenes."""
    found = []
    monkeypatch.setattr(plots, "draw", lambda scene: (found.append(scene), draw(scene))[1])
    return found


def points(scene, name):
    return [(point.step, point.total) for point in scene.state.curves[name].points]


def test_steps_values_and_what_is_shown_of_them(notebook, scenes, tmp_path):
    torch = pytest.importorskip("torch")
    nb = NotebookLogger()
    assert nb.log_metric("loss", 3) is None  # begins "experiment"
    nb.log_metric("loss", torch.tensor(2.0, requires_grad=True))
    nb.log_metric("loss", np.float32(1.5), step=np.int64(7))
    nb.log_metric("loss", 1.0)
    nb.log_metric("loss", 0.5, step=8)  # in the place of the former
    nb.log_metrics({"acc": np.array(0.25), "epoch": True, "loss": float("nan")})
    nb.log_metric("other_time", 10**400)
    nb.end_experiment()
    last = scenes[-1]
    assert last.title == "experiment"
    assert last.metrics == ("loss", "acc", "epoch", "other_time")
    assert points(last, "loss") == [(0, 3), (1, 2), (7, 1.5), (8, 0.5), (9, 0)]
    assert last.state.curves["loss"].points[-1].broken
    assert points(last, "acc") == [(9, 0.25)]
    assert points(last, "epoch") == [(9, 1)]
    assert last.state.curves["other_time"].last == (9, math.inf)
    assert len(notebook.outputs) == 1

    # A loop that is run again takes the place of what it had shown.
    nb.start_experiment("again", total_steps=10)
    for _ in range(2):
        for step in range(6):
            nb.log_metric("loss", step, step)
    nb.log_metric("loss", 9.0, step=3)
    nb.end_experiment()
    assert points(scenes[-1], "loss") == [(0, 0), (1, 1), (2, 2), (3, 9)]
    assert nb._repr_html_() == notebook.shown_in(1)[-1]  # for a page that was reloaded meanwhile
    (bar,) = scenes[-1].bars
    assert (bar.label, bar.done, bar.total) == ("step", 4, 10)
    (note,) = scenes[-1].notes
    assert note.startswith("loss: the step went back from 5 to 0, ")


def test_a_metric_without_a_step_stands_beside_what_was_logged_last(notebook, scenes):
    nb = NotebookLogger()
    for _ in range(2):
        for _ in range(50):
            nb.log_metric("loss", 1.0)
            nb.log_metric("acc", 0.5)
        nb.log_metrics({"eval_loss": 2.0, "eval_acc": 0.5})
    nb.log_metric("eval_loss", 1.0)  # the next one, as it has a value there
    nb.log_metric("far", 1.0, step=500)
    nb.log_metric("near", 1.0, step=3)
    nb.log_metric("far", 2.0)  # never back
    nb.end_experiment()
    assert [step for step, _ in points(scenes[-1], "loss")] == list(range(100))
    assert [step for step, _ in points(scenes[-1], "acc")] == list(range(100))
    assert [step for step, _ in points(scenes[-1], "eval_loss")] == [49, 99, 100]
    assert [step for step, _ in points(scenes[-1], "far")] == [500, 501]
    assert scenes[-1].notes == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda nb: nb.log_metric("loss", "0.5"), "value of 'loss' must be a number, got str: '0.5'"),
        (lambda nb: nb.log_metric("loss", None), "got NoneType"),
        (lambda nb: nb.log_metric("loss", np.zeros(3)), r"one number, got a ndarray of shape \(3,\)"),
        (lambda nb: nb.log_metric("loss", Meta()), r"one number, got a Meta of shape \(\)"),
        (lambda nb: nb.log_metric("", 1.0), "name must be a text"),
        (lambda nb: nb.log_metric("loss", 1.0, step=-1), "whole number from 0 on, got -1"),
        (lambda nb: nb.log_metric("loss", 1.0, step=1.5), "got 1.5"),
        (lambda nb: nb.log_metrics({"a": 1.0, "b": "x"}), "value of 'b'"),
        (lambda nb: nb.log_metrics([1.0]), "takes a mapping"),
        (lambda nb: nb.start_experiment(3), "name must be a text"),
        (lambda nb: nb.start_experiment("x", total_steps=0), "total_steps must be .* got 0"),
        (lambda nb: nb.start_experiment("x", config=[1]), "config must be a mapping"),
        (lambda nb: nb.start_experiment("x", run_dir=3), "run_dir must be"),
        (lambda nb: nb.start_experiment("x", total_steps=10.0), "^total_steps must be a whole number"),
        (lambda nb: nb.create_inline_plot("abc", "t"), "must be numbers to plot"),
        (lambda nb: nb.create_inline_plot([(0, 1), (10, 2)], "t"), r"tuple\(zip\(\*pairs\)\)"),
        (lambda nb: nb.create_inline_plot(([0, math.inf], [1, 2]), "t"), "steps must be finite numbers, got inf"),
        (lambda nb: nb.create_inline_plot(([0, 10**400], [1, 2]), "t"), "steps must be finite numbers, got inf"),
        (lambda nb: nb.create_inline_plot(Namespace(to_dict=1, columns=[], ndim=2), "t"), r'df.to_dict\("list"\)'),
        (lambda nb: nb.create_inline_plot(Namespace(savefig=1), "t"), r"display\(figure\)"),
        (lambda nb: nb.log_with_plot("m", 0.3), r"goes to log_metric\(name, value\)"),
        (lambda nb: nb.create_inline_plot([[1, 2], [3, 4]], "t"), "value 0 of 't' must be a number, got list"),
        (lambda nb: nb.create_inline_plot(np.zeros((2, 2)), "t"), "must be numbers to plot"),
        (lambda nb: nb.create_inline_plot(([1, 2], [3]), "t"), "2 steps and 1 values"),
        (lambda nb: nb.log_with_plot("m", {"a": "x"}), "'a' must be a number, got str"),
        (lambda nb: nb.progress(-1), "got -1"),
        (lambda nb: nb.progress(1.5), "got float: 1.5"),
        (lambda nb: nb.progress("epochs", 10), "^progress.items or number, description.: description must be a text"),
        (lambda nb: nb.progress(total=-1), "^total must be a whole number"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_of_it_is_logged(notebook, scenes, call, message):
    nb = NotebookLogger()
    with pytest.raises(InputError, match=message):
        call(nb)
    assert notebook.outputs == {}


def test_an_error_of_the_gpu_that_surfaces_in_a_value_is_not_hidden(notebook):
    with pytest.raises(RuntimeError, match="device-side assert"):
        NotebookLogger().log_metric("loss", Broken())


def test_an_error_in_a_cell_is_told_until_something_is_logged(notebook, scenes, tmp_path):
    nb = NotebookLogger(tmp_path)
    nb.start_experiment("loop", config=Namespace(lr=0.1, api_key="hunter2hunter2"), total_steps=1000)
    nb.log_metric("loss", 2.0)
    nb.log_metric("loss", 1.0)
    notebook.end_cell(KeyboardInterrupt())
    assert (scenes[-1].status, scenes[-1].ending) == ("interrupted", "in the cell; the experiment is still open")
    assert scenes[-1].bars[0].note == ""  # nothing is on its way
    notebook.end_cell(NameError("a typo in a cell that has nothing to do with it"))
    assert scenes[-1].status == "interrupted"
    nb.log_metric("loss", 1.0)
    notebook.end_cell()
    notebook.end_cell(NameError("a typo"))
    nb.log_with_plot("looked at it")  # no value: nothing goes on, nothing fails
    notebook.end_cell(NameError("a typo"))
    assert scenes[-1].status == "running"
    for _ in nb.progress(2):
        pass
    notebook.end_cell(ValueError("of my own\nand more"))
    nb.log_with_plot("looked at it")
    assert (scenes[-1].status, scenes[-1].ending) == ("crashed", "ValueError: of my own; the experiment is still open")
    assert load_run(tmp_path).status == "running"
    nb.log_metric("loss", 0.5)
    assert nb._open.experiment._stopped is None  # nor is it recorded that it was stopped
    notebook.end_cell()  # shown at the end of the cell, without waiting
    assert (scenes[-1].status, scenes[-1].ending) == ("running", "")
    assert scenes[-1].bars[0].note.endswith("left")
    last = [scene for scene in scenes if scene.metrics][-1]
    assert last.links == [("run folder", str(tmp_path))]
    assert any("lr = 0.1" in note for note in last.notes)
    assert "hunter2" not in str(scenes)
    nb.log_metric("loss", 0.4)
    notebook.end_cell(KeyboardInterrupt())
    nb.log_with_plot("why?")
    notebook.end_cell()

    nb.start_experiment("the next")  # what was stopped was not finished
    first = [scene for scene in scenes if scene.metrics][-1]
    assert (first.title, first.status) == ("loop", "interrupted")
    nb.log_metric("loss", 2.0)
    with pytest.raises(ZeroDivisionError), nb:
        raise ZeroDivisionError("x")
    assert (scenes[-1].status, scenes[-1].ending) == ("crashed", "ZeroDivisionError: x")
    run = load_run(tmp_path)
    assert run.status == "crashed"
    assert run.curve("loss").values == [2.0]
    assert "hunter2" not in (tmp_path / "run.json").read_text(encoding="utf-8")
    errors = [row for row in run.events if row["event"] in ("error", "train_end")]
    assert [(row["attempt"], row["type"]) for row in errors] == [(1, "KeyboardInterrupt"), (2, "ZeroDivisionError")]


def test_a_folder_that_cannot_be_written_is_told_at_once_and_leaves_nothing_open(notebook, tmp_path):
    (tmp_path / "file").write_text("x")
    nb = NotebookLogger(tmp_path / "file")
    with pytest.raises(RunFolderError, match="cannot be written"):
        nb.start_experiment("x")
    assert notebook.outputs == {}
    nb.end_experiment()
    nb.start_experiment("before", run_dir=tmp_path / "good", total_steps=7)
    with pytest.raises(RunFolderError):
        nb.start_experiment("x")
    nb.display_summary()  # of the one that it ended
    assert notebook.outputs[list(notebook.outputs)[-1]][-1]["text/plain"].startswith("before: finished")
    assert [row["max_steps"] for row in load_run(tmp_path / "good").events if row["event"] == "train_begin"] == [7]


def test_plots_are_in_the_area_or_in_their_own_cell(notebook, scenes):
    nb = NotebookLogger()
    nb.start_experiment("plots")
    values = [1.0, 2.0]
    nb.create_inline_plot(values, "one")
    values[0] = 77.0  # what was handed over is shown
    nb.create_inline_plot({"a": [1, 2], "b": ([5, 6], [7, 8])}, "two")
    notebook.end_cell()
    assert len(scenes[-1].pictures) == 2
    assert "77" not in str(scenes[-1].pictures[0])
    assert "b" in str(scenes[-1].pictures[1])
    for n in range(20):
        nb.create_inline_plot([n, n], f"plot {n}")
        nb.create_inline_plot([n, n + 1], "in this cell")
        nb.log_with_plot(f"message {n}", {"norms": np.arange(n), "n": n})
    notebook.end_cell()
    assert len(notebook.shown_in(2)) == 22
    last, here = scenes[-2:]  # the area, and what it shows of itself in the cell of the messages
    assert here.messages == last.messages
    assert len(here.pictures) == 1
    assert here.metrics == ()
    assert here.notes == ["Its metrics are in the area of the cell that began it."]
    assert len(last.pictures) == 3
    assert [message.split(maxsplit=1)[1] for message in last.messages] == [f"message {n}" for n in range(12, 20)]
    assert "12 earlier messages are not shown." in last.notes
    assert points(last, "n") == [(n, n) for n in range(20)]
    nb.create_inline_plot([1], "in this cell")  # another cell, another output
    nb.create_inline_plot([1])
    nb.create_inline_plot([2])
    nb.end_experiment()
    nb.log_with_plot("after it", {"x": 1.5, "y": [1, 2]})
    nb.display_summary()
    plot, first, second, message, lists, table = notebook.shown_in(3)
    assert "in this cell" in plot
    assert "plot 1" in first
    assert "at index 0" in lists  # no step was given
    assert "plot 2" in second
    assert "after it, x 1.5" in message
    assert 'alt="y' in lists
    assert "<td" in table


def test_the_summary_has_last_and_best(notebook, capsys):
    nb = NotebookLogger()
    nb.display_summary()
    for loss, acc in [(3.0, 0.1), (1.0, 0.9), (2.0, 0.5)]:
        nb.log_metrics({"loss": loss, "acc": acc, "bad": math.nan})
    nb.display_summary()
    nb.end_experiment()
    assert not [one for one in vars(nb).values() if isinstance(one, experiment_module.Experiment)]
    nb.display_summary()
    first, _, during, after = [bundles[-1]["text/plain"] for bundles in notebook.outputs.values()]
    assert first.startswith("No experiment so far")
    assert [line.split() for line in after.splitlines()[-3:]] == [
        ["loss", "2", "2", "1", "1", "3"],
        ["acc", "0.5", "2", "0.9", "1", "3"],
        ["bad", "NaN", "2", "3"],
    ]
    assert during.splitlines()[-3:] == after.splitlines()[-3:]
    assert "finished" in after


def test_best_only_where_it_is_known_what_is_better(notebook, scenes):
    nb = NotebookLogger()
    nb.start_experiment("names", config={"metric_for_best_model": "mine", "greater_is_better": False})
    for value in (3.0, 1.0, 2.0):
        nb.log_metrics(
            dict.fromkeys(["val/loss", "cer", "eval_rougeL", "neg_mean_squared_error", "mine", "fid", "lr"], value)
        )
    nb.display_summary()
    table = notebook.outputs[list(notebook.outputs)[-1]][-1]["text/plain"]
    best = {line.split()[0]: line.split()[3] for line in table.splitlines()[3:]}
    assert best == {
        "val/loss": "1",
        "cer": "1",
        "eval_rougeL": "3",
        "neg_mean_squared_error": "3",
        "mine": "1",
        "fid": "3",
        "lr": "3",
    }  # of the last two: how many values
    nb.end_experiment()
    read = {one.name: one.best and one.best[0] for one in readings(scenes[-1])}
    assert read == {
        "val/loss": 1,
        "cer": 1,
        "eval_rougeL": 3,
        "neg_mean_squared_error": 3,
        "mine": 1,
        "fid": None,
        "lr": None,
    }


def test_bars(notebook, scenes):
    nb = NotebookLogger()
    nb.start_experiment("bars")
    for _ in nb.progress(["a", "b"], "outer"):
        inner = nb.progress((n for n in range(3)), "inner")
        assert list(inner) == [0, 1, 2]
        with pytest.raises(TypeError, match="length"):
            len(inner)
    assert list(inner) == []  # the generator is exhausted
    again = nb.progress(4, "again")
    assert len(again) == 4
    assert [list(again), list(again)] == [[0, 1, 2, 3]] * 2
    for n in nb.progress(100, "broken off"):
        if n == 7:
            break
    with nb.progress(10, "by hand") as bar:
        bar.update()
        bar.update(4)
    for n in range(30):
        list(nb.progress(1, f"many {n}"))
    nb.end_experiment()
    bars = {bar.label: (bar.done, bar.total) for bar in scenes[-1].bars}
    assert len(scenes[-1].bars) == 8
    assert bars["many 29"] == (1, 1)
    assert len(notebook.outputs) == 1

    nb.start_experiment("few")
    for _ in nb.progress(2, "outer"):
        list(nb.progress(iter("abc"), "inner"))
    for n in nb.progress(100, "broken off"):
        if n == 7:
            break
    nb.end_experiment()
    bars = {bar.label: (bar.done, bar.total) for bar in scenes[-1].bars}
    assert bars == {"outer": (2, 2), "inner": (3, None), "broken off": (7, 100)}
    assert [bar.note.endswith("left early") for bar in scenes[-1].bars] == [False, False, True]


def test_a_bar_without_an_experiment_has_an_output_of_its_own(notebook):
    nb = NotebookLogger()
    bar = nb.progress(3, "lone")
    assert list(bar) == [0, 1, 2]
    assert list(bar) == [0, 1, 2]
    failing = nb.progress(5, "failing")

    def loop():
        for n in failing:
            assert n < 2

    with pytest.raises(AssertionError) as caught:
        loop()
    assert (failing.closed, failing.done) == (True, 2)
    by_hand = nb.progress(5, "by hand")
    by_hand.update(3)
    notebook.end_cell(caught.value)
    assert "3" in notebook.shown_in(1)[3]  # without waiting
    by_hand.update()  # goes on in the next cell
    by_hand.close()
    assert "4 of 5" in notebook.shown_in(1)[3]
    assert len(notebook.outputs) == 4
    assert "interrupted" in notebook.shown_in(1)[2]

    for _ in nb.progress((n for n in range(5)), "a generator"):
        break
    with pytest.raises(ValueError, match="x"), nb.progress((n for n in range(5)), "with an error") as bar:
        raise ValueError("x")
    list(nb.progress((n for n in range(5)), "all of it"))
    list(nb.progress((n for n in range(5)), total=5))
    assert len(nb.progress(total=np.int64(7))) == 7
    assert repr(bar).startswith("<Progress with an error 0, ")
    stopped, failed, whole, known, _ = notebook.shown_in(2)
    assert "interrupted" in stopped
    assert "interrupted" in failed
    assert "finished" in whole
    assert "5 of 5" in known
    with pytest.raises(InputError, match="n must be a finite number"):
        bar.update(math.nan)


def test_many_bars_of_a_cell_share_the_last_area(notebook):
    nb = NotebookLogger()
    for epoch in nb.progress(30, "epochs"):
        list(nb.progress(2, f"epoch {epoch}"))
    by_hand = nb.progress(2, "by hand")
    notebook.end_cell()
    by_hand.update()  # goes on in the next cell
    notebook.end_cell()
    assert len(notebook.outputs) == 9
    assert "30 of 30" in notebook.shown_in(1)[0]
    assert "1 of 2" in notebook.shown_in(1)[8]
    assert "and 23 more before" in notebook.shown_in(1)[8]


def test_the_time_left_is_that_of_what_is_not_done(notebook, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    clock = [100.0]
    bar = NotebookLogger().progress(10, "ten")
    bar.update(4)
    clock[0] += 8
    assert bar.bar().note == "2 s each, 12 s left"


def test_bars_of_a_later_cell_are_there_too_in_one_output(notebook, scenes):
    nb = NotebookLogger()
    nb.start_experiment("bars")
    notebook.end_cell()
    for epoch in nb.progress(30, "epochs"):
        for _ in nb.progress(2, f"epoch {epoch}"):
            nb.log_metric("loss", 1.0)
    notebook.end_cell()
    (here,) = notebook.shown_in(2)
    assert "30 of 30" in here
    assert "epoch 29" in here
    list(nb.progress(2, "another"))
    nb.end_experiment()
    (here,) = notebook.shown_in(3)
    assert "finished" in here
    assert len(notebook.outputs) == 3


def test_many_plots_of_many_lines_stay_small(notebook, scenes):
    rng = np.random.default_rng(0)
    nb = NotebookLogger()
    nb.start_experiment("plots")
    for n in range(10):
        nb.log_with_plot("noise", {f"{n} {k}": rng.normal(size=1000) for k in range(12)})
    nb.end_experiment()
    (area,) = notebook.shown_in(1)
    assert len(area) < 150_000
    assert len(scenes[-1].pictures) >= 5
    assert "2 earlier plots are not shown." in scenes[-1].notes
    assert re.search(r"\d more plots would be too large together", scenes[-1].notes[-1])
    nb.create_inline_plot({f"{k}": rng.normal(size=1000) for k in range(100)}, "many")
    assert "and 84 more lines, not drawn" in notebook.shown_in(1)[-1]
    assert len(notebook.shown_in(1)[-1]) < 30_000


def test_a_spike_among_a_million_values_is_drawn(notebook, scenes):
    curve = Curve()
    for step in range(5000):
        curve.add(step, 100.0 if step == 3777 else 1.0)
    scene = Scene("x", "running", 0.0, 1.0, State({"arguments": {}}), metrics=["loss"])
    scene.state.curves["loss"] = curve
    assert "highest 100 at step 3,777" in draw(scene).html


def test_secrets_are_in_no_message_and_no_title(notebook):
    nb = NotebookLogger()
    for _ in range(2):
        nb.log_with_plot("token hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", {})
        nb.progress(2, "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH")
        nb.start_experiment("with hf_abcdefghijklmnopqrstuvwxyzABCDEFGH")
        nb.create_inline_plot([1, 2], "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH")
        nb.progress(2, "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH")
    nb.end_experiment()
    assert "token" in str(notebook.outputs)
    assert "hf_abc" not in str(notebook.outputs)


def test_a_logger_that_is_let_go_ends_in_order(notebook, scenes, tmp_path):
    nb = NotebookLogger(tmp_path)
    nb.start_experiment("x")
    nb.log_metric("loss", 1.0)
    held = weakref.ref(nb._open.experiment)
    del nb
    gc.collect()
    assert held() is None
    assert scenes[-1].status == "finished"
    assert load_run(tmp_path).status == "finished"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_may_log_and_forked_children_do_nothing(notebook, scenes, tmp_path):
    nb = NotebookLogger(tmp_path)
    nb.start_experiment("x")
    names = [f"loss{n}" for n in range(4)]
    threads = [
        threading.Thread(target=lambda name=name: [nb.log_metric(name, n) for n in range(500)]) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    holds, done = threading.Event(), threading.Event()

    def hold():
        with nb._open.experiment._lock:
            holds.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait()
    pid = os.fork()
    if pid == 0:  # here the lock is held for ever
        code = 1
        try:
            signal.alarm(20)
            notebook.outputs.clear()
            nb.log_metric("loss0", 7.0)
            nb.log_with_plot("a", {"b": [1], "c": 2})
            nb.create_inline_plot([1], "a")
            nb.display_summary()
            assert list(nb.progress(3)) == [0, 1, 2]
            nb.start_experiment("y")
            nb.end_experiment()
            code = 2 if notebook.outputs else 0
        finally:
            os._exit(code)
    done.set()
    holder.join()
    assert os.waitpid(pid, 0)[1] == 0
    nb.end_experiment()
    run = load_run(tmp_path)
    assert run.status == "finished"
    for name in names:
        assert run.curve(name).values == list(range(500))
        assert len(scenes[-1].state.curves[name].points) == 500


def test_many_metrics_are_counted_not_kept(notebook, scenes):
    with NotebookLogger() as nb:
        for n in range(100):
            nb.log_metric(f"m{n}", n)
    assert len(scenes[-1].metrics) == 64
    assert "36 more metrics are not shown, as more than 64 were logged." in scenes[-1].notes


def test_without_a_notebook_the_same_calls_print(capsys, tmp_path):
    nb = NotebookLogger(tmp_path)
    nb.log_with_plot("before it", {"길이": [1, 5], "n": 2})
    nb.start_experiment("요약")
    nb.log_metric("loss", 0.5, step=3)
    nb.create_inline_plot({"a": [1, math.nan, 3], "b": ([5, 4], [2, 1])}, "plot")
    nb.display_summary()
    with pytest.raises(KeyboardInterrupt), nb:
        raise KeyboardInterrupt
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" before it, n 2")
    assert lines[1:5] == [
        "길이 ▁█ 1 to 5",
        f"요약: recording to {tmp_path}",
        "plot, a ▁×█ 1 to 3",
        "plot, b ▁█ 1 to 2",  # in the order of its steps
    ]
    assert lines[5] == "요약: running"
    assert lines[6].endswith(f"; recorded in {tmp_path}")
    assert lines[8].split() == ["loss", "0.5", "3", "0.5", "3", "1"]
    assert lines[9].startswith("요약: interrupted by Ctrl-C, step 3, loss 0.5, after ")
    assert len(lines) == 10
    assert load_run(tmp_path).status == "interrupted"


def python(code, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    return done.stdout.decode(environment.get("PYTHONIOENCODING", "utf-8")).splitlines(), done.stderr.decode()


def test_a_script_prints_lines_ever_more_seldom_and_says_how_it_ended(tmp_path):
    code = """
        import sys, time
        from hf_monitor import NotebookLogger
        nb = NotebookLogger(sys.argv[1])
        nb.start_experiment("요약", total_steps=200_000)
        began = time.monotonic()
        for n in nb.progress(200_000, "에폭 1"):
            nb.log_metric("loss", 1 / (n + 1))
            if time.monotonic() > began + 1.2:
                break
        nb.create_inline_plot([3, 2, 1], "curve")
        nb.log_with_plot("halfway", {"norms": [1, 2]})
        for name in "IPython", "torch", "transformers", "ipywidgets":
            assert name not in sys.modules
        raise ValueError("at its end")
    """
    lines, errors = python(code, tmp_path, PYTHONIOENCODING="ascii")
    assert errors.splitlines()[-1] == "ValueError: at its end"
    lines = [line for line in lines if line]
    assert len(lines) == len(set(lines))
    experiment = [line for line in lines if line.startswith("??: ")]
    assert 4 <= len(experiment) <= 5  # the first, at 0.5 s, at 1 s, the last
    assert "(0%)" in experiment[0]
    assert "?? 1 " in experiment[1]
    assert experiment[-1].startswith("??: crashed ValueError: at its end, step ")
    assert "curve #=_ 3 to 1" in lines
    assert any(line.endswith("halfway") for line in lines)
    run = load_run(tmp_path)
    assert run.status == "crashed"
    assert run.ending.message == "at its end"


def test_a_script_that_leaves_with_a_status_did_not_finish(tmp_path):
    code = """
        import sys
        from hf_monitor import NotebookLogger
        nb, other = NotebookLogger(sys.argv[1] + "/a"), NotebookLogger(sys.argv[1] + "/b")
        for one in nb, other:
            one.start_experiment("x")
        try:
            sys.exit(2)
        except SystemExit:
            other.log_metric("loss", 1.0)  # goes on
        sys.exit("no data" if len(sys.argv) > 2 else 0)
    """
    python(code, tmp_path)
    assert load_run(tmp_path / "b").status == "finished"
    assert python(code, tmp_path, "fails")[1].endswith("no data\n")
    for name in "ab":
        run = load_run(tmp_path / name)
        assert (run.status, run.ending.type, run.ending.message) == ("crashed", "SystemExit", "no data")
