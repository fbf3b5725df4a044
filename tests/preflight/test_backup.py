"""A run in one archive: whole or not there at all, the same bytes each time, and a run folder again when unpacked."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_monitor import RunWriter, load_run
from hf_monitor.cli import main
from hf_monitor.diagnosis.checkpoint_files import checkpoint_files_problem
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.loggers.mirror.identity import MirroredRun, put
from hf_monitor.preflight import backup_archive
from hf_monitor.preflight.backup_archive import backup
from hf_monitor.preflight.backup_manifest import MANIFEST, SUMS, verify_backup
from hf_monitor.preflight.checkpoints import Checkpoints


def names_in(archive):
    with zipfile.ZipFile(archive) as file:
        return [name.split("/", 1)[1] for name in file.namelist()]


def read(archive, name):
    with zipfile.ZipFile(archive) as file:
        return next(file.read(one) for one in file.namelist() if one.split("/", 1)[1] == name)


def manifest_of(archive):
    return json.loads(read(archive, MANIFEST))


@pytest.fixture
def running(tmp_path):
    """A run that this process is still writing."""
    writer = RunWriter(tmp_path / "out" / "monitor")
    writer.begin_attempt({"max_steps": 10})
    writer.event("train_begin", 0)
    for step in range(1, 4):
        writer.row("train", step, {"loss": 1.0})
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The archive of a small run that has ended."""
    folder = tmp_path_factory.mktemp("small") / "monitor"
    writer = RunWriter(folder)
    writer.begin_attempt({})
    writer.event("train_begin", 0)
    writer.row("train", 1, {"loss": 1.0})
    writer.event("train_end", 1)
    writer.close()
    (folder / "train.log").write_text("one line\n" * 50)
    (folder / "plots").mkdir()
    (folder / "plots" / "06_training_history.png").write_bytes(bytes(range(256)))
    return backup(folder)


def test_an_unpacked_backup_is_a_run_folder_with_the_same_rows(trained, tmp_path):
    archive = backup(trained, tmp_path)
    assert archive.name == f"{trained.name}-{load_run(trained).facts['run_id']}.zip"
    assert verify_backup(archive) == []
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (top,) = (tmp_path / "unpacked").iterdir()
    before, after = load_run(trained), load_run(top)
    assert after.path == top / "monitor"
    assert list(after.rows) == list(before.rows)
    assert list(after.predictions) == list(before.predictions)
    assert list(after.system) == list(before.system)
    assert (after.facts, after.ending) == (before.facts, before.ending)
    pictures = sorted(path.name for path in (trained / "monitor" / "plots").iterdir())
    assert sorted(path.name for path in (top / "monitor" / "plots").iterdir()) == pictures
    assert pictures
    assert not list(top.glob("checkpoint-*"))


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_sha256sum_checks_an_unpacked_backup(small, tmp_path):
    shutil.unpack_archive(small, tmp_path)
    (top,) = tmp_path.iterdir()
    check = ["sha256sum", "--check", "--strict", SUMS]
    done = subprocess.run(check, cwd=top, capture_output=True, text=True, check=True)
    assert "MANIFEST.json: OK" in done.stdout
    (top / "monitor" / "train.log").write_text("another line\n")
    assert subprocess.run(check, cwd=top, capture_output=True, check=False).returncode == 1


def test_the_manifest_comes_first_and_says_what_each_file_is(small):
    assert names_in(small)[:2] == [MANIFEST, SUMS]
    manifest = manifest_of(small)
    assert (manifest["format"], manifest["status"], manifest["running"]) == (1, "finished", False)
    assert manifest["when"] == load_run(small.parent).rows[-1]["time"]
    kinds = {one["path"]: one["kind"] for one in manifest["files"]}
    assert kinds == {
        "monitor/metrics.jsonl": "source",
        "monitor/plots/06_training_history.png": "derived",
        "monitor/run.json": "source",
        "monitor/train.log": "source",
    }


