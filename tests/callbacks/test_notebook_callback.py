"""NotebookCallback: most of it with a shell of our own, where outputs can be counted; the rest in a real kernel."""

import io
import logging
import re
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import nbclient
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils.notebook import NotebookProgressCallback

from hf_monitor import AlertCallback, NotebookCallback, TextMetrics, attach, load_run
from hf_monitor.errors import InputError
from hf_monitor.notebook import shell as shell_module
from hf_monitor.notebook import training as training_module
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.first_texts import FirstTexts
from hf_monitor.run.trouble import Trouble

pytestmark = pytest.mark.usefixtures("no_pictures")


class Shell:
    """What is used of IPython's: a kernel, outputs by their id, the end of a cell."""

    def __init__(self):
        self.kernel, self.display_pub, self.events = object(), self, self
        self.outputs: dict[str, list[str]] = {}
        self.scenes: list = []  # each that was drawn
        self.heard = {}

    def publish(self, *, data, metadata, transient, update):
        assert update == (transient["display_id"] in self.outputs)
        self.outputs.setdefault(transient["display_id"], []).append(data["text/html"])

    def register(self, event, heard):
        self.heard[event] = heard

    def end_cell(self, error=None):
        self.heard["post_run_cell"](SimpleNamespace(error_in_exec=error, error_before_exec=None))
        self.heard["pre_run_cell"](None)  # the next one

    def draw(self, scene):
        self.scenes.append(scene)
        return Drawing(f"drawing {len(self.scenes) - 1}", "")

    def last(self):
        """Give the scene that each output shows now."""
        return [self.scenes[int(htmls[-1].split()[1])] for htmls in self.outputs.values()]


@pytest.fixture
def shell(monkeypatch):
    made = Shell()
    monkeypatch.setattr(shell_module, "_shell", lambda: made)
    monkeypatch.setattr(training_module, "draw", made.draw)
    return made


