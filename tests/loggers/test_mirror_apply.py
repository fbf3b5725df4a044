"""What an Applier tells the real wandb, read back from the ``.wandb`` file of an offline run."""

import json
import math
import struct
import zlib
from pathlib import Path

import pytest
import wandb_file

from hf_monitor.loggers.mirror import orders
from hf_monitor.loggers.mirror.apply import SLOTS, Applier
from hf_monitor.loggers.mirror.artifacts import Artifacts
from hf_monitor.loggers.mirror.endresult import final_summary
from hf_monitor.loggers.mirror.prediction_table import evenly, table_of
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_open import _settings
from hf_monitor.run.reader import load_run
from hf_monitor.run.rows import iter_lines
from hf_monitor.run.writer import RunWriter

HF_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"[:34]
ODD = {
    "nan": math.nan,
    "inf": math.inf,
    "minus": -math.inf,
    "big": 2**53 + 1,
    "most": 2**63 - 1,
    "tiny": 5e-324,
    "third": 1 / 3,
    "none": None,
    "yes": True,
    "empty": [],
    "한국어": "요약 \u2028 \x00",
    "a.b": 1,
    "a": {"b": {"c.d": [1, {"x": math.nan, "y": {}}, None]}},
    "long": "x" * 1_500_000,
    "list": [1.5, math.inf, "x", [2**53 + 1]],
}


def picture(path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\1\2" * 2)) + chunk(b"IEND", b""))
    return path


def write_run(folder):
    writer = RunWriter(folder)
    arguments = {"learning_rate": 1e-3, "hub_token": "plain-word-secret", "output_dir": "out", "max_steps": -1}
    model = {"class": "T5", "n_parameters": 10, "config": {"d_model": 8}}
    writer.begin_attempt({"arguments": arguments, "model": model, "max_steps": 4, "packages": {"wandb": "0.31.0"}})
    writer.event("train_begin", 0, max_steps=4)
    for step in range(1, 5):
        writer.row("train", step, {"loss": 3.0 / step, "grad_norm": 1.0, "epoch": step / 2})
        writer.row("timing", step, {"seconds": 0.5, "steps": 1})
    writer.row("eval", 2, {"eval_loss": 2.0, "eval_rougeL": 30.5, "eval_rouge1": 40.0, "epoch": 1.0})
    writer.row("eval", 4, {"eval_loss": 2.5, "eval_rougeL": 25.0, "eval_rouge1": 41.0, "epoch": 2.0})
    writer.row("text_scores", 4, {"name": "eval", "by_language": {"ko": {"rouge1": 1.0}, "en": {"rouge1": 2.0}}})
    writer.row("train_summary", 4, {"train_loss": 1.5, "train_runtime": 2.0, "total_flos": 1e15, "epoch": 2.0})
    writer.row("log", 4, ODD)
    words = {"severity": "warning", "rule": "data_bound", "sentence": "The GPU waits.", "suggestions": ["a", "b"]}
    writer.row("alert", 4, words)
    writer.row("alert", 4, {**words, "severity": "info", "rule": "quiet"})
    writer.row("alert", 4, {**words, "rule": "old"}, now=1.7e9)
    writer.row("predict", 4, {"predict_rougeL": 33.0, "predict_runtime": 1.0, "standalone": True, "weights_step": 4})
    writer.event("train_end", 4)
    writer.begin_attempt()  # another W&B run's
    writer.row("train", 1, {"loss": 9.0})
    writer.row("log", 2, {"st*r": 1})  # define_metric refuses such a name
    writer.close()
    path = folder / "run.json"  # as if it had slipped through
    facts = json.loads(path.read_text())
    facts["command"] = f"train.py --key {HF_TOKEN}"
    path.write_text(json.dumps(facts))


PREDICTIONS = [
    {
        "time": 1.0,
        "attempt": 1,
        "step": 4,
        "name": "eval",
        "index": i,
        "input": f"입력 {i}",
        "prediction": "p" * 30_000 if i == 0 else "답",
        "references": ["one"] if i % 2 else ["one", "두"],
        "rougeL": 1.5 * i,
        "score": math.nan,
    }
    for i in range(10)
]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """One offline run that was told everything: first as the mirror's own, then as one that a user has opened."""
    import wandb

    folder = tmp_path_factory.mktemp("mirror")
    run_dir, checkpoint = folder / "monitor", folder / "checkpoint-4"
    write_run(run_dir)
    (checkpoint / "sub").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"W" * 2_000_000)
    (checkpoint / "sub" / "optimizer.pt").write_bytes(b"O")
    page = folder / "report.html"
    page.write_text("<html><head></head><body>요약</body></html>", encoding="utf-8")
    spec = MirrorSpec(
        str(run_dir), "abc", (1,), config={"mine": 1, "learning_rate": 0.5, "nan": math.nan}, most_predictions=4
    )
    lines = [(n, row) for n, row in iter_lines((run_dir / "metrics.jsonl").read_bytes()) if row]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATA", "CACHE", "ARTIFACT", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(folder / name))
        patch.setenv("MY_SERVICE_TOKEN", "correct-horse-battery")
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
        run = wandb.init(project="p", id="abc", mode="offline", dir=folder, settings=settings)
        file = Path(run.settings.sync_file)
        own = Applier(run, spec, numbered=True)
        own.define()
        for number, row in lines[:5]:
            own.row(number, row)
        again = Applier(run, spec, numbered=True, first_line=own.line)  # the mirror was killed, and starts once more
        again.define()
        for number, row in lines:
            again.row(number, row)
        again.predictions(PREDICTIONS)
        again.predictions([{**PREDICTIONS[0], "attempt": 2}])
        pictures = {"charts/loss": picture(folder / "loss.png"), "charts/gone": folder / "gone.png", "time": page}
        again.order(orders.images(pictures, 4))
        again.order(orders.html("report", page, 4))
        again.order(orders.table("worst", ["text", "n"], [["a", 1], [None, 2.5]], 4))
        again.order(orders.checkpoint(checkpoint, "model abc/1", ["step-4", "a:b"], 4, staged=True))
        again.order(orders.checkpoint(folder / "nothing", "model-abc", [], 4, staged=True))
        again.order(orders.summary({"extra": math.nan, "nested": {"a": 1}}))
        again.order(orders.config({"note": "it is correct-horse-battery", "api_key": "1234567890abcdef"}))
        again.order(orders.alert("t" * 80, "text", "ERROR"))
        again.order({"do": "dance"})
        again.order({"do": "html"})
        for i in range(12):
            again.order(orders.table(f"t{i}", ["n"], [[i]], 4))
        for i in range(2):
            again.order(orders.table("twice", ["n"], [[i]], 4))
        again.logs("first line\nzweite 줄\n")
        last = again.line
        again.close(run_dir)
        guest = Applier(
            run, MirrorSpec(str(run_dir), "abc", (2,), config={"mine": 2, "fresh": 3}, rewrite=False), numbered=False
        )
        guest.define()
        for number, row in lines:
            guest.row(number, row)
        settled = again.settle(10), again.pending()
        run.finish()
        own.row(1000, {**lines[0][1]})  # wandb refuses: the run is over
        wandb_file.wait_for_exit(file)
    return {
        "folder": folder,
        "file": file,
        "lines": lines,
        "notes": again.notes,
        "own": own,
        "guest": guest,
        "last": last,
        "settled": settled,
        "checkpoint": checkpoint,
        "history": wandb_file.history(file),
    }


