"""Every way in which a training can end, in real processes: what the run says, and that we changed nothing about it."""

import importlib
import os
import signal
from pathlib import Path

import pytest

import hf_monitor
from hf_monitor import load_run
from hf_monitor.report import report_html

ATTACHED = """
    t = trainer(callbacks=[At(3, {action})], **{settings})
    attach(t)
    t.train()
"""
BY_CALLBACKS = """
    t = trainer(callbacks=[*default_callbacks("out/monitor"), At(3, {action})], **{settings})
    t.train()
"""


def code(action, settings="{}", template=ATTACHED):
    return template.format(action=action, settings=settings)


def rows_are_whole(run, last):
    assert [row["step"] for row in run.rows.of("train")] == list(range(1, last + 1))
    assert run.broken_lines["metrics.jsonl"] == 0


def report_is_true(run):
    """Whether the process left the report that would be made now."""
    return (run.path / "report.html").read_bytes() == report_html(load_run(run.path))


@pytest.mark.no_cover
@pytest.mark.parametrize("template", [ATTACHED, BY_CALLBACKS], ids=["attach", "callbacks"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_that_ends_the_process_is_named(scenario, tmp_path, name, template):
    number = getattr(signal, name)
    ended = scenario(code("ready", template=template)).send(number)
    assert ended.end() == -number  # as without us
    run = load_run(tmp_path / "out")
    assert run.status == "terminated"
    assert (run.ending.type, run.ending.rank, run.ending.step) == (name, 0, 2)  # step 3 was not logged yet
    assert "in ready" in run.ending.traceback
    rows_are_whole(run, 2)
    assert ended.err == ""


@pytest.mark.no_cover
def test_a_checkpoint_just_in_time_is_saved_as_without_us_and_the_run_says_why_it_stopped(scenario, tmp_path):
    """``enable_jit_checkpoint`` makes an orderly end of a SIGTERM."""
    ended = scenario(
        """
        import signal, os, time
        before = signal.getsignal(signal.SIGTERM)
        def wait():
            os.kill(os.getpid(), signal.SIGTERM)
            while not jit.jit_manager.is_checkpoint_requested:
                time.sleep(0.01)
        t = trainer(callbacks=[At(3, wait)], enable_jit_checkpoint=True)
        jit = next(c for c in t.callback_handler.callbacks if type(c).__name__ == "JITCheckpointCallback")
        jit.jit_manager.kill_wait = 0
        attach(t)
        t.train()
        assert signal.getsignal(signal.SIGTERM) is before
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        """
    )
    assert ended.end() == -signal.SIGTERM  # the second one, after the training: nobody is in its way
    assert list((tmp_path / "out").glob("checkpoint-*"))
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.type) == ("terminated", "SIGTERM")
    assert run.events[-1]["event"] == "train_end"
    assert report_is_true(run)


def test_a_handler_of_the_users_own_is_called_as_before(scenario, tmp_path):
    ended = scenario(
        """
        import signal, sys
        def handler(number, frame):
            print("mine", flush=True)
            sys.exit(7)
        signal.signal(signal.SIGTERM, handler)
        t = trainer(callbacks=[At(3, ready)])
        attach(t)
        t.train()
        """
    ).send(signal.SIGTERM)
    assert ended.end() == 7
    assert ended.out == "mine\n" or "mine\n" in ended.out
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.type) == ("terminated", "SIGTERM")
    assert report_is_true(run)


@pytest.mark.no_cover
def test_a_fault_in_c_code_is_a_crash_with_its_place(scenario, tmp_path):
    ended = scenario(code("lambda: __import__('ctypes').string_at(0)"))
    assert ended.end() == -signal.SIGSEGV
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.type) == ("crashed", "SIGSEGV")
    assert "string_at" in run.ending.traceback
    rows_are_whole(run, 2)


@pytest.mark.parametrize("template", [ATTACHED, BY_CALLBACKS], ids=["attach", "callbacks"])
def test_an_error_is_a_crash_with_type_message_traceback_step_and_rank(scenario, tmp_path, template):
    ended = scenario(code("lambda: {}['no such key']", template=template))
    assert ended.end() == 1
    assert ended.err.count("KeyError: 'no such key'") == 1  # as without us
    run = load_run(tmp_path / "out")
    ending = run.ending
    assert (ending.status, ending.type, ending.message, ending.rank, ending.step) == (
        "crashed",
        "KeyError",
        "'no such key'",
        0,
        3,
    )
    assert "scenario.py" in ending.traceback
    assert str(ending) == "crashed (step 3) KeyError: 'no such key'"
    assert "crashed (step 3) KeyError" in repr(run)
    rows_are_whole(run, 2)
    assert report_is_true(run)


