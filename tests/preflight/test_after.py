"""The checklist after a training: what is there, what is not, and what of it is of use."""

from __future__ import annotations

import json
import shutil

import pytest

from hf_monitor import RunWriter
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.errors import RunFolderError
from hf_monitor.preflight import after_run
from hf_monitor.preflight.after import check_after
from hf_monitor.preflight.after_models import check_models
from hf_monitor.preflight.checkpoints import Checkpoints
from hf_monitor.preflight.loadable import LoadedBack
from hf_monitor.run.reader import load_run

SAVED = ("best checkpoint", "last checkpoint", "saved model")


@pytest.fixture
def record(tmp_path):
    """Write a run with these rows and no Trainer; it runs until it has an end."""

    def write(*events, run_dir=None, **facts):
        writer = RunWriter(run_dir or tmp_path / "out" / "monitor")
        writer.begin_attempt({"max_steps": 10, "arguments": {"save_strategy": "no"}, **facts})
        writer.event("train_begin", 0)
        for name, step, values in events:
            writer.event(name, step, **values)
        writer.close()
        return writer.run_dir

    return write


def quick(run, *args):
    return check_after(run, *args, deep=False)


def states(checklist):
    return {check.name: check.state for check in checklist}


def tear(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.no_cover
def test_after_a_good_training_all_is_there_and_loads_though_its_folder_was_moved(trained):
    arguments = load_run(trained).config
    assert arguments["output_dir"] != str(trained)  # what the run recorded is no longer there
    checklist = check_after(trained)
    assert {name: state for name, state in states(checklist).items() if not name.startswith("finding")} == {
        "ending": "ok",
        "rows": "ok",
        "log": "ok",
        "predictions": "ok",
        "charts": "ok",
        "report": "ok",
        **dict.fromkeys(SAVED, "ok"),
        "checkpoints": "ok",
        "disk": "ok",
    }
    # It was evaluated on what it was trained on, and that is all that is wrong with it.
    assert [check.name for check in checklist if check.state == "failed"] == ["finding: data_overlap"]
    assert (checklist.ok, checklist.exit_code) == (False, 1)
    assert checklist["ending"].sentence == "finished at step 4 of 4, attempt 1."
    best = checklist["best checkpoint"]
    assert best.sentence.startswith("checkpoint-4 (eval_loss ")
    assert "loads back: model (T5ForConditionalGeneration, 11,680 parameters), tokenizer, optimizer" in best.sentence
    json.dumps(checklist.to_dict(), allow_nan=False)
    assert "best checkpoint" in str(checklist)


def test_without_deep_only_files_are_looked_at(copied):
    checklist = quick(copied)
    assert checklist["best checkpoint"].sentence.endswith("its files are whole.")
    assert {states(checklist)[name] for name in SAVED} == {"ok"}


def test_a_torn_last_checkpoint_fails_and_the_one_before_it_is_named(copied):
    tear(copied / "checkpoint-4" / "model.safetensors")
    checklist = quick(copied)
    assert checklist.exit_code == 1
    assert checklist["last checkpoint"].state == checklist["best checkpoint"].state == "failed"
    assert "model.safetensors is cut off" in checklist["last checkpoint"].sentence
    assert str(copied / "checkpoint-2") in checklist["last checkpoint"].suggestion


def test_a_best_checkpoint_that_is_gone_is_no_failure_while_the_model_has_its_weights(copied):
    (copied / "checkpoint-4").rename(copied / "away")
    shutil.copy(copied / "away" / "trainer_state.json", copied / "checkpoint-2")
    state = json.loads((copied / "away" / "trainer_state.json").read_text())
    (copied / "checkpoint-2" / "trainer_state.json").write_text(json.dumps({**state, "global_step": 2}))
    checklist = quick(copied)
    assert checklist["best checkpoint"].state == "warning"
    assert "checkpoint-4 was the best, and is not in" in checklist["best checkpoint"].sentence
    assert checklist["last checkpoint"].sentence == "checkpoint-2: its files are whole."
    (copied / "model.safetensors").unlink()
    assert quick(copied)["best checkpoint"].state == "failed"
    assert states(quick(copied))["saved model"] == "skipped"


def test_checkpoints_that_are_gone_are_looked_for_where_the_user_says(copied, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("checkpoint-2", "checkpoint-4"):
        (copied / name).rename(elsewhere / name)
    checklist = quick(copied)
    assert checklist["last checkpoint"].state == "warning"
    assert "2 checkpoints were saved, none of them is in" in checklist["last checkpoint"].sentence
    assert states(quick(copied, elsewhere))["last checkpoint"] == "ok"


def test_checkpoints_are_found_in_the_output_dir_that_the_run_recorded(copied, record, tmp_path):
    run_id = load_run(copied).facts["run_id"]
    run_dir = record(
        ("train_end", 4, {}),
        run_dir=tmp_path / "runs" / "first",
        arguments={"output_dir": copied.name, "save_strategy": "steps"},
        working_folder=str(copied.parent),
        run_id=run_id,
    )
    assert states(quick(run_dir))["last checkpoint"] == "ok"


def test_checkpoints_of_another_run_are_told_apart(copied):
    mark = copied / "checkpoint-4" / "hf_monitor.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "run_id": "another"}))
    checklist = quick(copied)
    assert checklist["checkpoints"].state == "warning"
    assert "checkpoint-4 in" in checklist["checkpoints"].sentence
    assert "another run (another)" in checklist["checkpoints"].sentence
    assert checklist["last checkpoint"].sentence.startswith("checkpoint-2:")


def test_a_checkpoint_left_from_an_earlier_attempt_is_told(copied):
    mark = copied / "checkpoint-2" / "hf_monitor.json"
    mark.write_text(json.dumps({**json.loads(mark.read_text()), "attempt": 2}))
    checklist = quick(copied)
    assert checklist["checkpoints"].state == "warning"
    assert "checkpoint-4 has the highest number, but was saved by attempt 1" in checklist["checkpoints"].sentence


def test_of_a_crashed_run_it_says_what_ended_it_and_what_is_not_there(record):
    checklist = quick(record(("error", 3, {"type": "ValueError", "message": "no\nmore data"})))
    assert (checklist["ending"].state, checklist.exit_code) == ("failed", 1)
    assert checklist["ending"].sentence == "crashed at step 3 of 10, attempt 1: ValueError: no more data"
    nothing = ("log", "predictions", "charts", *SAVED)
    assert {states(checklist)[name] for name in nothing} == {"skipped"}
    assert "save_strategy is 'no'" in checklist["last checkpoint"].sentence
    assert "checkpoints" not in states(checklist)


def test_a_run_that_an_alert_stopped_says_so_and_one_that_was_begun_anew_after_it_does_not(record):
    folder = record(("train_end", 3, {}))
    alert = {"kind": "alert", "rule": "nan", "step": 3, "attempt": 1, "stops_training": True}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(alert) + "\n")
    ending = quick(folder)["ending"]
    assert (ending.state, ending.sentence) == ("warning", "stopped by nan at step 3 of 10, attempt 1.")
    assert "stop_on" in ending.suggestion
    with (folder / "metrics.jsonl").open("a") as file:
        for event, step in (("train_begin", 0), ("train_end", 10)):
            file.write(json.dumps({"kind": "event", "event": event, "step": step, "attempt": 1}) + "\n")
    assert quick(folder)["ending"].sentence == "finished at step 10 of 10, attempt 1."


def test_after_ctrl_c_there_is_nothing_to_mend(record):
    ending = quick(record(("save", 2, {}), ("error", 3, {"type": "KeyboardInterrupt"})))["ending"]
    assert (ending.state, ending.sentence) == ("warning", "interrupted at step 3 of 10, attempt 1: Ctrl-C")
    assert ending.suggestion == "It goes on from the last checkpoint with train(resume_from_checkpoint=True)."


@pytest.mark.parametrize(("shared", "state"), [(20, "warning"), (50, "failed")])
def test_an_evaluation_set_that_is_mostly_in_the_training_set_fails_as_before_the_training(record, shared, state):
    values = {"n_evaluation": 100, "n_shared_inputs": shared, "n_shared_pairs": shared, "n_train": 500}
    checklist = quick(record(("data_overlap", 0, values), ("train_end", 1, {})))
    assert (checklist["finding: data_overlap"].state, checklist.ok) == (state, state == "warning")


def test_a_run_that_goes_on_is_no_failure_and_its_newest_checkpoint_may_be_half_there(record, tmp_path):
    (tmp_path / "out" / "checkpoint-3").mkdir(parents=True)
    checklist = quick(record())
    assert checklist.ok
    assert (checklist["ending"].state, checklist["last checkpoint"].state) == ("warning", "warning")
    assert "it may be saving just now" in checklist["last checkpoint"].suggestion


def test_a_checkpoint_that_a_running_training_deletes_meanwhile_is_looked_for_again(record, trained):
    folder = record().parent
    for name in ("checkpoint-2", "checkpoint-4"):
        shutil.copytree(trained / name, folder / name)
        (folder / name / "hf_monitor.json").unlink()
    run = load_run(folder)

    def load(path, gone="checkpoint-4"):
        if path.name == gone:
            shutil.rmtree(path)
            return LoadedBack("it cannot be loaded")
        return LoadedBack(None, ("files",))

    checks = {check.name: check for check in check_models(run, Checkpoints(run), load)}
    assert checks["best checkpoint"].state == checks["last checkpoint"].state == "ok"
    assert checks["best checkpoint"].sentence.startswith("checkpoint-2")
    torn = {check.name: check for check in check_models(run, Checkpoints(run), lambda path: LoadedBack("torn"))}
    assert torn["best checkpoint"].state == torn["last checkpoint"].state == "warning"  # it may be saving just now


def test_what_is_loaded_with_a_doubt_is_a_warning(trained):
    run = load_run(trained)
    checks = check_models(run, Checkpoints(run, trained), lambda path: LoadedBack(None, ("model",), (), ("zeros",)))
    assert next(checks).state == "warning"


@pytest.mark.parametrize(
    ("best_step", "state", "said"),
    [
        (
            4,
            "ok",
            "checkpoint-4 (best eval_score 41.5 at step 4, higher is better; the Trainer had no "
            "metric_for_best_model): its files are whole.",
        ),
        (
            3,
            "warning",
            "the best (eval_score 41.5 at step 3, higher is better) was not kept: there is no checkpoint-3.",
        ),
    ],
)
def test_where_the_trainer_was_given_no_metric_the_best_texts_count(record, trained, best_step, state, said):
    folder = record(("train_end", 4, {}), arguments={"save_strategy": "steps"}).parent
    shutil.copytree(trained / "checkpoint-4", folder / "checkpoint-4")
    (folder / "checkpoint-4" / "hf_monitor.json").unlink()
    (folder / "checkpoint-4" / "trainer_state.json").write_text('{"global_step": 4, "best_model_checkpoint": null}')
    best = {"name": "eval", "metric": "score", "value": 41.5, "step": best_step}
    with (folder / "monitor" / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "text_scores", "name": "eval", "step": 4, "attempt": 1, "best": best}) + "\n")
    check = quick(folder)["best checkpoint"]
    assert (check.state, check.sentence) == (state, said)


