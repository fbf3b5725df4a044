"""The sections curves, machine and trials, of rows as the callbacks write them."""

import orjson
import pytest

from hf_monitor.report.material import Material
from hf_monitor.report.sections.curves import curves
from hf_monitor.report.sections.machine import machine
from hf_monitor.report.sections.trials import trials
from hf_monitor.run.reader import load_run


@pytest.fixture
def material(tmp_path):
    def make(metrics=(), system=(), tried=()):
        for name, rows in (("metrics", metrics), ("system", system), ("trials", tried)):
            lines = [orjson.dumps({"time": 1000.0 + k, "attempt": 1, **row}) for k, row in enumerate(rows)]
            (tmp_path / f"{name}.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        (tmp_path / "run.json").write_bytes(orjson.dumps({"format": 1, "run_id": "x", "attempts": [{"attempt": 1}]}))
        return Material(load_run(tmp_path))

    return make


def by_title(section):
    return {picture.title: picture for picture in section.pictures}


TRAINING = [{"kind": "event", "event": "train_begin", "step": 0}] + [
    {"kind": "train", "step": 10 * k, "loss": 4.0 / k, "learning_rate": 1e-3, "grad_norm": 1.0} for k in range(1, 21)
]
EVALUATIONS = [
    {"kind": "eval", "step": 20 * k, "eval_loss": loss, "eval_rouge1": 40.0 - loss, "eval_rougeL": 30.0 - loss}
    | {"eval_accuracy": 0.5, "eval_perplexity": 9.0 + loss, "eval_runtime": 1.0}
    for k, loss in enumerate([3.0, 2.0, 1.5, 1.8, 2.1, 2.5, 2.9, 3.3], 1)
]


def test_each_number_has_its_panel_and_overfitting_is_marked(material):
    made = material([*TRAINING, *EVALUATIONS])
    section = curves(made)
    pictures = by_title(section)
    assert list(pictures) == [
        "Loss",
        "Text scores (0-100)",
        "Other evaluation metrics (0-1)",
        "Learning rate",
        "Gradient norm",
        "eval_perplexity",
    ]
    assert "overfitting begins" in pictures["Loss"].svg
    assert "validation loss" in pictures["Loss"].alt
    assert "best rougeL" in pictures["Text scores (0-100)"].svg
    assert [other.name for other in section.others] == ["eval_runtime"]
    assert not made.gaps


def test_alerts_and_later_attempts_are_marked(material):
    alert = {"kind": "alert", "rule": "loss_spike", "severity": "warning", "name": "x"}
    rows = [*TRAINING, {**alert, "step": 50}, {**alert, "step": 60}]
    again = {"kind": "event", "event": "train_begin", "step": 100, "attempt": 2, "resumed_attempt": 1}
    rows += [again, {"kind": "train", "step": 110, "loss": 0.3, "attempt": 2}]
    loss = by_title(curves(material(rows)))["Loss"]
    assert "loss spike (2 times)" in loss.svg
    assert loss.svg.count('class="mark warn"') == 2
    assert "attempt 2" in loss.svg
    assert "at step 110" in loss.alt


def test_what_was_not_logged_is_said(material):
    made = material([{"kind": "eval", "step": 1, "eval_korean_loss": 2.0}])
    assert list(by_title(curves(made))) == ["Loss"]
    assert made.gaps == ["Not logged, so without a curve: training loss, learning rate, gradient norm, text scores."]
    empty = material()
    assert curves(empty) is None
    assert machine(empty) is None
    assert trials(empty) is None
    assert len(empty.gaps) == 3


def gpu(number, **values):
    return {"kind": "gpu", "gpu": number, "phase": "train", "step": 1, **values}


def test_each_card_that_was_used_has_a_line_and_what_it_does_not_say_is_said(material):
    begin = {"kind": "event", "event": "sampler_begin", "used_gpus": [0, 1]}
    begin["gpus"] = [
        {"gpu": k, "name": "NVIDIA X", "memory_total_mib": 24000.0, "power_limit_w": 300} for k in range(3)
    ]
    silent = {"kind": "event", "event": "unavailable", "gpu": 1, "metric": "power_w", "reason": "not supported"}
    rows = [begin, silent]
    for k in range(10):
        rows.append(gpu(0, utilization_percent=90, memory_used_mib=18000.0 + k, power_w=200.0, energy_j=3600.0 * k))
        rows.append(gpu(1, utilization_percent=70 + k % 2, memory_used_mib=12000.0, power_w=None))
        rows.append(gpu(2, utilization_percent=0, memory_used_mib=5.0))
    made = material(system=rows)
    section = machine(made)
    tiles = {tile.name: (tile.value, tile.note) for tile in section.tiles}
    assert tiles["GPUs"][0] == "2 x NVIDIA X"
    assert tiles["Median utilization"][0] == "70.5 to 90 %"
    assert tiles["Peak memory"] == ("18,009 MiB", "75 % of 24,000 MiB, GPU 0, highest sample")
    assert tiles["Median power"] == ("200 W", "while training; the limit is 300 W")
    assert tiles["Energy"][0] == "9 Wh"
    pictures = by_title(section)
    assert list(pictures) == ["GPU utilization", "GPU memory", "Power"]
    assert list(pictures["GPU utilization"].table.head) == ["time (s)", "GPU 0", "GPU 1"]
    assert "total 23.44 GiB" in pictures["GPU memory"].svg
    assert "GPU 1" not in pictures["Power"].alt
    assert "GPU 1 does not say power_w: not supported." in made.gaps
    assert len(section.notes) == 1


def test_the_time_between_two_attempts_is_taken_out_and_the_samples_stay_as_they_are(material):
    rows = [{"kind": "host", "time": t, "attempt": a, "cpu_percent": 50.0} for a, t in ((1, 0.0), (1, 60.0))]
    rows += [{**row, "attempt": 2, "time": row["time"] + 1e6} for row in rows]
    section = machine(material(system=rows))
    assert [round(row[0], 1) for row in section.pictures[0].table.rows] == [0, 60, 61.2, 121.2]
    assert "attempt 2" in section.pictures[0].svg
    assert [tile.name for tile in section.tiles] == ["Median processor load"]


def test_the_wait_for_data_weighs_each_interval_by_its_length(material):
    row = {"kind": "timing", "samples_per_second": 10.0}
    rows = [{**row, "step": 1, "seconds": 1.0, "data_wait_share": 0.9}, {**row, "step": 2, "seconds": 9.0}]
    rows[1]["data_wait_share"] = 0.1
    section = machine(material(rows))
    assert {tile.name: tile.value for tile in section.tiles} == {
        "Waited for data": "18 %",
        "Throughput": "10 samples/s",
    }
    assert list(by_title(section)) == ["Waiting for data", "Throughput"]


def test_a_batch_that_did_not_fit_is_a_cross_and_what_cannot_be_read_is_said(material):
    rows = [{"batch_size": n, "fits": True, "peak_bytes": n * 2**30, "seconds": 0.5} for n in (1, 2, 4, 8)]
    rows += [{"batch_size": 16, "fits": False, "out_of_memory": True, "peak_bytes": None}]
    section = trials(material(tried=[*rows, {"batch_size": -3, "fits": True}]))
    peak, speed = section.pictures
    assert "did not fit at batch size 16" in peak.notes[0]
    assert "8,192 at batch size 8" in peak.alt
    assert "16 at batch size 8" in speed.alt
    assert section.table.rows[-1] == (16, "out of memory", None, None, None)
    assert section.notes[0].startswith("1 row")
    assert section.chosen == ""


def test_steps_in_a_row_are_told_from_steps_alone_and_their_smaller_batch_is_no_cross(material):
    tried = [(8, "train", 1.0), (8, "steady", 1.5), (4, "steady", None), (8, "steady", 1.6)]
    keys = ("batch_size", "phase", "peak_bytes")
    rows = [{**dict(zip(keys, row, strict=True)), "fits": True, "seconds": 0.5} for row in tried]
    rows = [{**row, "peak_bytes": row["peak_bytes"] and row["peak_bytes"] * 2**30} for row in rows]
    section = trials(material(tried=rows))
    assert any("updates in a row" in note for note in section.notes)
    assert section.table.rows[2][:4] == ("steady", 4, "yes", None)
    peak = section.pictures[0]
    assert "train" in peak.svg
    assert "steady" in peak.svg
    assert not any("did not fit" in note for note in peak.notes)
    assert not any("updates in a row" in note for note in trials(material(tried=rows[:1])).notes)