def same(one, other):
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and isinstance(other, float) and one != one and other != other)


def test_every_row_is_there_once_with_the_same_values(told):
    shown = {row["_step"]: row for row in told["history"]}
    assert len(shown) == len(told["history"])
    mine = [(number, row) for number, row in told["lines"] if row["attempt"] == 1]
    assert len(mine) == 19
    for number, row in mine:
        found = dict(shown[SLOTS * number])
        own = {name: found.pop(name) for name in ("attempt", "kind", "time", "train/global_step")}
        assert own == {**{name: row[name] for name in ("attempt", "kind", "time")}, "train/global_step": row["step"]}
        assert found.pop("_timestamp") == row["time"]
        values = [value for name, value in found.items() if not name.startswith("_")]
        wanted = [value for name, value in row.items() if name not in ("attempt", "kind", "time", "step")]
        assert len(values) == len(wanted)
        for name, value in row.items():
            if name not in ("attempt", "kind", "time", "step"):
                (key,) = [k for k in found if k.partition("/")[2] == name.removeprefix("eval_")]
                assert same(found[key], value), key
    steps = [
        (row["attempt"], row["kind"], row["train/global_step"], row["time"]) for row in shown.values() if "kind" in row
    ]
    assert len(set(steps)) == len(steps) == len(told["lines"])


def test_names_have_the_axis_and_alerts_and_events_no_charts(told):
    metrics = [record.metric for record in wandb_file.records(told["file"]) if record.HasField("metric")]
    axis = {metric.glob_name: metric.step_metric for metric in metrics if metric.glob_name}
    assert set(axis.values()) == {"train/global_step"}
    assert {"train/*", "eval/*", "timing/*", "event/*", "alert/*", "predictions/*", "charts/*"} <= axis.keys()
    assert "*" not in axis
    hidden = {metric.glob_name or metric.name for metric in metrics if metric.options.hidden}
    assert {"event/*", "alert/*", "text_scores/*", "attempt", "kind", "time", "train/global_step"} <= hidden
    assert not {"train/*", "eval/*"} & hidden


