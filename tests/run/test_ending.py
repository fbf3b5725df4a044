"""Who died first, told from what each process left behind."""

import pytest

from hf_monitor.run.ending import ending_of, outcome_of
from hf_monitor.run.signals import Trace, unwatch, watch


def error(name, at, step=5, message="", **more):
    return {"kind": "event", "event": "error", "type": name, "message": message, "time": at, "step": step, **more}


BEGIN = {"kind": "event", "event": "train_begin", "time": 1.0, "step": 0}
END = {"kind": "event", "event": "train_end", "time": 9.0, "step": 6}
BAD_EVALUATION = error("OSError", 10.0, during="evaluate")
EVALUATION = {"kind": "eval", "time": 11.0, "step": 6}
COLLECTIVE = {"collective": True}
TERM = Trace("SIGTERM", 6.0, "File x")
FAULT = Trace("SIGSEGV", 6.0, "Fatal Python error: Segmentation fault")


def process(rank, *rows, traces=(), alive=None):
    return outcome_of(rank, [BEGIN, *rows], traces, lambda last: alive)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([process(0, END)], ("finished", 0, None)),
        ([process(0, {**END, "stopped_by": "SIGTERM"})], ("terminated", 0, "SIGTERM")),
        ([process(0, alive=True)], ("running", 0, None)),
        ([process(0, alive=False)], ("killed", 0, None)),
        ([process(0, alive=None)], ("unknown", 0, None)),
        ([process(0, error("KeyboardInterrupt", 5.0))], ("interrupted", 0, "KeyboardInterrupt")),
        ([process(0, END, error("ValueError", 10.0))], ("crashed", 0, "ValueError")),  # in somebody's on_train_end
        ([process(0, error("ValueError", 5.0), BEGIN, alive=True)], ("running", 0, None)),  # begun again
        # an evaluation afterwards that failed, and was done again, leaves the training's own ending
        ([process(0, END, BAD_EVALUATION)], ("crashed", 0, "OSError")),
        ([process(0, END, BAD_EVALUATION, EVALUATION)], ("finished", 0, None)),
        ([process(0, error("ValueError", 5.0), BAD_EVALUATION, EVALUATION)], ("crashed", 0, "ValueError")),
        (
            [process(0, error("KeyboardInterrupt", 5.0), BAD_EVALUATION, BAD_EVALUATION, EVALUATION)],
            ("interrupted", 0, "KeyboardInterrupt"),
        ),
        ([process(0, traces=[TERM])], ("terminated", 0, "SIGTERM")),
        ([process(0, traces=[FAULT])], ("crashed", 0, "SIGSEGV")),
        ([process(0, error("SystemExit", 6.1), traces=[TERM])], ("terminated", 0, "SIGTERM")),  # a handler's exit
        ([process(0, {"kind": "train", "time": 99.0, "step": 8}, traces=[TERM], alive=True)], ("running", 0, None)),
        # the error of the rank that failed, not what it did to the others
        (
            [process(0, error("RuntimeError", 5.0, **COLLECTIVE)), process(1, error("ValueError", 5.5))],
            ("crashed", 1, "ValueError"),
        ),
        ([process(0, traces=[TERM]), process(1, error("ValueError", 5.0))], ("crashed", 1, "ValueError")),
        ([process(0, alive=True), process(1, error("ValueError", 5.0))], ("crashed", 1, "ValueError")),
        ([process(0, traces=[TERM]), process(1, traces=[FAULT._replace(time=5.0)])], ("crashed", 1, "SIGSEGV")),
        # the same mistake everywhere
        (
            [process(0, error("KeyError", 5.2, message="x")), process(1, error("KeyError", 5.1, message="x"))],
            ("crashed", 0, "KeyError"),
        ),
        # gone without a word, while others complain
        ([process(0, error("RuntimeError", 5.0, **COLLECTIVE)), process(1, alive=False)], ("killed", 1, None)),
        ([process(0, traces=[TERM]), process(1, traces=[TERM]), process(2, alive=False)], ("killed", 2, None)),
        ([process(0, alive=False), process(1, error("RuntimeError", 5.0, **COLLECTIVE))], ("killed", 0, None)),
        # the launcher was told to stop
        (
            [process(0, error("RuntimeError", 5.9, **COLLECTIVE)), process(1, traces=[TERM])],
            ("terminated", 1, "SIGTERM"),
        ),
        ([process(0, traces=[TERM]), process(1, traces=[TERM])], ("terminated", 0, "SIGTERM")),
        # nothing but broken connections: a switch, a cable
        (
            [process(0, error("RuntimeError", 5.0, **COLLECTIVE)), process(1, error("DistError", 4.0, **COLLECTIVE))],
            ("crashed", 1, "DistError"),
        ),
    ],
)
def test_the_first_to_die_is_named(outcomes, expected):
    ending = ending_of(outcomes)
    assert (ending.status, ending.rank, ending.type) == expected
    assert str(ending).startswith(expected[0])


def test_the_empty_files_of_another_hosts_processes_are_left_alone(tmp_path, monkeypatch):
    """A shared disk; the names of hosts may end alike."""
    monkeypatch.setattr("socket.gethostname", lambda: "node")
    signals = tmp_path / "signals"
    signals.mkdir()
    names = [f"rank0-{host}-{2**22 + 1}-1700000000000.SIGTERM.txt" for host in ("node", "gpu-node", "node-2")]
    for name in names:
        (signals / name).touch()
    watch(tmp_path)
    left = {path.name for path in signals.iterdir()}
    unwatch(tmp_path)
    assert [name in left for name in names] == [False, True, True]