@pytest.mark.parametrize("template", [ATTACHED, BY_CALLBACKS], ids=["attach", "callbacks"])
def test_ctrl_c_is_an_interruption(scenario, tmp_path, template):
    without_us = scenario("trainer(callbacks=[At(3, ready)]).train()").send(signal.SIGINT).end()
    (tmp_path / "ready").unlink()
    assert scenario(code("ready", template=template)).send(signal.SIGINT).end() == without_us != 0
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.step) == ("interrupted", 3)
    assert report_is_true(run)


def test_sys_exit_in_the_middle_is_no_good_end(scenario, tmp_path):
    ended = scenario(code("lambda: __import__('sys').exit(0)", template=BY_CALLBACKS))
    assert ended.end() == 0
    assert (load_run(tmp_path / "out").status, load_run(tmp_path / "out").ending.type) == ("crashed", "SystemExit")
    assert report_is_true(load_run(tmp_path / "out"))


@pytest.mark.no_cover
def test_running_while_it_lives_killed_when_it_is_gone(scenario, tmp_path):
    started = scenario(code("ready"))
    started.wait_until_ready()
    assert load_run(tmp_path / "out").status == "running"
    os.kill(started.pid, signal.SIGKILL)
    assert started.end() == -signal.SIGKILL
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.step) == ("killed", 2)
    rows_are_whole(run, 2)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("moment", "truth"),
    [
        ("start", ("nothing recorded", 0)),
        ("evaluation", ("killed", 4)),
        ("report", ("finished", 6)),
    ],
)
def test_a_report_is_made_of_a_run_that_was_killed_at_any_moment(scenario, tmp_path, monkeypatch, moment, truth):
    monkeypatch.syspath_prepend(str(Path(hf_monitor.__file__).parent.parent / "scripts"))
    look = importlib.import_module("stress_reports").look
    started = scenario(
        f"""
        import hf_monitor.report.one_page, hf_monitor.run.writer
        t = trainer(eval_strategy="steps", eval_steps=4)
        attach(t)
        if {moment!r} == "start":  # run.json is there, no row
            hf_monitor.run.writer.RunWriter.row = lambda *args, **kwargs: ready()
        elif {moment!r} == "evaluation":
            t.eval_dataset.on_item = lambda index: ready()
        else:
            hf_monitor.report.one_page.page = lambda *args, **kwargs: ready()
        t.train()
        """
    ).send(signal.SIGKILL)
    assert started.end() == -signal.SIGKILL
    assert not (tmp_path / "out" / "monitor" / "report.html").exists()
    assert look(tmp_path / "out" / "monitor") == (*truth, [])


def test_a_worker_that_is_terminated_is_not_the_training(scenario, tmp_path):
    ended = scenario(
        """
        import os, signal
        def die(index):
            if torch.utils.data.get_worker_info() is not None and index == 5:
                os.kill(os.getpid(), signal.SIGTERM)
        t = trainer(data=Data(8, die), dataloader_num_workers=1)
        attach(t)
        t.train()
        """
    )
    assert ended.end() == 1
    run = load_run(tmp_path / "out")
    assert run.status == "crashed"
    # What torch makes of it depends on the moment (RuntimeError, ConnectionResetError, EOFError): the user's own error.
    assert ended.err.rstrip().splitlines()[-1].partition(":")[0] == run.ending.type


@pytest.mark.no_cover
def test_after_a_training_nothing_of_ours_is_left_behind(scenario, tmp_path):
    ended = scenario(
        """
        import faulthandler, signal, sys
        before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)], sys.excepthook
        t = trainer()
        attach(t)
        t.train()
        assert before == ([signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)], sys.excepthook)
        assert not faulthandler.unregister(signal.SIGTERM)  # False: nothing was registered
        t.train()
        assert load_run("out").status == "finished"
        """
    )
    assert ended.end() == 0, ended.err
    assert not (tmp_path / "out" / "monitor" / "signals").exists()
    assert load_run(tmp_path / "out").last_step == 6