def test_packed_twice_it_has_the_same_bytes(trained, tmp_path):
    first = backup(trained, tmp_path / "a.zip", checkpoints="best").read_bytes()
    assert backup(trained, tmp_path / "b.zip", checkpoints="best").read_bytes() == first


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_times_of_files_are_kept(small, tmp_path):
    subprocess.run(["unzip", "-q", small, "-d", tmp_path], check=True)
    (log,) = tmp_path.glob("*/monitor/train.log")
    assert log.stat().st_mtime == int((small.parent / "monitor" / "train.log").stat().st_mtime)


@pytest.mark.parametrize(("which", "steps"), [("best", [4]), ("all", [2, 4])])
def test_checkpoints_are_packed_so_that_a_training_resumes_from_them(trained, tmp_path, which, steps):
    archive = backup(trained, tmp_path, checkpoints=which)
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    (top,) = (tmp_path / "unpacked").iterdir()
    found = Checkpoints(load_run(top))
    assert [one.step for one in found.own] == steps
    assert found.best.step == 4
    for one in found.own:
        assert checkpoint_files_problem(one.path) is None
        assert (one.path / "optimizer.pt").exists()
        assert not (one.path / "training_args.bin").exists()  # may hold a token
    assert [one["path"] for one in manifest_of(archive)["left_out"]] == [
        f"checkpoint-{step}/training_args.bin" for step in steps
    ]


def test_a_run_without_checkpoints_says_so_where_they_are_asked_for(small):
    with pytest.raises(InputError, match=r"there is no best checkpoint to pack: .*of this run there: none"):
        backup(small.parent, small.with_name("other.zip"), checkpoints="best")
    with pytest.raises(InputError, match=r"there is no checkpoint to pack .*--output_dir \(in Python output_dir=\)"):
        backup(small.parent, small.with_name("other.zip"), checkpoints="all")
    with pytest.raises(InputError, match="checkpoints must be one of none, best, all, got 'last'"):
        backup(small.parent, checkpoints="last")


def test_a_best_checkpoint_that_was_deleted_is_named_and_the_others_are_offered(copied, tmp_path):
    shutil.copy(copied / "checkpoint-4" / "trainer_state.json", copied / "checkpoint-2")
    shutil.rmtree(copied / "checkpoint-4")
    with pytest.raises(InputError, match=r"was checkpoint-4, and it is not there any more.*--checkpoints all"):
        backup(copied, tmp_path / "x.zip", checkpoints="best")
    assert not (tmp_path / "x.zip").exists()


def test_an_archive_that_is_there_is_replaced_only_when_asked(small, tmp_path):
    target = tmp_path / "run.zip"
    target.write_text("precious")
    with pytest.raises(InputError, match="exists"):
        backup(small.parent, target)
    assert target.read_text() == "precious"
    backup(small.parent, target, overwrite=True)
    assert verify_backup(target) == []


def test_a_name_or_a_place_that_does_not_do_is_said(small, tmp_path):
    with pytest.raises(InputError, match=r"must end with \.zip, got 'run\.tar\.gz'"):
        backup(small.parent, tmp_path / "run.tar.gz")
    with pytest.raises(InputError, match="there is no folder"):
        backup(small.parent, tmp_path / "nowhere" / "run.zip")


def test_within_the_run_folder_it_does_not_hold_itself_nor_what_others_put_there(running):
    folder = running.run_dir
    (folder / ".env").write_text("WANDB_API_KEY=secret")
    (folder / "notes.txt").write_text("mine")
    (folder / "signals").mkdir(exist_ok=True)
    (folder / "signals" / "rank0.SIGTERM.txt").touch()
    (folder / "signals" / "rank0.fault.txt").write_text("Fatal Python error")
    first = backup(folder, folder)
    second = backup(folder, folder / "second.zip")
    for archive in (first, second):
        assert names_in(archive)[2:] == ["monitor/metrics.jsonl", "monitor/run.json", "monitor/signals/rank0.fault.txt"]
    assert {one["path"] for one in manifest_of(second)["left_out"]} == {"monitor/notes.txt", f"monitor/{first.name}"}