def test_predictions_are_a_table(told):
    (row,) = [row for row in told["history"] if "predictions/eval" in row]
    assert row["train/global_step"] == 4
    assert row["_step"] == SLOTS * told["last"] + 1
    columns, data = wandb_file.table(told["file"], row["predictions/eval"])
    assert columns == ["index", "input", "references", "prediction", "rougeL", "score"]
    assert [line[0] for line in data] == [0, 2, 5, 7]
    assert data[1][1:3] == ["입력 2", ["one", "두"]]
    assert data[2][2:5] == ["one", "답", 7.5]
    assert data[0][3].endswith("... (10,000 more characters)")
    assert wandb_file.summary(told["file"])["predictions_shown/eval"].startswith("4 of 10, evenly")


def test_pictures_pages_and_tables_are_there_and_what_is_missing_is_a_note(told):
    shown = {name: row for row in told["history"] for name in row}
    files = told["file"].parent / "files"
    assert (files / shown["charts/loss"]["charts/loss"]["path"]).read_bytes() == (
        told["folder"] / "loss.png"
    ).read_bytes()
    page = (files / shown["report"]["report"]["path"]).read_text(encoding="utf-8")
    assert page == (told["folder"] / "report.html").read_text(encoding="utf-8")
    assert wandb_file.table(told["file"], shown["worst"]["worst"]) == (["text", "n"], [["a", 1], [None, 2.5]])
    assert [wandb_file.table(told["file"], shown[f"t{i}"][f"t{i}"])[1] for i in range(12)] == [[[i]] for i in range(12)]
    assert wandb_file.table(told["file"], shown["twice"]["twice"])[1] == [[1]]
    assert [note.partition(":")[0] for note in told["notes"] if "checkpoint" not in note] == [
        "a picture cannot be sent",
        "an order of an unknown kind ('dance') is passed over",
        "a page cannot be sent",
        "of pictures with one name and no row between them only the last is shown",
    ]


def test_a_checkpoint_is_an_artifact_without_a_second_copy(told):
    (artifact,) = [one for one in wandb_file.artifacts(told["file"]) if one.type == "model"]
    assert artifact.name == "model-abc-1"
    assert set(artifact.aliases) == {"latest", "step-4", "a-b"}  # wandb adds the first
    files = {entry.path: entry.local_path for entry in artifact.manifest.contents}
    assert files == {
        "model.safetensors": str(told["checkpoint"] / "model.safetensors"),
        "sub/optimizer.pt": str(told["checkpoint"] / "sub" / "optimizer.pt"),
    }
    assert json.loads(artifact.metadata) == {"eval/loss": 2.5, "eval/rougeL": 25, "eval/rouge1": 41, "global_step": 4}
    copies = [path for path in told["folder"].rglob("*") if path.is_file() and path.stat().st_size == 2_000_000]
    assert copies == [told["checkpoint"] / "model.safetensors"]  # staged, and kept: `wandb sync` needs it
    assert told["settled"] == (True, 0)
    (note,) = [note for note in told["notes"] if "checkpoint" in note]
    assert note.endswith("nothing: FileNotFoundError: there are no files in it")