def test_a_hook_of_others_is_called_and_stays(scenario, tmp_path):
    ended = scenario(
        """
        import sys
        def mine(kind, error, trace):
            print("mine:", error)
        sys.excepthook = mine
        t = trainer(callbacks=[*default_callbacks("out/monitor"), At(2, lambda: 1 / 0)])
        t.train()
        """
    )
    assert ended.end() == 1
    assert "mine: division by zero" in ended.out
    assert ended.err == ""
    assert load_run(tmp_path / "out").ending.type == "ZeroDivisionError"


@pytest.mark.no_cover
def test_an_error_that_was_caught_is_recorded_all_the_same(scenario, tmp_path):
    """In a notebook or inside try/except no hook is ever reached."""
    ended = scenario(
        """
        t = trainer(callbacks=[At(2, lambda: 1 / 0)])
        attach(t)
        try:
            t.train()
        except ZeroDivisionError:
            pass
        """
    )
    assert ended.end() == 0
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.type) == ("crashed", "ZeroDivisionError")


@pytest.mark.no_cover
@pytest.mark.parametrize("before", ["t.train()", "t.evaluate()", "pass"])
def test_a_training_in_a_forked_child_is_an_attempt_of_its_own(scenario, tmp_path, before):
    """As ``notebook_launcher`` starts them: the Trainer was made, maybe used, in the parent."""
    ended = scenario(
        f"""
        import os
        t = trainer()
        attach(t)
        {before}
        if (child := os.fork()) == 0:
            t.train()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        found = load_run("out")
        attempt = found.attempts[-1]
        assert (attempt["pid"], found.status) == (child, "finished"), attempt
        assert [r["step"] for r in found.rows.of("train") if r["attempt"] == attempt["attempt"]] == [1, 2, 3, 4, 5, 6]
        t.train()  # the parent's own goes on
        assert len(load_run("out").rows.of("train")) == len(found.rows.of("train")) + 6
        """
    )
    assert ended.end() == 0, ended.err


@pytest.mark.no_cover
def test_a_training_within_a_training_takes_its_watch_only_for_a_while(scenario, tmp_path):
    ended = scenario(
        """
        inner = trainer("inner")
        attach(inner)
        t = trainer("out", callbacks=[At(2, inner.train), At(4, ready)])
        attach(t)
        t.train()
        """
    ).send(signal.SIGTERM)
    assert ended.end() == -signal.SIGTERM
    run = load_run(tmp_path / "out")
    assert (run.status, run.ending.type, run.ending.step) == ("terminated", "SIGTERM", 3)
    assert load_run(tmp_path / "inner").status == "finished"
    assert not (tmp_path / "inner" / "monitor" / "signals").exists()


def test_a_training_that_begins_anew_leaves_no_empty_traces(scenario, tmp_path):
    """As ``auto_find_batch_size`` does, or a script that catches an error of which callbacks do not hear."""
    ended = scenario(
        """
        for action in (lambda: 1 / 0, lambda: None):
            try:
                trainer(callbacks=[*default_callbacks("out/monitor"), At(2, action)]).train()
            except ZeroDivisionError:
                pass
        """
    )
    assert ended.end() == 0, ended.err
    assert load_run(tmp_path / "out").status == "finished"
    assert not (tmp_path / "out" / "monitor" / "signals").exists()


@pytest.mark.no_cover
def test_a_forked_process_that_is_terminated_leaves_no_trace_of_the_training(scenario, tmp_path):
    """A pool of ``datasets.map(num_proc=2)``, say; DataLoader workers have handlers of their own."""
    ended = scenario(
        """
        import os, signal, time
        def fork():
            here, there = os.pipe()
            if (child := os.fork()) == 0:
                os.write(there, b"up")
                time.sleep(30)
                os._exit(0)
            os.read(here, 2)
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
        t = trainer(callbacks=[At(2, fork)])
        attach(t)
        t.train()
        """
    )
    assert ended.end() == 0, ended.err
    run = load_run(tmp_path / "out")
    assert run.status == "finished"
    assert "signal" not in [row["event"] for row in run.events]
    assert not (run.path / "signals").exists()


