"""The three sentences at the top of the report: true of every way in which a run can stand."""

import math

import orjson
import pytest

from hf_monitor.report.commands import commands_of
from hf_monitor.report.material import Material
from hf_monitor.report.sections.verdict import verdict
from hf_monitor.run.process import process_identity
from hf_monitor.run.reader import Run
from hf_monitor.run.rows import encode_row

BEGIN = {"kind": "event", "event": "train_begin", "step": 0, "max_steps": 100}
END = {"kind": "event", "event": "train_end", "step": 100}
GONE = {**process_identity(), "pid": 2**22 + 1, "pid_ticks": 1}


def material_of(tmp_path, rows, attempts=(GONE,), **facts):
    """Make a run folder; rows get times that grow, and an attempt where they name none."""
    whole = [{"time": 1.79e9 + number, "attempt": 1, **row} for number, row in enumerate(rows)]
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(encode_row(row) for row in whole))
    entries = [{"attempt": number, "time": 1.79e9, **entry} for number, entry in enumerate(attempts, 1)]
    facts = {"run_id": "r", "format": 1, "max_steps": 100, "attempts": entries, **facts}
    (tmp_path / "run.json").write_bytes(orjson.dumps(facts))
    return Material(Run(tmp_path))


def evals(*losses, scores=(), prefix="eval", every=20):
    pairs = [
        {f"{prefix}_loss": loss} | ({f"{prefix}_score": scores[i]} if scores else {}) for i, loss in enumerate(losses)
    ]
    return [{"kind": "eval", "step": every * (i + 1), **pair} for i, pair in enumerate(pairs)]


def train(*losses):
    return [{"kind": "train", "step": 10 * (i + 1), "loss": loss} for i, loss in enumerate(losses)]


def said(material):
    shown = verdict(material)
    sentences = [answer.sentence for answer in shown.answers]
    assert len(sentences) == 3
    assert all(one.endswith(".") and "\n" not in one for one in sentences), sentences
    return shown.status, *sentences


ERROR = {
    "kind": "event",
    "event": "error",
    "step": 37,
    "type": "ValueError",
    "message": "a bad\nrow",
    "traceback": "Tr",
}
SAVED = {"kind": "event", "event": "save", "step": 20, "checkpoint": "out/checkpoint-20"}
LEARNED = [BEGIN, *evals(4.0, 3.0, 2.0, 1.5)]
ENDINGS = {
    "finished": ([*LEARNED, END], "finished", "It ended in order after 100 of 100 steps", "Nothing needs changing"),
    "early": (
        [*LEARNED, {**END, "step": 80}],
        "finished",
        "at step 80 of 100, as a callback",
        "Nothing needs changing",
    ),
    "crashed": ([*LEARNED, ERROR], "crashed", "at step 37 of 100 with ValueError: a bad", "begin anew"),
    "crashed, saved": ([BEGIN, SAVED, ERROR], "crashed", "ValueError: a bad", "from its checkpoint of step 20"),
    "Ctrl-C": (
        [*LEARNED, {**ERROR, "type": "KeyboardInterrupt"}],
        "interrupted",
        "pressed Ctrl-C",
        "if that was meant",
    ),
    "terminated": ([*LEARNED, {**END, "step": 80, "stopped_by": "SIGTERM"}], "terminated", "SIGTERM", "if that was"),
    "killed": (LEARNED, "killed", "gone without a word after its last row, at step 80 of 100", "look who ended it"),
    "crashed before a step": ([BEGIN, {**ERROR, "step": 0}], "crashed", "at step 0 of 100", "mend the error"),
    "alert": (
        [*LEARNED, {"kind": "alert", "rule": "divergence", "stops_training": True, "step": 80}, {**END, "step": 80}],
        "finished",
        "stopped at step 80 of 100 by an alert: the training diverged",
        "",
    ),
    "out of memory": (
        [BEGIN, {**ERROR, "type": "OutOfMemoryError", "message": "CUDA out of memory. Tried"}],
        "crashed",
        "CUDA out of memory",
        "per_device_train_batch_size=4 and gradient_accumulation_steps=4 (they are 8 and 2",
    ),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_each_ending_is_told_in_plain_words(tmp_path, name):
    rows, status, wrong, change = ENDINGS[name]
    arguments = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}
    found = said(material_of(tmp_path, rows, arguments=arguments))
    assert found[0] == status
    assert wrong in found[2]
    assert change in found[3]


