"""The benchmark measures, refuses and reports; how fast anything is, is no matter here."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import untraced

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_callbacks.py"


@pytest.fixture
def bench():
    spec = importlib.util.spec_from_file_location("bench_callbacks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_callbacks"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["bench_callbacks"]


@pytest.mark.parametrize("name", ["noop", "file_logging", "default_callbacks"])
def test_a_measurement_is_sane(bench, name, tmp_path, capfd):
    found = bench.measure(name, tmp_path, steps=20, warmup_steps=3, probes=2)
    assert json.loads(json.dumps(found)) == found
    assert (found["name"], found["status"], found["steps"]) == (name, "ok", 20)
    for kind in ("logged_us", "unlogged_us"):
        assert 0 < found[kind]["median"] <= found[kind]["p99"]
    if name == "noop":
        assert found["on_disk_after_ms"] == []
        assert list(tmp_path.iterdir()) == []
        return
    assert found["on_disk_after_ms"] == [0.0, 0.0]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == [*range(1, 46, 2), 47, 48, 49]  # every other of 2 * 23, then the probes
    log = (tmp_path / "run" / "train.log").read_text().splitlines()
    assert sum("  loss " in line for line in log) == len(steps)
    (end,) = [number for number, line in enumerate(log) if "training ended" in line]
    assert all("loss" not in line for line in log[end:])  # after it come findings, if any


def test_the_printer_is_beside_it_when_asked(bench, tmp_path, capfd):
    bench.measure("file_logging", tmp_path, steps=3, warmup_steps=0, probes=0, printer=True)
    assert capfd.readouterr().out.count("'loss'") == 3 + 1  # the last one waits for what is queued
    assert "'loss'" not in (tmp_path / "run" / "train.log").read_text()


def test_a_line_that_is_not_on_the_disk_is_noticed(bench, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    row = b'{"step":7,"loss":1.5,"kind":"train"}\n'
    (folder / "metrics.jsonl").write_bytes(row)
    (folder / "train.log").write_bytes(b"2026-01-01 00:00:00,000 INFO  step 7/9  loss 1.5\n")
    there = bench._both_files_end_with
    assert there(tmp_path, 7, 1.5)
    assert not there(tmp_path, 8, 1.5)
    assert not there(tmp_path, 7, 2.5)
    (folder / "metrics.jsonl").write_bytes(row[:-1])
    assert not there(tmp_path, 7, 1.5)
    (folder / "metrics.jsonl").write_bytes(row)
    (folder / "train.log").write_bytes(b"2026-01-01 00:00:00,000 INFO  step 6/9  loss 1.5\n")
    assert not there(tmp_path, 7, 1.5)
    assert bench._look_until_there(there, tmp_path, 7, 1.5, 0.02) is None


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_the_value_of_a_peer_is_searched_in_all_its_files(bench, name, tmp_path):
    import sqlite3
    import struct

    loss = 7.01234567
    check = bench.SUBJECTS[name].check
    assert not check(tmp_path, 1, loss)
    (tmp_path / "deep").mkdir()
    if name == "tensorboard":
        (tmp_path / "deep" / "events").write_bytes(b"\x15" + struct.pack("<f", loss))
    elif name == "wandb":
        (tmp_path / "deep" / "run.wandb").write_bytes(b"\x00" + json.dumps(loss).encode() + b"\x00")
    else:
        with sqlite3.connect(tmp_path / "deep" / "a.db") as database:
            database.execute("create table metrics (value, text)")
            database.execute("insert into metrics values (?, ?)", (loss if name == "mlflow" else 0, json.dumps([loss])))
        database.close()
    assert check(tmp_path, 1, loss)
    assert not check(tmp_path, 1, loss + 1e-6)


@pytest.mark.parametrize("option", ["--only", "--worker"])
def test_an_unknown_name_is_refused(bench, option, capsys):
    with pytest.raises(SystemExit) as exit_:
        bench.main([option, "nosuch"])
    assert exit_.value.code == 2
    said = capsys.readouterr().err
    assert "'nosuch'" in said
    assert "file_logging" in said


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--rounds", "0"], ["--dir", "/no/such/folder"]])
def test_other_nonsense_is_refused(bench, arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        bench.main(arguments)
    assert exit_.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_missing_peer_is_a_line_of_the_table(bench, monkeypatch, capsys, tmp_path):
    subject = replace(bench.SUBJECTS["trackio"], package="no-such-peer")
    monkeypatch.setitem(bench.SUBJECTS, "trackio", subject)
    assert bench.main(["--only", "trackio", "--rounds", "2", "--json", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr()
    line = next(line for line in printed.out.splitlines() if "TrackioCallback" in line)
    assert "not installed: pip install no-such-peer" in line
    assert printed.err.count("not installed") == 1  # and it is not tried again
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert rows[0]["error"] == "not installed: pip install no-such-peer"


def test_processes_of_their_own_a_failing_peer_and_the_table(tmp_path):
    """The real thing, as small as it gets: one round, one peer that cannot even be imported."""
    broken = tmp_path / "broken"
    (broken / "trackio").mkdir(parents=True)
    (broken / "trackio" / "__init__.py").write_text("raise RuntimeError('boom\\nand more')\n")
    command = [
        sys.executable,
        str(SCRIPT),
        "--only",
        "file_logging,trackio",
        "--json",
        str(tmp_path / "found.json"),
    ]
    command += ["--steps", "5", "--rounds", "1", "--warmup-rounds", "0", "--warmup-steps", "1", "--dir", str(tmp_path)]
    done = subprocess.run(
        command,
        env={**untraced.ENVIRONMENT, "PYTHONPATH": str(broken)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["file_logging", "trackio"]
    assert rows["trackio"]["error"] == "RuntimeError: boom and more"
    assert rows["file_logging"]["on_disk"] == "row and log line: 5 of 5"
    assert rows["file_logging"]["ratio"] == 1.0
    assert found["machine"]["load_average_before"]
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1  # aligned
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken", "found.json"]  # nothing stays behind


def test_refreshes_of_the_charts_are_measured(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "WATCHED_S", 0.02)
    assert bench.main(["--plotting", "2", "--dir", str(tmp_path), "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    for name in ("refresh_us", "log_us", "pause_us", "pause_without_us"):
        assert 0 < found[name]["median"] <= found[name]["p99"] <= found[name]["max"]
    assert found["end_ms"] > 0
    assert "2 refreshes, beside 0.0 GiB" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_summary_takes_medians_over_the_rounds(bench):
    def result(name, logged, unlogged):
        spread = {"logged_us": {"median": logged, "p99": 2 * logged}, "unlogged_us": {"median": unlogged, "p99": 9.0}}
        return {"name": name, "status": "ok", "begin_ms": 1.0, "end_ms": 2.0, "on_disk_after_ms": [], **spread}

    found = {
        "noop": [result("noop", 4.0, 2.0), result("noop", 5.0, 3.0), result("noop", 90.0, 80.0)],
        "file_logging": [result("file_logging", value, 4.0) for value in (20.0, 10.0, 70.0)],
        "trackio": [
            {**result("trackio", value, 3.0), "on_disk_after_ms": [0.0, None, 500.0]} for value in (10.0, 10.0, 10.0)
        ],
    }
    rows = {row["name"]: row for row in bench.summarize(found)}
    assert rows["noop"]["logged_us"]["median"] == 5.0
    assert rows["noop"]["logged_us"]["p99"] == 10.0
    assert rows["file_logging"]["logged_us"]["over_noop"] == 15.0
    assert rows["file_logging"]["unlogged_us"]["over_noop"] == 1.0
    assert rows["trackio"]["ratio"] == 0.5
    assert rows["trackio"]["on_disk"] == "no: 3 of 9, 3 after 500 ms (median), 3 not within 1 s"
    said = bench.verdict(list(rows.values()))
    assert "+15.0 us a logged step" in said
    assert "+6.0 between the quietest rounds" in said
    assert "behind TrackioCallback (local)" in said
    both = bench.summarize(
        {**found, "wandb_ours": [result("wandb_ours", 9.0, 3.0)], "wandb": [result("wandb", 95.0, 3.0)]}
    )
    said = bench.verdict(both)
    assert "W&B: ours +4.0 us a logged step, transformers' +90.0" in said
    assert "behind TrackioCallback (local);" in said  # ours is no peer of ours


def test_our_wandb_callback_is_looked_for_in_the_wandb_file_alone(bench, tmp_path):
    check = bench.SUBJECTS["wandb_ours"].check
    (tmp_path / "metrics.jsonl").write_text("7.01234567")
    assert not check(tmp_path, 1, 7.01234567)
    (tmp_path / "run.wandb").write_bytes(b"\x0a7.01234567\x12")
    assert check(tmp_path, 1, 7.01234567)
