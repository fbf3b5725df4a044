"""The three sentences at the top of the report: true of every way in which a run can stand."""

import math

import orjson
import pytest

from hf_monitor.report.commands import commands_of
from hf_monitor.report.material import Material
from hf_monitor.report.sections.environment import environment
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


def tones(material):
    return [answer.tone for answer in verdict(material).answers]


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
    "nothing since": (
        evals(4.0, 3.99, 4.01),
        "Most was learned before the first evaluation, at step 20, or nothing (eval_on_start=True would tell): "
        "eval_loss hardly moved",
    ),
    "nothing at all": (
        [{"kind": "eval", "step": 0, "eval_loss": 4.0}, *evals(4.0, 4.0)],
        "It did not learn: eval_loss stayed at 4 from before the training to step 40",
    ),
    "worse": (evals(2.0, 3.0, 4.0), "It became worse: eval_loss went from 2"),
    "by the score": (evals(4.0, 2.0, 3.5, scores=(10.0, 20.0, 30.0)), "by eval_score, but its loss became worse"),
    "not by the score": (
        evals(4.0, 3.0, 2.0, scores=(3.0, 3.5, 3.1)),
        "by its loss, but eval_score hardly moved since its first evaluation:",
    ),
    "worse, and nothing by the score": (
        evals(2.0, 2.5, 3.0, scores=(30.0, 30.5, 30.1)),
        "What it learned, if anything, came before the first evaluation, at step 20, and its loss became worse since:",
    ),
    "one evaluation": (evals(4.0), "cannot be told: there was one evaluation only (eval_loss 4 at step 20)"),
    "none": (
        train(*(5.0 - 0.1 * i for i in range(20))),
        "cannot be told: no evaluation was made during the training; the training loss fell from about 4.95 to about",
    ),
    "a handful of losses": (
        train(3.4, 0.8, 1.4, 1.7, 0.6, 2.1),
        "cannot be told: no evaluation was made during the training.",
    ),
    "losses that leap about": (
        train(*[3.4, 0.8, 1.4, 2.7, 0.6] * 8),
        "cannot be told: no evaluation was made during the training.",
    ),
    "a loss that stays": (train(*[3.0, 3.01] * 15), "the training loss stayed near about 3"),
    "a loss that explodes": (
        train(*[2.0, 2.02] * 20, *(2.0 + 2.0 * i for i in range(40))),
        "The training loss rose 36-fold, from about 2.01 to about 73; no evaluation was made during the training.",
    ),
    "harder data, perhaps": (
        train(*(2.0 - 0.04 * i for i in range(30)), *[3.4] * 30),
        "cannot be told: no evaluation was made during the training; the training loss rose from about",
    ),
    "an unknown way": (
        [{"kind": "eval", "step": step, "eval_thing": step} for step in (20, 40)],
        "cannot be told: no metric whose better way is known",
    ),
    "NaN": (
        [*train(5.0, 4.0, math.nan, math.nan), *evals(4.0, 3.0), {"kind": "eval", "step": 60, "eval_loss": math.nan}],
        "It broke: the training loss is NaN after step 20, to the end; before that eval_loss was at best 4, at step 2",
    ),
    "NaN from the begin": (
        [*train(math.nan, math.nan), *evals(math.nan, 3.0)],
        "It broke: the training loss is NaN from its first row on, to the end.",
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
    assert verdict(material).answers[0].tone == "good"
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


def test_what_came_before_the_first_evaluation_is_not_judged(tmp_path):
    material = material_of(tmp_path, [BEGIN, *evals(1.482, 1.461, 1.464, scores=(39.9, 40.5, 40.7)), END])
    assert tones(material) == ["quiet", "good", "quiet"]
    change = said(material)[3]
    assert "eval_on_start=True" in change
    assert "rate" not in change
    assert "label" not in change
    begun = {"kind": "eval", "step": 0, "eval_loss": 1.48, "eval_score": 40.0}
    material = material_of(tmp_path, [BEGIN, begun, *evals(1.482, 1.461, 1.464, scores=(39.9, 40.5, 40.7)), END])
    assert tones(material)[0] == "bad"
    assert "No rule says why: see first whether it can learn twenty samples" in said(material)[3]


SETS = {"eval": {name: {"class": "Dataset", "n_samples": 5} for name in ("en", "ko", "ja")}}


def test_a_set_that_got_worse_is_named_also_by_its_loss_alone(tmp_path):
    rows = evals(3.0, 2.4, 2.0, prefix="eval_en") + evals(2.0, 3.5, 6.0, prefix="eval_ko")
    material = material_of(tmp_path, [BEGIN, *rows, END], data=SETS)
    _, learned, _, change = said(material)
    assert learned.startswith("It learned on en, but became worse on ko: eval_en_loss fell from 3")
    assert "; eval_ko_loss went from 2 at step 20 to 6 at step 60." in learned
    assert "best there at step 20" in change
    assert tones(material) == ["warn", "good", "warn"]


def test_of_several_sets_that_got_worse_the_worst_is_named_and_the_others_counted(tmp_path):
    rows = evals(3.0, 2.0, scores=(20.0, 30.0), prefix="eval_en") + evals(2.0, 2.1, 2.6, prefix="eval_ko")
    rows += evals(2.0, 6.0, scores=(40.0, 4.0), prefix="eval_ja")
    material = material_of(tmp_path, [BEGIN, *rows, END], data=SETS)
    assert said(material)[1].startswith("It learned on en, but became worse on ja and 1 more set: ")
    assert "eval_ja_score went from 40" in said(material)[1]


SAVES = [{**SAVED, "step": step, "checkpoint": f"out/checkpoint-{step}"} for step in (20, 40, 60)]
BEST = {"load_best_model_at_end": True, "metric_for_best_model": "score", "greater_is_better": True}


@pytest.mark.parametrize("saves", [[], SAVES])
def test_the_weights_that_were_loaded_at_the_end_are_judged(tmp_path, saves):
    rows = [BEGIN, *evals(3.0, 2.0, 2.4, scores=(20.0, 40.0, 20.5)), *saves]
    material = material_of(tmp_path, [*rows, END], arguments=BEST)
    learned, change = said(material)[1::2]
    assert learned.startswith("It learned: ")
    assert "and was 20.5 at step 60" in learned
    assert learned.endswith("; the weights of step 40 were loaded at the end.")
    assert tones(material) == ["good", "good", "good"]
    assert change.startswith("Nothing needs changing")
    material = material_of(tmp_path, rows, arguments=BEST)  # killed before its end: none were loaded
    assert said(material)[1].startswith("It did not keep what it learned: ")
    assert "loaded" not in said(material)[1]


def test_weights_that_were_never_saved_were_not_loaded_and_are_missed(tmp_path):
    rows = [BEGIN, *evals(3.0, 2.0, 2.4, scores=(20.0, 40.0, 20.5)), SAVES[2], END]
    learned, change = said(material_of(tmp_path, rows, arguments=BEST))[1::2]
    assert learned.startswith("It did not keep what it learned: ")
    assert "loaded" not in learned
    assert change.startswith("Keep the weights of step 40, its best by eval_score, next time")
    rows[-2:-2] = [SAVES[1]]
    arguments = {**BEST, "load_best_model_at_end": False}
    assert "Take the weights of step 40" in said(material_of(tmp_path, rows, arguments=arguments))[3]


def test_best_at_its_first_evaluation(tmp_path):
    arguments = {"load_best_model_at_end": True}
    material = material_of(tmp_path, [BEGIN, *evals(2.0, 3.0, 4.0), *SAVES, END], arguments=arguments)
    assert said(material)[1].startswith("It was best at its first evaluation: eval_loss went from 2")
    assert tones(material)[0] == "warn"


def test_a_worst_checkpoint_that_was_kept_for_the_best_is_told(tmp_path):
    rows = [{**row, "eval_wer": wer} for row, wer in zip(evals(3.0, 2.0, 1.4), (0.9, 0.5, 0.2), strict=True)]
    arguments = {**BEST, "metric_for_best_model": "wer"}  # as transformers fills it in
    material = material_of(tmp_path, [BEGIN, *rows, *SAVES, END], arguments=arguments)
    learned, change = said(material)[1::2]
    assert "eval_wer fell from 0.9 at step 20 to its best, 0.2" in learned
    assert "greater_is_better=False is missing: the worst checkpoint was loaded at the end, that of step 20." in learned
    assert change.startswith("Set greater_is_better=False")
    assert tones(material) == ["bad", "good", "warn"]
    arguments["greater_is_better"] = False
    material = material_of(tmp_path, [BEGIN, *rows, *SAVES, END], arguments=arguments)
    assert tones(material) == ["good", "good", "good"]


def test_an_evaluation_by_another_process_changes_neither_the_advice_nor_the_command(tmp_path):
    trained = {"command": "python train.py --output_dir out", "arguments": {"learning_rate": 5e-5}}
    later = {"kind": "eval", "step": 0, "attempt": 2, "time": 1.8e9, "eval_loss": 3.0, "standalone": True}
    facts = {"command": "python evaluate.py", "arguments": {"learning_rate": 1.0}}
    rows = [BEGIN, *train(*[2.0, 2.02] * 20, *(2.0 + 2.0 * i for i in range(40))), SAVED, ERROR, later]
    material = material_of(tmp_path, rows, [{**GONE, "facts": trained}, GONE], **facts)
    _, _, wrong, change = said(material)
    assert "in attempt 1 with" in wrong
    assert "mend the error" in change
    assert next(one for one in material.findings if one.rule == "divergence").suggestions[1].endswith("(now 5e-05)")
    commands = commands_of(material)
    assert commands.again == "python train.py --output_dir out"
    assert any("A later one did not train" in note for note in commands.notes)
    shown = environment(material)
    assert shown is not None
    assert ("learning_rate", "5e-05") in shown.telling


def test_no_checkpoint_that_came_after_the_fault_is_gone_on_from(tmp_path):
    saves = [{**SAVED, "step": step, "checkpoint": f"out/checkpoint-{step}"} for step in (10, 20, 30, 40)]
    rows = [BEGIN, *train(5.0, 4.0, 3.0, math.nan, math.nan), *saves, {**ERROR, "step": 50}]
    facts = {"command": "python train.py --output_dir out", "arguments": {"learning_rate": 0.1}}
    material = material_of(tmp_path, rows, **facts)
    _, _, wrong, change = said(material)
    assert "the loss is not a number, after step 30" in wrong
    assert change.endswith("; do not go on from its last checkpoint: that of step 40 came after the fault.")
    assert "; then" not in change
    commands = commands_of(material)
    assert commands.resume.endswith("--resume_from_checkpoint out/checkpoint-20")
    assert "of step 40, came after the fault" in commands.resume_note
    facts["arguments"]["save_total_limit"] = 2  # what came before the fault is deleted
    assert commands_of(material_of(tmp_path, [row for row in rows if row != saves[2]], **facts)).resume.endswith("20")
    assert commands_of(material_of(tmp_path, rows, **facts)).resume == ""


def test_a_finished_training_is_not_gone_on_with_and_a_resume_is_asked_for_once(tmp_path):
    facts = {"command": "python train.py --output_dir out"}
    assert commands_of(material_of(tmp_path, [BEGIN, SAVED, END], **facts)).resume == ""
    facts["command"] += " --resume_from_checkpoint=out/checkpoint-10"
    resume = commands_of(material_of(tmp_path, [BEGIN, SAVED], **facts)).resume
    assert resume.count("resume_from_checkpoint") == 1
    assert "checkpoint-20" in resume


def test_what_came_after_the_training_and_between_attempts_took_no_time_of_it(tmp_path):
    rows = [{**row, "time": 1.79e9 + 10 * i} for i, row in enumerate([BEGIN, *evals(4.0, 3.0, 2.0), SAVED])]
    resumed = [{**BEGIN, "step": 20, "resumed_attempt": 1}, {**END, "step": 100}]
    rows += [{**row, "attempt": 2, "time": 1.79e9 + 5000 + 7 * i} for i, row in enumerate(resumed)]
    rows += [{**evals(3.0)[0], "attempt": 2, "time": 1.79e9 + 40_000, "standalone": True}]
    assert dict(verdict(material_of(tmp_path, rows, [GONE, GONE])).facts)["Took"] == "47 s"


ALERT = {"kind": "alert", "rule": "plateau", "stops_training": True, "step": 80, "severity": "warning"}


def test_the_alert_that_stopped_it_says_what_to_change(tmp_path):
    alert = {**ALERT, "suggestions": ["a higher rate."]}
    material = material_of(tmp_path, [*LEARNED, alert, {**END, "step": 80}])
    assert said(material)[3] == "Try this: a higher rate."
    assert tones(material) == ["good", "bad", "bad"]
    assert "Look at what the alert saw at step 80" in said(material_of(tmp_path, [*LEARNED, ALERT, END]))[3]


def test_an_alert_of_an_earlier_training_did_not_stop_the_later_one(tmp_path):
    later = [{"attempt": 2, **row} for row in (*LEARNED, END)]
    material = material_of(tmp_path, [*LEARNED, ALERT, {**END, "step": 80}, *later], [GONE, GONE])
    assert "It ended in order after 100 of 100 steps" in said(material)[2]


def test_a_loss_that_explodes_gets_a_lower_rate_before_a_doubt(tmp_path):
    rows = train(*[2.0, 2.02] * 20, *(2.0 + 2.0 * i for i in range(40)))
    material = material_of(tmp_path, [BEGIN, *rows, END], arguments={"learning_rate": 0.1})
    assert said(material)[3].startswith("Try this: learning_rate=0.01 (now 0.1)")
    assert tones(material)[::2] == ["bad", "bad"]
