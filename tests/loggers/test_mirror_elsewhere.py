"""One W&B run and several run folders: a resume elsewhere, a copied folder, a run that its owner has finished."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_monitor.callbacks._state import checkpoint_folder
from hf_monitor.loggers.mirror import host as host_module
from hf_monitor.loggers.mirror.host import Host
from hf_monitor.loggers.mirror.identity import THEIRS, MirroredRun, choose, mirrored_runs, put
from hf_monitor.loggers.mirror.mirror import ThreadMirror
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_open import Opened
from hf_monitor.run.writer import RunWriter


class Run:
    """What a server has of a W&B run."""

    project = entity = name = url = "x"
    offline = False

    def __init__(self, run_id):
        self.id, self.rows, self.summary, self.config, self._is_finished = run_id, {}, {}, {}, False

    def log(self, values, step=None, commit=True):
        if self._is_finished:
            raise RuntimeError("Run is finished")
        step = max(self.rows, default=-1) + 1 if step is None else step
        assert step > max(self.rows, default=-1)  # wandb drops what is below
        self.rows[step] = values

    def finish(self, exit_code):
        self._is_finished = True

    def __getattr__(self, name):
        return lambda *given, **more: None


@pytest.fixture
def server(monkeypatch):
    runs = {}

    def open_run(spec, *, continued, offline, told_step=-1):
        known = runs.get(spec.wandb_id)
        run = runs[spec.wandb_id] = known if continued and known is not None else Run(spec.wandb_id)
        run._is_finished = False
        return Opened(run, "online", last_step=max(run.rows, default=-1), folder=spec.run_dir)

    monkeypatch.setattr(host_module, "open_run", open_run)
    monkeypatch.setattr(host_module, "find_core", lambda: None)
    monkeypatch.setattr(host_module, "drop_core", lambda **given: None)
    return runs


def attempt(folder, losses, said=(), **given):
    """Record an attempt, and have it told; gives the entry in ``wandb.json``."""
    writer = RunWriter(folder)
    writer.begin_attempt({})
    for step, loss in enumerate(losses):
        writer.row("train", step, {"loss": loss})
    writer.flush(last=True)
    chosen, continued = choose(folder, writer.run_id, writer.attempt, resumed=bool(given), **given)
    put(folder, chosen)
    before = chosen.more.get("attempts_before", 0)
    spec = MirrorSpec(str(folder), chosen.id, chosen.attempts, resumed=continued, attempts_before=before)
    host = Host(spec, lambda **words: said.append(str(words.get("text"))) if said != () else None)
    host.open()
    assert host.close(0) == ""
    writer.close()
    return mirrored_runs(folder)[-1]


def told(run):
    return [(row["attempt"], row["train/loss"]) for row in run.rows.values() if "train/loss" in row]


def test_a_resume_in_another_folder_goes_on_behind_what_wandb_has(server, tmp_path):
    first = attempt(tmp_path / "a", [1.0, 2.0, 3.0])
    known = {"from_checkpoint": first.id, "attempt_before": 1}
    second = attempt(tmp_path / "b", [4.0, 5.0], **known)
    assert second.id == first.id
    assert told(server[first.id]) == [(1, 1.0), (1, 2.0), (1, 3.0), (2, 4.0), (2, 5.0)]
    attempt(tmp_path / "b", [6.0], from_checkpoint=first.id, attempt_before=2)
    assert told(server[first.id])[5:] == [(3, 6.0)]  # and nothing again
    (entry,) = mirrored_runs(tmp_path / "b")
    assert entry.attempts == (1, 2)


def test_of_a_folder_and_its_copy_the_second_one_that_goes_on_has_a_run_of_its_own(server, tmp_path):
    first = attempt(tmp_path / "a", [1.0, 2.0])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert attempt(tmp_path / "a", [3.0], from_checkpoint=first.id).id == first.id
    said = [""]
    own = attempt(tmp_path / "b", [4.0], said, from_checkpoint=first.id)
    assert own.id.startswith(f"{first.id}-")
    assert own.id in "".join(said)
    assert told(server[first.id]) == [(1, 1.0), (1, 2.0), (2, 3.0)]
    assert told(server[own.id]) == [(1, 1.0), (1, 2.0), (2, 4.0)]
    assert attempt(tmp_path / "b", [5.0], from_checkpoint=first.id).id == own.id  # its checkpoints know the old one
    assert told(server[own.id])[3:] == [(3, 5.0)]


def test_a_run_that_the_user_has_gone_on_with_gets_an_evaluation_behind_it_and_keeps_its_config(server, tmp_path):
    run = server["mine"] = Run("mine")
    run.rows = {5000: {}}
    run.config = type("Config", (dict,), {"update": lambda self, new, **_: dict.update(self, new)})(seed=99)
    writer = RunWriter(tmp_path)
    writer.begin_attempt({"arguments": {"seed": 7, "other": 1}})
    writer.row("eval", 1, {"eval_loss": 2.0})
    writer.close()
    put(tmp_path, MirroredRun("mine", (1,), more={THEIRS: []}))
    host = Host(MirrorSpec(str(tmp_path), "mine", (1,), resumed=True, users=True), lambda **words: None)
    host.open()
    host.close(0)
    assert [row["eval/loss"] for row in run.rows.values() if row] == [2.0]
    assert run.config["seed"] == 99
    assert run.config["other"] == 1


def test_where_the_user_finishes_his_run_it_is_noted_up_to_where_it_was_told(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt({})
    writer.row("train", 1, {"loss": 1.0})
    writer.flush()
    put(tmp_path, MirroredRun("mine", (1,), more={THEIRS: [1]}))
    run, said = Run("mine"), []
    mirror = ThreadMirror(MirrorSpec(str(tmp_path), "mine", (1,)), run, said.append)
    mirror.start()
    assert mirror.drain(30)
    run.finish(0)
    writer.row("train", 2, {"loss": 1.0})
    writer.flush()
    mirror.drain(30)
    writer.close()
    assert told(run) == [(1, 1.0)]
    (entry,) = mirrored_runs(tmp_path)
    assert entry.state == "unsent"
    assert "at step 1" in entry.why
    assert len(said) == 1
    assert "your run was finished at step 1" in said[0]


def test_the_checkpoint_of_a_trial_is_that_of_its_own_folder(tmp_path):
    args, trial = (
        SimpleNamespace(output_dir=str(tmp_path)),
        SimpleNamespace(is_hyper_param_search=True, trial_name=None),
    )
    (tmp_path / "checkpoint-4").mkdir()  # of an earlier training
    assert not checkpoint_folder(args, 4, trial).exists()
    (tmp_path / "run-3" / "checkpoint-4").mkdir(parents=True)
    assert checkpoint_folder(args, 4, trial) == tmp_path / "run-3" / "checkpoint-4"
    trial.trial_name = "lr"
    assert checkpoint_folder(args, 4, trial) == Path(tmp_path) / "lr" / "checkpoint-4"