def test_a_checkpoint_counts_when_it_is_sent_and_its_failure_is_known(tmp_path, monkeypatch):
    class Run:
        offline = False

        def log_artifact(self, artifact, aliases):
            raise ConnectionError("no route")

    monkeypatch.setattr("hf_monitor.loggers.mirror.artifacts._PAUSES_S", (0.0, 0.0))
    for name in ("DATA", "CACHE", "ARTIFACT", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    staged = tmp_path / "staged"
    staged.mkdir()
    notes, sent = [], []
    artifacts = Artifacts(Run(), lambda trouble, why: notes.append(why))
    artifacts.send(orders.checkpoint(staged, "gone", [], 1, staged=True), {}, lambda: sent.append("gone"))
    assert artifacts.settle(30)
    assert (sent, artifacts.failed) == (["gone"], "")  # no files: nothing is left to be sent
    (staged / "model.safetensors").write_bytes(b"W")
    artifacts.send(orders.checkpoint(staged, "there", [], 1, staged=True), {}, lambda: sent.append("there"))
    assert artifacts.settle(30)
    assert sent == ["gone"]
    assert artifacts.failed == f"a checkpoint was not sent: {staged}: ConnectionError: no route"
    assert len(notes) == 2
    assert (staged / "model.safetensors").exists()


def test_code_is_not_saved_unless_settings_say_so(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SAVE_CODE", "true")
    spec = MirrorSpec(str(tmp_path), "id", (1,))
    assert _settings(wandb.Settings, spec).save_code is False
    asked = MirrorSpec(str(tmp_path), "id", (1,), settings={"save_code": True})
    assert _settings(wandb.Settings, asked).save_code is True


def test_alerts_ring_once_unless_they_are_old_or_no_trouble(told):
    rung = [("hf_monitor: data_bound", "The GPU waits.\nTry: a; b", "WARN"), ("t" * 63, "text", "ERROR")]
    assert wandb_file.alerts(told["file"]) == rung


def test_the_log_is_there(told):
    assert wandb_file.logs(told["file"]) == "first line\nzweite 줄\n"


def test_the_summary_says_how_it_came_out(told):
    summary = wandb_file.summary(told["file"])
    wanted = {
        "status": "finished",
        "best_metric": "eval_rougeL",
        "best_rouge": 30.5,
        "best_value": 30.5,
        "best_step": 2,
        "best_epoch": 1,
        "predict_rougeL": 33,
        "train_loss": 1.5,
        "train_runtime": 2,
        "total_flos": 1e15,
        "extra": "NaN",
        "nested": {"a": 1},
    }
    assert {name: summary[name] for name in wanted} == wanted
    assert "log/long" not in summary  # of 1.5 MB: some of them, and W&B would take no summary at all
    assert "train/long" not in summary
    assert summary["train/한국어"] == ODD["한국어"]
    assert summary["total_time"] == round(load_run(told["folder"] / "monitor").duration_seconds, 3)


def test_the_config_has_arguments_one_by_one_and_facts_nested_and_no_secret(told):
    config = wandb_file.config(told["file"])
    assert (config["learning_rate"], config["mine"], config["max_steps"], config["nan"]) == (0.5, 1, -1, "NaN")
    assert config["model"] == {"class": "T5", "n_parameters": 10, "config": {"d_model": 8}}
    assert config["model/num_parameters"] == 10
    assert config["hf_monitor"]["packages"] == {"wandb": "0.31.0"}
    assert not {"packages", "run_id", "run_dir", "git", "facts"} & config.keys()
    assert config["hf_monitor"]["max_steps"] == 4
    assert config["hf_monitor"]["run_id"] == load_run(told["folder"] / "monitor").facts["run_id"]
    assert config["hf_monitor"]["run_dir"] == str(told["folder"] / "monitor")
    assert (config["note"], config["api_key"]) == ("it is ***", "***")
    data = told["file"].read_bytes()
    for secret in (HF_TOKEN, "plain-word-secret", "correct-horse-battery", "1234567890abcdef"):
        assert secret.encode() not in data


def test_in_a_run_that_the_user_has_opened_its_config_stays_and_wandb_counts(told):
    (note,) = told["guest"].notes
    assert note.startswith("a name has no axis: Error:")
    config = wandb_file.config(told["file"])
    assert (config["mine"], config["fresh"]) == (1, 3)
    rows = [row for row in told["history"] if row.get("attempt") == 2]
    assert [(row.get("train/loss"), row.get("st*r"), row["train/global_step"]) for row in rows] == [
        (9, None, 1),
        (None, 1, 2),
    ]
    assert [row["_step"] for row in rows] == sorted(row["_step"] for row in told["history"])[-2:]


def test_a_run_that_is_over_is_a_note_and_no_error(told):
    (note,) = told["own"].notes
    assert note.startswith("a row cannot be told: UsageError")


def test_the_first_metric_that_is_there_is_the_one_of_the_best(tmp_path):
    def best_of(rows, **arguments):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        writer = RunWriter(folder)
        writer.begin_attempt({"arguments": arguments})
        for step, row in enumerate(rows, 1):
            writer.row("eval", step, row)
        writer.close()
        return final_summary(folder, (1,)).get("best_metric"), final_summary(folder, (1,)).get("best_step")

    both = [
        {"eval_loss": 1.0, "eval_bleu": 1.0, "eval_mine": 5.0},
        {"eval_loss": 2.0, "eval_bleu": 2.0, "eval_mine": 1.0},
    ]
    assert best_of(both) == ("eval_bleu", 2)
    assert best_of(both, metric_for_best_model="mine", greater_is_better=False) == ("eval_mine", 2)
    assert best_of([{"eval_loss": 1.0}, {"eval_loss": 2.0}]) == ("eval_loss", 1)
    assert best_of([{"eval_rouge1": 1.0, "eval_rouge2": 9.0}], metric_for_best_model="rouge2") == ("eval_rouge2", 1)
    assert best_of([]) == (None, None)


def test_rows_of_a_table_are_chosen_evenly_and_the_same_each_time():
    assert evenly(10, 4) == [0, 2, 5, 7]
    assert evenly(3, 4) == [0, 1, 2]
    columns, data = table_of([{"index": 0, "prediction": "p"}, {"index": 1, "prediction": "q", "rouge1": 2.0}], 5)
    assert columns == ["index", "prediction", "rouge1"]
    assert data == [[0, "p", None], [1, "q", 2.0]]