def test_what_wandb_sync_needs_is_packed_and_links_to_checkpoints_are_not(running, tmp_path):
    folder = running.run_dir
    put(folder, MirroredRun("sent", (1,), mode="online", state="finished"))
    put(folder, MirroredRun("cut", (2,), mode="online", state="running"))
    put(folder, MirroredRun("off", (3,), mode="offline", state="finished"))
    (folder / "wandb.jsonl").write_text('{"do": "summary"}\n')
    names = ["media/chart.png", "wandb/staging/checkpoint-1/model.safetensors", "wandb/cache/x", "wandb/debug.log"]
    kept = ["media/chart.png", "wandb.json", "wandb.jsonl", "wandb/told.jsonl"]
    names.append("wandb/told.jsonl")
    for name in ("run-20261126_111604-sent", "run-20261126_111604-cut", "offline-run-20261126_111604-off"):
        inner = [f"wandb/{name}/{one}" for one in (f"run-{name[-4:]}.wandb", "files/media/table/a.json")]
        names += [*inner, f"wandb/{name}/files/diff.patch", f"wandb/{name}/logs/debug.log"]
        kept += [] if name.endswith("sent") else inner
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "wandb" / "latest-run").symlink_to("run-20261126_111604-cut")
    archive = backup(folder, tmp_path)
    packed = {name.removeprefix("monitor/") for name in names_in(archive)[2:]}
    assert packed - {"metrics.jsonl", "run.json"} - {one for one in packed if one.startswith("signals")} == set(kept)
    left = {one["path"].removeprefix("monitor/wandb/"): one["reason"] for one in manifest_of(archive)["left_out"]}
    assert {"staging", "cache", "latest-run", "run-20261126_111604-sent"} <= left.keys()
    assert "--checkpoints" in left["staging"]


def test_links_are_followed_only_within_the_folder(running, tmp_path):
    plots = running.run_dir / "plots"
    plots.mkdir()
    (plots / "a.png").write_bytes(b"a")
    (plots / "b.png").symlink_to("a.png")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (plots / "c.png").symlink_to(tmp_path / "secret.png")
    (plots / "inner").symlink_to(tmp_path)
    archive = backup(running.run_dir, tmp_path)
    assert [name for name in names_in(archive) if "plots" in name] == ["monitor/plots/a.png", "monitor/plots/b.png"]
    assert read(archive, "monitor/plots/b.png") == b"a"
    assert [one["path"] for one in manifest_of(archive)["left_out"]] == ["monitor/plots/c.png", "monitor/plots/inner"]


def once(action, monkeypatch):
    """Let something happen between the two looks at the files."""
    real, calls = backup_archive.pieces, []

    def pieces(member):
        calls.append(member.path)
        if len(calls) == 1:
            action()
        return real(member)

    monkeypatch.setattr(backup_archive, "pieces", pieces)


def test_of_a_run_that_goes_on_whole_rows_are_packed_up_to_the_first_look(running, tmp_path, monkeypatch):
    def append(text):
        with (running.run_dir / "metrics.jsonl").open("a") as file:
            file.write(text)

    append('{"half of a')
    once(lambda: append(' row": 1}\n'), monkeypatch)
    archive = backup(running.run_dir, tmp_path)
    assert verify_backup(archive) == []
    lines = read(archive, "monitor/metrics.jsonl").splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3]
    assert all(line.endswith(b"\n") for line in lines)
    manifest = manifest_of(archive)
    assert (manifest["running"], manifest["status"], manifest["step"]) == (True, "running", 3)


def test_a_file_that_is_replaced_meanwhile_is_packed_as_it_is_then(running, tmp_path, monkeypatch):
    once(lambda: running.update_facts({"news": 1}), monkeypatch)
    archive = backup(running.run_dir, tmp_path)
    assert verify_backup(archive) == []
    assert json.loads(read(archive, "monitor/run.json"))["news"] == 1