@pytest.mark.no_cover
def test_a_traceback_has_no_frame_of_ours_and_the_log_has_where_train_was_called(scenario, tmp_path):
    ended = scenario(code("lambda: {}['no such key']"))
    assert ended.end() == 1
    assert "attach.py" not in ended.err
    log = (tmp_path / "out" / "monitor" / "train.log").read_text()
    for told in (log, load_run(tmp_path / "out").ending.traceback):
        assert told.count("in <module>") == 1
        assert told.index("in <module>") < told.index("in train") < told.index("KeyError")


@pytest.mark.no_cover
def test_a_bar_that_is_left_over_at_the_exit_says_nothing(scenario):
    ended = scenario(code("lambda: 1 / 0", "{'disable_tqdm': False}"))
    assert ended.end() == 1
    assert "ZeroDivisionError" in ended.err
    assert "Exception ignored" not in ended.err


def test_sys_exit_0_is_an_interruption(scenario, tmp_path):
    ended = scenario(code("lambda: __import__('sys').exit(0)"))
    assert ended.end() == 0
    assert (load_run(tmp_path / "out").status, load_run(tmp_path / "out").ending.type) == ("interrupted", "SystemExit")


@pytest.mark.no_cover
def test_what_a_workers_error_says_is_shown(scenario, tmp_path):
    ended = scenario(
        """
        def bad(index):
            if index == 5:
                raise ValueError("bad sample 5")
        t = trainer(data=Data(8, bad), dataloader_num_workers=1)
        attach(t)
        t.train()
        """
    )
    assert ended.end() == 1
    assert str(load_run(tmp_path / "out").ending).endswith("ValueError: bad sample 5")


def test_an_evaluation_that_fails_after_the_training_is_told_until_it_is_done_again(scenario, tmp_path):
    ended = scenario(
        """
        t = trainer()
        attach(t)
        t.train()
        collator, t.data_collator = t.data_collator, lambda samples: 1 / 0
        try:
            t.evaluate()
        except ZeroDivisionError:
            run = load_run("out")
            assert (run.status, run.ending.type, run.ending.step) == ("crashed", "ZeroDivisionError", 6)
            assert len(run.attempts) == 1
        t.data_collator = collator
        t.evaluate()
        """
    )
    assert ended.end() == 0, ended.err
    assert load_run(tmp_path / "out").status == "finished"
    assert "evaluate stopped at step 6" in (tmp_path / "out" / "monitor" / "train.log").read_text()


def test_an_error_within_the_with_block_is_in_the_log(scenario, tmp_path):
    ended = scenario(
        """
        t = trainer()
        with attach(t):
            t.train()
            raise OSError("the summary could not be uploaded")
        """
    )
    assert ended.end() == 1
    log = (tmp_path / "out" / "monitor" / "train.log").read_text()
    assert log.count("OSError: the summary could not be uploaded") == 1
    assert load_run(tmp_path / "out").status == "finished"  # the training did


def test_a_signal_of_a_scheduler_is_named_unless_somebody_handles_it(scenario, tmp_path):
    ended = scenario(code("ready")).send(signal.SIGUSR1)
    assert ended.end() == -signal.SIGUSR1
    assert (load_run(tmp_path / "out").status, load_run(tmp_path / "out").ending.type) == ("terminated", "SIGUSR1")
    handled = scenario(
        """
        import os, signal
        signal.signal(signal.SIGUSR1, lambda number, frame: print("requeue"))
        t = trainer("other", callbacks=[At(3, lambda: os.kill(os.getpid(), signal.SIGUSR1))])
        attach(t)
        t.train()
        """
    )
    assert handled.end() == 0
    assert "requeue" in handled.out
    assert "signal" not in {row["event"] for row in load_run(tmp_path / "other").events}


@pytest.mark.no_cover
def test_an_end_that_could_not_be_written_is_unknown_and_not_killed(scenario, tmp_path):
    ended = scenario(code("ready"))
    ended.wait_until_ready()
    for path in (tmp_path / "out" / "monitor" / "signals").iterdir():  # as at the end of a training
        path.unlink()
    os.kill(ended.pid, signal.SIGKILL)
    ended.end()
    assert load_run(tmp_path / "out").status == "unknown"


def test_the_log_has_the_first_words_of_a_training(scenario, tmp_path):
    ended = scenario(
        """
        import transformers
        transformers.logging.set_verbosity_info()
        t = trainer()
        attach(t)
        t.train()
        """
    )
    assert ended.end() == 0
    log = (tmp_path / "out" / "monitor" / "train.log").read_text()
    assert log.index("***** Running training *****") < log.index("training begins")