def test_each_finding_is_a_line_of_its_severity(record, monkeypatch):
    found = [
        Finding(rule="nan", verdict="found", severity="error", sentence="A NaN.", suggestions=("Stop.", "Think.")),
        Finding(rule="memory", verdict="found", severity="info", sentence="Half is free.", gpu=1),
        Finding(rule="plateau", verdict="clear", sentence="None."),
    ]
    monkeypatch.setattr(after_run, "diagnose", lambda run: found)
    checklist = quick(record(("train_end", 1, {})))
    lines = {name: state for name, state in states(checklist).items() if name.startswith("finding")}
    assert lines == {"finding: nan": "failed", "finding: memory (GPU 1)": "ok"}
    assert checklist["finding: nan"].suggestion == "Stop.; Think."
    monkeypatch.setattr(after_run, "diagnose", lambda run: found[2:])
    assert states(quick(record()))["findings"] == "ok"


def test_rows_that_are_broken_or_lost_are_counted(record):
    folder = record(("recording_resumed", 2, {"lost_rows": 7}), ("train_end", 2, {}))
    check = quick(folder)["rows"]
    assert (check.state, check.evidence["lost_rows"]) == ("warning", 7)
    folder = record(("train_end", 2, {}), run_dir=folder.with_name("other"))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("{\n{\n")
    check = quick(folder)["rows"]
    assert check.state == "warning"
    assert "2 broken lines (metrics.jsonl: 2)" in check.sentence