def test_a_process_that_lives_and_one_elsewhere_are_no_dead_ones(tmp_path):
    status, _, wrong, change = said(material_of(tmp_path, LEARNED, [process_identity()]))
    assert status == "running"
    assert "still running as of its last row, at step 80 of 100 (2026-" in wrong
    assert change == "Nothing needs changing so far, by what was recorded."
    status, _, wrong, change = said(material_of(tmp_path, LEARNED, [{"host": "far", "pid": 7, "boot_id": "x"}]))
    assert status == "unknown"
    assert "How it ended is not known" in wrong
    assert "Look on far" in change


LEARNINGS = {
    "learned": (
        evals(4.0, 3.0, 2.0),
        "It learned: eval_loss fell from 4 at step 20 to its best, 2, at step 60 of 100.",
    ),
    "fell back": (evals(4.0, 2.0, 3.0), "It learned, and then became worse: eval_loss fell from 4"),
    "lost": (evals(4.0, 2.0, 4.2), "It did not keep what it learned"),
    "nothing": (
        evals(4.0, 3.99, 4.01),
        "It learned next to nothing after its first evaluation: eval_loss hardly moved",
    ),
    "nothing at all": (
        [{"kind": "eval", "step": 0, "eval_loss": 4.0}, *evals(4.0, 4.0)],
        "It did not learn: eval_loss stayed at 4 from before the training to step 40",
    ),
    "worse": (evals(2.0, 3.0, 4.0), "It became worse: eval_loss went from 2"),
    "by the score": (evals(4.0, 2.0, 3.5, scores=(10.0, 20.0, 30.0)), "by eval_score, but its loss became worse"),
    "not by the score": (evals(4.0, 3.0, 2.0, scores=(3.0, 3.5, 3.1)), "by its loss, but eval_score hardly moved"),
    "one evaluation": (evals(4.0), "cannot be told: there was one evaluation only (eval_loss 4 at step 20)"),
    "none": (
        train(5.0, 3.0),
        "cannot be told: no evaluation was made during the training; the training loss fell from about 5",
    ),
    "an unknown way": (
        [{"kind": "eval", "step": step, "eval_thing": step} for step in (20, 40)],
        "cannot be told: no metric whose better way is known",
    ),
    "NaN": (
        [*train(5.0, 4.0, math.nan, math.nan), *evals(4.0, 3.0), {"kind": "eval", "step": 60, "eval_loss": math.nan}],
        "It broke: the training loss is NaN from step 30 to the end; before that eval_loss was at best 3, at step 40.",
    ),
    "infinite at the end": (evals(4.0, 3.0, -math.inf), "its last evaluation gave no finite number"),
    "NaN in the evaluation": (evals(4.0, 3.0, math.nan), "its last evaluation gave no finite number"),
}


@pytest.mark.parametrize("name", LEARNINGS)
def test_no_more_is_said_of_learning_than_the_evaluations_show(tmp_path, name):
    rows, expected = LEARNINGS[name]
    learned = said(material_of(tmp_path, [BEGIN, *rows, END]))[1]
    assert expected in learned
    assert learned.startswith("It learned:") == (name == "learned")


def test_the_arguments_decide_which_metric_and_which_way(tmp_path):
    rows = [{**row, "eval_f1": 0.1 * i, "eval_odd": 9.0 - i} for i, row in enumerate(evals(4.0, 3.0, 2.0))]
    chosen = {"metric_for_best_model": "odd", "greater_is_better": False}
    assert "It learned: eval_odd fell from 9" in said(material_of(tmp_path, [BEGIN, *rows, END], arguments=chosen))[1]
    chosen = {"metric_for_best_model": "odd", "greater_is_better": True}
    learned = said(material_of(tmp_path, [BEGIN, *rows, END], arguments=chosen))[1]
    assert "by its loss, but eval_odd became worse: eval_odd went from 9" in learned