class At(TrainerCallback):
    """Do something when a step is done."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.do()


def interrupt():
    raise KeyboardInterrupt


def kinds(trainer):
    return [type(callback) for callback in trainer.callback_handler.callbacks]


@pytest.mark.parametrize("given", [{"samples": -1}, {"samples": 1.5}, {"metrics": "loss"}, {"metrics": [1]}])
def test_what_cannot_be_shown_is_said_at_once(given):
    with pytest.raises(InputError, match=next(iter(given))):
        NotebookCallback(**given)


def test_a_training_with_two_sets_is_one_area_with_all_of_it(shell, make_trainer, make_dataset, tokenizer, tmp_path):
    sets = {"ko": make_dataset(5), "en": make_dataset(7)}
    trainer = make_trainer(
        evaluation=sets,
        compute_metrics=TextMetrics(tokenizer),
        disable_tqdm=False,
        num_train_epochs=2,
        max_steps=-1,
        gradient_accumulation_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_ko_loss",
        logging_steps=2,
    )
    seen = []

    def look():
        scene = monitor.find(NotebookCallback)._training.view.scene()
        seen.append((scene.status, scene.bars[0].done, scene.state.curves["loss"].last[0]))

    trainer.add_callback(At(3, look))
    monitor = attach(trainer)
    assert not {NotebookProgressCallback, ProgressCallback, PrinterCallback} & set(kinds(trainer))
    assert kinds(trainer).index(NotebookCallback) == kinds(trainer).index(AlertCallback) - 1

    trainer.train()
    (scene,) = shell.last()
    assert (scene.status, scene.ending, scene.title) == ("finished", "", "out")
    ((label, done, total, note),) = scene.bars
    assert (label, done, total, note) == ("steps", 4, 4, "epoch 2.00 of 2")
    assert scene.links == [("report", str(monitor.run_dir / "report.html"))]
    assert monitor._repr_html_() == next(iter(shell.outputs.values()))[-1]  # for a page that was reloaded meanwhile
    run = load_run(monitor.run_dir)
    assert scene.state.curves["loss"].last == (4, run.metrics.of("train")[-1]["loss"])
    assert scene.state.curves["eval_en_loss"].last == (4, run.metrics.of("eval")[-1]["eval_en_loss"])
    latest = [run.latest_predictions(name)[0] for name in ("eval_ko", "eval_en")]
    assert [sample.label for sample in scene.samples] == ["ko 0", "en 0"]
    assert [sample.prediction for sample in scene.samples] == [row["prediction"] for row in latest]
    assert [sample.references for sample in scene.samples] == [row["references"] for row in latest]
    assert scene.samples[0].score.startswith("score ")
    assert {alert.rule for alert in scene.state.alerts} >= {row["rule"] for row in run.rows.of("alert")}
    # Between logs the bar moves.
    assert seen == [("running", 3, 2)]
    assert max(map(len, shell.outputs.values())) <= 30
    n_drawn = len(shell.scenes)

    # What comes after it has an area of its own; the training's stays as it is.
    trainer.evaluate(sets)
    trainer.predict(sets["ko"])
    shell.end_cell()
    first, second = shell.last()
    assert first is scene
    assert second.status == "finished"
    assert next(iter(second.state.curves)).startswith("eval_ko_")
    assert {"eval_ko_loss", "eval_en_loss", "test_loss"} <= set(second.state.curves)
    firsts = [f"{name}_{value}" for name in ("eval_ko", "eval_en", "test") for value in ("loss", "score")]
    assert list(second.metrics)[:6] == firsts
    assert [note.split(":")[0] for note in second.notes] == ["eval_ko", "eval_en", "test"]
    best = trainer.state.best_global_step
    assert all(note.endswith(f"weights of step {best}") for note in second.notes)
    assert {scene.bars[0].label for scene in shell.scenes[n_drawn:] if scene.bars} <= {
        *("eval_ko", "eval_en", "test", "evaluation")
    }

    # A resume is another training, in the same folder and with the same curves.
    trainer.args.num_train_epochs = 3
    trainer.train(resume_from_checkpoint=True)
    third = shell.last()[2]
    assert third.bars[0][:3] == ("steps", 6, 6)
    assert [step for step, *_ in third.state.curves["loss"].points] == [2, 4, 6]
    assert len(shell.outputs) == 3
    begins = next(scene for scene in shell.scenes if scene.bars and scene.bars[0].total == 6)
    assert not begins.samples  # those of the training before are not its own
    assert third.samples


def test_the_batches_of_an_evaluation_are_counted(shell, make_trainer, make_dataset):
    scenes = []

    class Look(TrainerCallback):
        def on_prediction_step(self, args, state, control, **kwargs):
            scenes.append((notebook._training or notebook._evaluation).view.scene())

    notebook = NotebookCallback()
    trainer = make_trainer(callbacks=[notebook, Look()], max_steps=2, eval_steps=1, disable_tqdm=False)
    trainer.train()
    assert [scene.bars[1] for scene in scenes] == 2 * [("evaluation", 1, 2, "batches"), ("evaluation", 2, 2, "batches")]
    assert {scene.status for scene in scenes} == {"evaluating"}
    scenes.clear()
    attach(trainer)
    trainer.evaluate(metric_key_prefix="mine")
    assert [scene.bars for scene in scenes] == [[("mine", 0, None, "batches")], [("mine", 1, 2, "batches")]]
    notebook._evaluation.view.batch(object())  # of a stream, which has no length
    assert notebook._evaluation.view.scene().bars == [("evaluation", 1, None, "batches")]
    shell.end_cell(KeyboardInterrupt())
    assert (shell.last()[1].status, shell.last()[1].ending) == ("interrupted", "by KeyboardInterrupt")


def test_of_an_evaluation_only_the_texts_that_are_shown_are_kept(tmp_path):
    texts = FirstTexts(tmp_path, 3)
    with (tmp_path / "predictions.jsonl").open("w") as file:
        for name, time_ in (("eval", 1.5), ("eval", 2.5), ("test", 2.5)):
            head = f'{{"time":{time_},"attempt":1,"step":2,"name":"{name}","index":'
            file.writelines(f'{head}{i},"prediction":"{name} {time_}"}}\n' for i in range(3))
            file.writelines(f"{head} no row\n" for i in range(1000))
        file.write("neither\n")
    texts.look()
    assert [(sample.label, sample.prediction) for sample in texts.samples()] == [
        ("eval 0", "eval 2.5"),
        ("test 0", "test 2.5"),
    ]
    assert sum(map(len, texts._lines.values())) == 6


def test_before_the_second_log_time_left_is_told_by_the_steps_done(tmp_path):
    view = training_module.TrainingView(
        tmp_path, attempt=1, first_step=10, max_steps=100_010, epochs=3, samples=0, metrics=()
    )
    notes = []
    for step in (10, 11, 12):
        view.step = step
        notes.append(view.scene().bars[0].note)
        time.sleep(0.05)
    assert notes[:2] == ["", ""]
    hours, unit = re.fullmatch(r"(\d+) (h) \d+ min left", notes[2]).groups()
    assert (1 <= int(hours) <= 20, unit) == (True, "h")  # 100,000 steps of 0.05 s and more


def test_while_an_evaluation_runs_the_time_left_waits_and_those_to_come_count(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=1000.0, time=lambda: clock.now)
    monkeypatch.setattr(training_module, "time", clock)
    view = training_module.TrainingView(
        tmp_path, attempt=1, first_step=0, max_steps=20, epochs=sys.maxsize, samples=0, metrics=()
    )

    def note(seconds):
        clock.now += seconds
        return view.scene().bars[0].note

    view.epoch = 0.5
    assert note(0) == "epoch 0.50"  # of a stream nobody knows how many
    view.epoch = 0.0
    for step in range(1, 11):
        view.step = step
        note(1.0)
    assert note(0) == "10 s left"
    view.announce("eval_en")
    assert {note(10.0), note(10.0)} == {"10 s left"}
    view.evaluated()
    view.batch([1])  # of a second set, which nobody announced
    assert note(10.0) == "10 s left"
    view.evaluated()
    assert note(0) == "40 s left"  # 10 steps, and 30 s of evaluations once more
    view.over("finished", "")
    assert note(0) == ""


def test_that_rows_wait_for_a_disk_is_said_with_the_step_that_is_shown(tmp_path):
    trouble = Trouble(tmp_path)
    view = training_module.TrainingView(
        tmp_path, attempt=1, first_step=0, max_steps=9, epochs=1, samples=0, metrics=(), trouble=trouble
    )
    assert view.scene().warnings == []
    row = '{"time":1.0,"attempt":1,"step":%d,"kind":"%s","loss":1.0,"event":"train_begin"}\n'
    (tmp_path / "metrics.jsonl").write_text(row % (0, "event") + row % (6, "train"))
    view.step = 8
    trouble.report("rows", OSError(28, "No space left on device"), lasting=True)
    view.scene()
    (note,) = view.scene().warnings
    assert "No space left on device" in note
    assert "ends at step 6" in note
    trouble.end()
    assert view.scene().warnings == []


def test_an_evaluation_that_fails_took_its_time_and_one_of_another_thread_goes_on(shell, make_trainer):
    notebook = NotebookCallback()
    trainer = make_trainer(callbacks=[notebook], disable_tqdm=False)
    attach(trainer)

    class Fails(TrainerCallback):
        def on_prediction_step(self, args, state, control, **kwargs):
            if threading.current_thread() is threading.main_thread():
                time.sleep(0.2)
                raise ValueError("enough")
            reached.set()
            assert go_on.wait(60)

    reached, go_on = threading.Event(), threading.Event()
    trainer.add_callback(Fails())
    with pytest.raises(ValueError, match="enough"):
        trainer.evaluate()
    (scene,) = shell.last()
    assert scene.status == "crashed"
    assert scene.now - scene.began >= 0.2
    assert scene.title == "evaluation of out"
    other = threading.Thread(target=trainer.evaluate)
    other.start()
    assert reached.wait(60)
    shell.end_cell(KeyboardInterrupt())  # of a cell that has nothing to do with it
    assert [scene.status for scene in shell.last()] == ["crashed", "evaluating"]
    go_on.set()
    other.join()
    shell.end_cell(KeyboardInterrupt())
    assert [scene.status for scene in shell.last()] == ["crashed", "finished"]


def test_one_of_the_users_own_shows_it_also_added_later_and_one_serves_two(shell, make_trainer, tmp_path, capsys):
    first, second, third = (make_trainer(output_dir=tmp_path / name, disable_tqdm=False) for name in "abc")
    own = NotebookCallback()
    attach(first)  # adds one
    for trainer in (first, second):
        trainer.add_callback(own)
    attach(second)
    first.train()
    assert kinds(first).count(NotebookCallback) == 1
    assert kinds(first).index(NotebookCallback) == kinds(first).index(AlertCallback) - 1
    second.train()
    first.evaluate()
    second.evaluate()
    shell.end_cell()
    assert [(scene.title, scene.status, bool(scene.links)) for scene in shell.last()] == [
        ("a", "finished", True),
        ("b", "finished", True),
        ("evaluation of a", "finished", False),
        ("evaluation of b", "finished", False),
    ]
    assert len(load_run(tmp_path / "b/monitor").attempts) == 1

    several = [NotebookCallback(), NotebookCallback()]
    for callback in several:
        third.add_callback(callback)
    attach(third)
    third.train()
    assert (shell.last()[-1].title, bool(shell.last()[-1].links)) == ("c", True)
    assert several[0]._last is not None
    assert "report: " not in capsys.readouterr().out  # it is in the area


@pytest.mark.parametrize("attached", [True, False])
def test_the_stop_button_and_an_error_are_told(shell, make_trainer, tmp_path, attached):
    def train(do):
        trainer = make_trainer(callbacks=[NotebookCallback(), At(3, do)], eval_strategy="no", disable_tqdm=False)
        if attached:
            attach(trainer)
        with pytest.raises((KeyboardInterrupt, ZeroDivisionError)) as caught:
            trainer.train()
        shell.end_cell(caught.value)

    train(interrupt)
    train(lambda: 1 / 0)
    first, second = shell.last()
    assert (first.status, first.ending) == ("interrupted", "at step 3, by KeyboardInterrupt")
    assert (second.status, second.ending.replace("\u2068", "").replace("\u2069", "")) == (
        "crashed",
        "at step 3, by ZeroDivisionError: division by zero",
    )


def test_without_attach_a_training_that_ended_silently_is_over_with_its_cell_or_the_next_training(shell, make_trainer):
    def doomed():
        trainer = make_trainer(callbacks=[NotebookCallback(), At(2, interrupt)], eval_strategy="no")
        try:
            trainer.train()
        except KeyboardInterrupt:
            return trainer

    trainer = doomed()
    trainer.callback_handler.callbacks[-1].step = 0
    assert shell.last()[0].status == "running"
    trainer.remove_callback(At)
    trainer.train()
    assert [scene.status for scene in shell.last()] == ["stopped", "finished"]
    doomed()
    shell.end_cell()  # whoever called it caught the error
    assert [scene.status for scene in shell.last()] == ["stopped", "finished", "stopped"]


def test_a_training_is_the_same_with_it_also_where_it_cannot_draw(shell, make_trainer, make_model, monkeypatch, caplog):
    def weights(*callbacks):
        trainer = make_trainer(model=make_model(1), callbacks=list(callbacks))
        trainer.train()
        return trainer.model.state_dict()

    def no_draw(scene):
        raise ValueError("no colours")

    plain, shown = weights(), weights(NotebookCallback())
    monkeypatch.setattr(training_module, "draw", no_draw)
    with caplog.at_level(logging.WARNING):
        not_drawn = weights(NotebookCallback())
    assert [record.getMessage() for record in caplog.records if record.name == "hf_monitor"] == [
        "hf_monitor: the area in the notebook stays as it is: ValueError: no colours"
    ]
    for name, value in plain.items():
        assert torch.equal(value, shown[name])
        assert torch.equal(value, not_drawn[name])


def test_alerts_are_in_the_area_and_the_log_and_not_on_the_console(shell, make_trainer, make_dataset, monkeypatch):
    console = io.StringIO()
    monkeypatch.setattr(sys, "stderr", console)
    printing = logging.StreamHandler()
    logging.getLogger("hf_monitor").addHandler(printing)
    try:
        trainer = make_trainer(train=make_dataset(8), callbacks=[NotebookCallback()])  # it has the evaluation's texts
        monitor = attach(trainer)
        trainer.train()
        trainer.train()
        logging.getLogger("hf_monitor").warning("something else")
    finally:
        logging.getLogger("hf_monitor").removeHandler(printing)
    _, scene = shell.last()  # without what was found in the training before it
    assert "data_overlap" in [alert.rule for alert in scene.state.alerts]
    assert console.getvalue() == "something else\n"
    written = (monitor.run_dir / "train.log").read_text()
    assert len(scene.state.alerts) == 1
    assert re.search(r" WARNING (\[hf_monitor\] )?hf_monitor: \[warning\] data_overlap", written), written


def test_attach_adds_one_only_where_progress_would_be_drawn(shell, make_trainer, monkeypatch):
    class Own(ProgressCallback):
        """It may do more."""

    quiet = make_trainer(disable_tqdm=True)
    attach(quiet)
    assert NotebookCallback not in kinds(quiet)
    assert PrinterCallback in kinds(quiet)

    trainer = make_trainer(callbacks=[Own()], disable_tqdm=False)
    attach(trainer)
    assert kinds(trainer).count(NotebookCallback) == 1
    assert Own in kinds(trainer)

    monkeypatch.setattr(shell_module, "_shell", lambda: None)
    script = make_trainer(disable_tqdm=False)
    attach(script)
    assert NotebookCallback not in kinds(script)
    assert {ProgressCallback, NotebookProgressCallback} & set(kinds(script))


def test_outside_of_a_notebook_it_prints_lines_that_the_log_has_once(make_trainer, capsys):
    logged = []

    class Prints(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            print(logs)
            logged.append(str(logs))

    trainer = make_trainer(callbacks=[NotebookCallback(metrics=["loss"]), Prints()], disable_tqdm=False)
    monitor = attach(trainer)
    assert not {NotebookProgressCallback, ProgressCallback, PrinterCallback} & set(kinds(trainer))
    with monitor:
        trainer.train()
        trainer.evaluate()
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line.startswith("{")] == logged  # what is the user's own, and nothing else
    begin, *_, end, evaluation = [line for line in shown if line.startswith("out: ")]
    assert begin.startswith("out: running, steps 0 of 4 (0 %)")
    loss = load_run(monitor.run_dir).metrics.of("train")[-1]["loss"]
    assert end == f"out: finished, steps 4 of 4 (100 %), epoch 1.00 of 1, loss {loss:.4g}"
    assert evaluation.startswith("out: finished")
    written = (monitor.run_dir / "train.log").read_text()
    assert "out: " not in written
    assert re.findall(r"{'.*", written) == logged
    assert len(re.findall(r"step 4/4  loss ", written)) == 1


CELLS = [
    """
    import pathlib, sys, threading, time
    import _thread
    import conftest
    from transformers import PrinterCallback, TrainerCallback
    from hf_monitor import NotebookCallback, attach

    def made(fixture, *args):
        return fixture._get_wrapped_function()(*args)

    tokenizer = made(conftest.tokenizer)
    make_model, make_dataset = made(conftest.make_model, tokenizer), made(conftest.make_dataset, tokenizer)
    make = made(conftest.make_trainer, tokenizer, make_model, make_dataset, pathlib.Path(FOLDER))

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                threading.Timer(0.2, _thread.interrupt_main).start()  # as the stop button: a signal
                time.sleep(5)
    """,
    """
    sets = {"ko": make_dataset(5), "en": make_dataset(5)}
    trainer = make(train=make_dataset(8), evaluation=sets, disable_tqdm=False, predict_with_generate=False)
    attach(trainer)
    trainer.train();
    """,
    "trainer.evaluate(); trainer.predict(sets['ko']); None",
    """
    stopped = make(callbacks=[Stop()], output_dir=FOLDER + "/stopped", disable_tqdm=False, eval_strategy="no")
    attach(stopped)
    stopped.train()
    """,
    """
    import os
    child = os.fork()
    if not child:  # as accelerate's notebook_launcher makes them; nothing was printed here yet
        other = make(callbacks=[NotebookCallback()], output_dir=FOLDER + "/other")
        other.remove_callback(PrinterCallback)
        other.evaluate()
        os._exit(0)
    os.waitpid(child, 0)
    """,
]


@pytest.mark.no_cover
def test_in_a_real_kernel_each_training_leaves_one_small_static_output(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ":".join([str(Path(__file__).parents[1]), *filter(None, sys.path)]))
    sources = [textwrap.dedent(source).replace("FOLDER", repr(str(tmp_path))) for source in CELLS]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    notebook.cells[3].metadata["tags"] = ["raises-exception"]
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    _, trained, evaluated, stopped, forked = (
        {kind: [out for out in cell.outputs if out.output_type == kind] for kind in ("display_data", "stream", "error")}
        for cell in notebook.cells
    )

    def text(cell):
        return "".join(out.text for out in cell["stream"])

    for cell in (trained, evaluated, stopped, forked):
        (area,) = cell["display_data"]  # and no table of transformers'
        assert 50 < len(area.data["text/html"]) < 300_000
    shown = [cell["display_data"][0].data["text/html"] for cell in (trained, evaluated, stopped, forked)]
    assert "finished" in shown[0]
    assert "eval_ko" in shown[0]
    assert "eval_en" in shown[0]
    assert "data_overlap" not in text(trained)  # the alert is in the area
    assert "report.html" in shown[0]
    assert "report.html" not in text(trained)  # nor is it printed
    assert "finished" in shown[1]
    assert "eval_ko" in shown[1]
    assert "eval_en" in shown[1]
    assert [error.ename for error in stopped["error"]] == ["KeyboardInterrupt"]
    assert "interrupted" in shown[2]
    assert "at step 3, by KeyboardInterrupt" in re.sub("<[^>]*>", "", shown[2])
    assert "eval_loss" in shown[3]
    assert "finished" in shown[3]
    log = (tmp_path / "out" / "monitor" / "train.log").read_text()
    assert "[warning] data_overlap" in log