def test_one_broken_line_of_a_process_that_was_ended_is_expected(record):
    folder = record(("error", 1, {"type": "MemoryError"}))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step"')
    check = quick(folder)["rows"]
    assert (check.state, check.evidence["broken_lines"]) == ("ok", {"metrics.jsonl": 1})


@pytest.mark.parametrize("cut", [0, 5, 20, 3000, -1])
def test_pictures_that_cannot_be_opened_are_named(copied, cut):
    path = copied / "monitor" / "plots" / "06_training_history.png"
    path.write_bytes(path.read_bytes()[:cut])
    check = quick(copied)["charts"]
    assert (check.state, list(check.evidence["damaged"])) == ("warning", [path.name])


def test_texts_that_are_missing_or_all_empty_are_told(copied):
    path = copied / "monitor" / "predictions.jsonl"
    rows = [{**json.loads(line), "prediction": " "} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "All of them are empty." in quick(copied)["predictions"].sentence
    path.unlink()
    check = quick(copied)["predictions"]
    assert (check.state, "predictions.jsonl holds none" in check.sentence) == ("warning", True)


def test_a_report_that_was_cut_off_is_told(copied):
    (copied / "monitor" / "report.html").write_text("<html>...</html>\n")
    assert states(quick(copied))["report"] == "ok"
    (copied / "monitor" / "report.html").write_text("<html>...")
    assert states(quick(copied))["report"] == "warning"
    (copied / "monitor" / "report.html").unlink()
    check = quick(copied)["report"]
    assert (check.state, check.suggestion) == ("skipped", f"Make it: hf-monitor report {copied / 'monitor'}")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError):
        check_after(tmp_path)