def test_of_several_sets_the_first_counts_and_another_that_went_otherwise_is_named(tmp_path):
    rows = evals(4.0, 2.0, scores=(10.0, 30.0), prefix="eval_korean")
    rows += evals(4.0, 4.0, scores=(9.0, 9.1), prefix="eval_english")
    data = {"eval": {"korean": {"class": "Dataset", "n_samples": 5}, "english": {"class": "Dataset", "n_samples": 6}}}
    material = material_of(tmp_path, [BEGIN, *rows, END], data=data)
    assert "It learned: eval_korean_score rose from 10" in (learned := said(material)[1])
    assert "on another set eval_english_score hardly moved" in learned
    assert dict(verdict(material).facts)["Data"] == "5 eval korean; 6 eval english"


def test_evaluations_alone_and_an_empty_folder_claim_nothing(tmp_path):
    status, learned, wrong, _ = said(material_of(tmp_path, [{"kind": "eval", "step": 0, "eval_loss": 3.0}]))
    assert (status, learned) == ("finished", "Nothing was trained here: an evaluation gave eval_loss 3.")
    assert "There only were evaluations" in wrong
    (tmp_path / "metrics.jsonl").unlink()
    status, learned, wrong, change = said(Material(Run(tmp_path)))
    assert (status, learned) == ("nothing recorded", "Whether it learned cannot be told: nothing was recorded.")
    assert "attach(trainer)" in change


def test_a_later_attempt_is_named_and_only_its_own_checkpoints_are_gone_on_from(tmp_path):
    anew = [{"attempt": 2, **BEGIN}, {"attempt": 2, **ERROR}]
    _, _, wrong, change = said(material_of(tmp_path, [BEGIN, SAVED, *anew], [GONE, GONE]))
    assert "in attempt 2" in wrong
    assert "none was saved" in change
    resumed = [{"attempt": 2, **BEGIN, "step": 20, "resumed_attempt": 1}, {"attempt": 2, **ERROR}]
    assert "checkpoint of step 20" in said(material_of(tmp_path, [BEGIN, SAVED, *resumed], [GONE, GONE]))[3]


def test_an_error_turned_around_does_not_turn_our_words_around(tmp_path):
    message = "\u202eאבג\u202d " + "x" * 5000
    wrong = said(material_of(tmp_path, [BEGIN, {**ERROR, "message": message}]))[2]
    assert "\u202e" not in wrong
    assert "ValueError: \u2068אבג xxx" in wrong
    assert wrong.index("\u2069") > wrong.index("…")
    assert len(wrong) < 400


def test_the_command_can_be_pasted_whatever_the_folder_is_called(tmp_path):
    facts = {
        "command": "python train.py --output_dir out",
        "working_folder": "/a b/$(x)'",
        "git": {"commit": "abc", "folder": "/a b/$(x)'/c", "dirty": True},
        "devices": {"world_size": 4},
    }
    commands = commands_of(material_of(tmp_path, [BEGIN, SAVED], **facts))
    assert commands.again.splitlines() == [
        """cd '/a b/$(x)'"'"''""",
        """git -C '/a b/$(x)'"'"'/c' checkout abc""",
        "python train.py --output_dir out",
    ]
    assert commands.resume.endswith("python train.py --output_dir out --resume_from_checkpoint out/checkpoint-20")
    assert any("not committed" in note for note in commands.notes)
    assert any("4 processes" in note for note in commands.notes)
    own = commands_of(material_of(tmp_path, [BEGIN, SAVED], **{**facts, "command": "python my.py"}))
    assert own.resume == "trainer.train(resume_from_checkpoint='out/checkpoint-20')"