def test_files_that_never_stay_the_same_are_no_backup(running, tmp_path, monkeypatch):
    real = backup_archive.pieces
    count = iter(range(100))

    def pieces(member):
        running.update_facts({"news": next(count)})
        return real(member)

    monkeypatch.setattr(backup_archive, "pieces", pieces)
    with pytest.raises(RunFolderError, match=r"changed while it was packed, 3 times \(monitor/run\.json\)"):
        backup(running.run_dir, tmp_path / "run.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_full_disk_leaves_nothing_and_says_so(small, tmp_path):
    (tmp_path / "monitor").mkdir()
    shutil.copy(small.parent / "monitor" / "run.json", tmp_path / "monitor")
    (tmp_path / "monitor" / "metrics.jsonl").write_bytes(os.urandom(60_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(
            RunFolderError, match=f"cannot be written to .*{os.strerror(errno.EFBIG)}.*Nothing was left"
        ):
            backup(tmp_path, tmp_path / "run.zip")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["monitor"]


def test_ctrl_c_leaves_nothing(small, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    once(interrupt, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        backup(small.parent, tmp_path / "run.zip")
    assert list(tmp_path.iterdir()) == []


def contents(path):
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found_or_changes_no_file(small, tmp_path_factory, place, bit):
    data = bytearray(small.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    damaged = tmp_path_factory.getbasetemp() / "flipped.zip"
    damaged.write_bytes(data)
    if not verify_backup(damaged):  # a time, a mode
        assert contents(damaged) == contents(small)


def repacked(source, target, change):
    """Write an archive anew, with other contents: as somebody would who knows how zip works."""
    files = contents(source)
    change(files, next(iter(files)).split("/")[0])
    with zipfile.ZipFile(target, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return verify_backup(target)


def test_missing_added_and_changed_files_are_named(small, tmp_path):
    def change(files, top):
        del files[f"{top}/monitor/train.log"]
        files[f"{top}/monitor/metrics.jsonl"] += b"\n"
        files[f"{top}/monitor/run.json"] = files[f"{top}/monitor/run.json"].replace(b"1", b"2")
        files[f"{top}/more.txt"] = files["outside.txt"] = b""

    assert repacked(small, tmp_path / "a.zip", change) == [
        "monitor/train.log is missing.",
        "outside.txt is not in the manifest: it was added.",
        "more.txt is not in the manifest: it was added.",
        f"monitor/metrics.jsonl has {len(read(small, 'monitor/metrics.jsonl')) + 1} bytes, it was packed with "
        f"{len(read(small, 'monitor/metrics.jsonl'))}.",
        "monitor/run.json is damaged: its checksum is another one.",
    ]


def test_a_manifest_that_was_changed_does_not_agree_with_the_checksums(small, tmp_path):
    def change(files, top):
        files[f"{top}/{MANIFEST}"] = files[f"{top}/{MANIFEST}"].replace(b'"finished"', b'"crashed"')

    assert repacked(small, tmp_path / "a.zip", change) == ["SHA256SUMS is damaged, or does not belong to the manifest."]


def test_what_is_no_backup_is_said(small, tmp_path):
    cut = tmp_path / "cut.zip"
    cut.write_bytes(small.read_bytes()[:-30])
    assert "is no zip archive, or was cut off" in verify_backup(cut)[0]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a.txt", "a")
    assert "its first entry is not MANIFEST.json" in verify_backup(tmp_path / "other.zip")[0]
    with pytest.raises(InputError, match="there is no backup"):
        verify_backup(tmp_path / "none.zip")


def test_the_command_packs_and_verifies(trained, tmp_path, capsys):
    target = tmp_path / "run.zip"
    assert main(["backup", str(trained), "-o", str(target), "--checkpoints", "best", "--verify"]) == 0
    said = capsys.readouterr().out
    assert str(target) in said
    assert f"run {load_run(trained).facts['run_id']}, finished (step 4); " in said
    assert "files, checkpoint-4; 1 left out, see MANIFEST.json." in said
    assert main(["backup", str(target), "--verify", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["archive"], found["verified"], found["problems"]) == (str(target), True, [])
    assert main(["check", str(target)]) == 2
    assert "is an archive; a run is a folder. Unpack it" in capsys.readouterr().err
    shutil.unpack_archive(target, tmp_path / "unpacked")
    assert main(["check", str(tmp_path / "unpacked")]) == 2
    (top,) = (tmp_path / "unpacked").iterdir()
    assert f"has runs in it. Pass one: {str(top)!r}." in capsys.readouterr().err
    assert main(["backup", str(trained), "-o", str(target)]) == 2
    assert "exists" in capsys.readouterr().err
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    assert main(["backup", str(target), "--verify"]) == 1
    assert "is damaged" in capsys.readouterr().out
    assert main(["backup", str(tmp_path / "nothing")]) == 2
