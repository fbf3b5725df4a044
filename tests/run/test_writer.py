import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from hf_monitor.errors import RunFolderError
from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.files import AppendFile, replace_file
from hf_monitor.run.run_json import RunJson

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses Linux' own files")


def test_a_row_is_on_disk_when_the_call_returns(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer.begin_attempt()
    for step in range(3):
        writer.row("train", step, {"loss": 1.0 / (step + 1)})
        lines = (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines()
        assert json.loads(lines[-1])["step"] == step
    assert len(lines) == 3


def test_nothing_touches_the_disk_before_the_first_row(tmp_path):
    RunWriter(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_torn_last_line_is_closed_before_the_next_row(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"kind":"train","step":1,"attempt":4,"loss":2}\n{"kind":"tra')
    writer = RunWriter(tmp_path)
    writer.row("train", 2, {"loss": 1.5})
    run = load_run(tmp_path)
    assert [row["step"] for row in run.rows] == [1, 2]
    assert run.broken_lines == {"metrics.jsonl": 1}
    assert run.rows[-1]["attempt"] == 5  # run.json was lost: the rows know how many attempts there were


def test_a_value_under_a_reserved_name_is_kept_beside_it(tmp_path):
    writer = RunWriter(tmp_path)
    values = {"step": 99, "kind": "mine", "loss": math.nan}
    writer.row("log", 1, values)
    row = load_run(tmp_path).rows[-1]
    assert (row["step"], row["kind"], row["step_"], row["kind_"]) == (1, "log", 99, "mine")
    assert math.isnan(row["loss"])
    assert values == {"step": 99, "kind": "mine", "loss": values["loss"]}


def test_a_second_attempt_appends_and_the_first_ones_facts_stay_with_it(tmp_path):
    first = RunWriter(tmp_path)
    first.begin_attempt({"seed": 1, "arguments": {"learning_rate": 0.1}})
    first.row("train", 1, {"loss": 3.0})
    second = RunWriter(tmp_path)
    second.begin_attempt({"seed": 1, "arguments": {"learning_rate": 0.2}})
    second.row("train", 1, {"loss": 2.0})
    run = load_run(tmp_path)
    assert [row["attempt"] for row in run.rows] == [1, 2]
    assert [row["loss"] for row in run.metrics] == [2.0]  # the later attempt wins
    assert run.config == {"learning_rate": 0.2}
    assert run.attempts[0]["facts"]["arguments"] == {"learning_rate": 0.1}
    assert "seed" not in run.attempts[0]["facts"]
    assert first.run_id == second.run_id


def test_run_json_holds_what_is_needed_to_run_it_again(tmp_path):
    RunWriter(tmp_path).begin_attempt({"precision": "fp32"})
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["format"] == 1
    assert facts["packages"]["torch"].startswith("2.")
    assert facts["command"]
    assert facts["precision"] == "fp32"
    assert facts["attempts"][0]["pid"] == os.getpid()


def test_a_broken_run_json_is_set_aside_not_lost(tmp_path):
    (tmp_path / "run.json").write_text('{"run_id": "ab')
    RunWriter(tmp_path).begin_attempt()
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("run.json.broken")]
    assert [path.read_text() for path in kept] == ['{"run_id": "ab']


def test_a_newer_format_is_refused_by_writer_and_reader(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 99}')
    with pytest.raises(RunFolderError, match="format 99"):
        RunWriter(tmp_path).begin_attempt()
    with pytest.raises(RunFolderError, match="format 99"):
        load_run(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text()) == {"format": 99}
    (tmp_path / "run.json").write_text('{"format": "2"}')
    for refused in (RunWriter(tmp_path).begin_attempt, lambda: load_run(tmp_path)):
        with pytest.raises(RunFolderError, match="format '2'"):
            refused()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"cannot be written.*run_dir"):
        RunWriter(tmp_path / "file" / "run").open()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_a_run_folder_that_somebody_emptied_holds_a_new_run(tmp_path, whole_folder):
    folder = tmp_path / "run"
    writer = RunWriter(folder)
    writer.begin_attempt({"seed": 1})
    writer.row("train", 1, {"loss": 1.0})
    first = writer.run_id
    if whole_folder:
        shutil.rmtree(folder)
    else:
        for path in folder.iterdir():
            path.unlink()
    # The same process trains again: its files must not be the deleted ones.
    writer.begin_attempt()
    writer.row("train", 1, {"loss": 2.0})
    run = load_run(folder)
    assert [row["loss"] for row in run.rows] == [2.0]
    assert [entry["attempt"] for entry in run.attempts] == [1]
    assert run.facts["run_id"] != first
    assert "seed" not in run.facts


def test_a_folder_emptied_during_a_run_is_filled_again_from_there_on(tmp_path, caplog):
    folder = tmp_path / "run"
    writer = RunWriter(folder)
    writer.begin_attempt({"seed": 1})
    writer.numbers("train", 1, {"loss": 1.0})
    shutil.rmtree(folder)
    RunWriter(folder).open()  # somebody attaches to it meanwhile
    for step in (2, 3):
        writer.row("eval", step, {"eval_loss": 2.0})
        writer.numbers("train", step, {"loss": 1.0})
    run = load_run(folder)
    *late, resumed = [(row["kind"], row["step"]) for row in run.rows][:2]
    assert late == [("train", 1)]  # not a second old: it was still known
    assert resumed == ("event", 1)
    assert run.events[0]["event"] == "recording_resumed"
    assert [(row["kind"], row["step"]) for row in run.rows][2:] == [
        ("eval", 2),
        ("train", 2),
        ("eval", 3),
        ("train", 3),
    ]
    assert (run.facts["seed"], run.facts["run_id"], len(run.attempts)) == (1, writer.run_id, 1)
    assert caplog.text.count("was emptied during a run") == 1


def test_a_folder_emptied_before_the_first_attempt_is_made_again(tmp_path):
    folder = tmp_path / "run"
    RunWriter(folder).begin_attempt({"seed": 1})
    writer = RunWriter(folder)
    writer.open()
    shutil.rmtree(folder)
    assert writer.begin_attempt() == 1
    assert "seed" not in load_run(folder).facts


def test_attempts_of_another_process_count(tmp_path):
    mine, other = RunWriter(tmp_path), RunWriter(tmp_path)
    assert [mine.begin_attempt(), other.begin_attempt(), mine.begin_attempt()] == [1, 2, 3]
    assert len(load_run(tmp_path).attempts) == 3


def test_a_writer_at_module_level_says_nothing_at_exit(tmp_path):
    code = (
        f"from hf_monitor import RunWriter; w = RunWriter({str(tmp_path)!r}); w.row('train', 1, {{'loss': 1.0}})\n"
        "import hf_monitor.run.files; hf_monitor.run.files.os = None  # as the interpreter may leave it\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_secrets_in_the_users_own_values_are_masked(tmp_path):
    writer = RunWriter(tmp_path)
    writer.row("log", 1, {"note": "with hf_" + "aB3" * 11, "nested": {"token": "correct horse"}, "loss": math.nan})
    row = load_run(tmp_path).rows[-1]
    assert (row["note"], row["nested"]) == ("with ***", {"token": "***"})
    assert math.isnan(row["loss"])


def test_git_facts_of_a_notebook_are_those_of_its_working_folder(tmp_path, monkeypatch):
    from hf_monitor.run.facts import git_facts

    launcher = tmp_path / "site" / "ipykernel_launcher.py"  # started from outside of any repository
    launcher.parent.mkdir()
    launcher.touch()
    project = tmp_path / "project"
    project.mkdir()
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@e.org", *arguments], cwd=project, check=True)
    monkeypatch.setattr(sys, "argv", [str(launcher)])
    monkeypatch.chdir(project)
    facts = git_facts()
    assert len(facts["commit"]) == 40
    assert facts["folder"] == str(project)


def test_git_commit_and_dirty_flag(tmp_path):
    from hf_monitor.run.facts import git_facts

    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    assert git_facts(tmp_path) is None
    git("init", "-q")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-q", "-m", "first")
    clean = git_facts(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "a.py").write_text("2")
    assert git_facts(tmp_path)["dirty"] is True


@LINUX
def test_another_process_may_write_after_a_line_of_which_a_full_disk_took_a_part(tmp_path):
    import resource

    path = tmp_path / "rows.jsonl"
    file, other = AppendFile(path), AppendFile(path)
    file.append(b'{"step":1}\n')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            file.append(b'{"step":2}\n')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    other.append(b'{"other":1}\n')
    file.flush()
    assert path.read_bytes() == b'{"step":1}\n{"st\n{"other":1}\n{"step":2}\n'


@LINUX
def test_a_full_disk_raises_once_and_the_file_is_complete_afterwards(tmp_path):
    """A limit on the file's size makes the system take a part of a line, as a nearly full disk does."""
    code = """
        import resource, signal, sys
        from hf_monitor.run.files import AppendFile
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        file = AppendFile(sys.argv[1])
        file.append(b'{"step":1}\\n')
        resource.setrlimit(resource.RLIMIT_FSIZE, (15, resource.RLIM_INFINITY))
        try:
            file.append(b'{"step":2}\\n')
        except OSError as error:
            print("refused", error.errno)
        file.append(b'{"step":3}\\n')
        print(len(file.waiting), "wait")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.flush()
        file.append(b'{"step":4}\\n')
    """
    path = tmp_path / "rows.jsonl"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(path)], capture_output=True, text=True)
    assert done.stdout.split("\n") == ["refused 27", "2 wait", ""], done.stderr
    assert path.read_bytes() == b'{"step":1}\n{"step":2}\n{"step":3}\n{"step":4}\n'


def test_threads_never_mix_their_lines(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    threads = [
        threading.Thread(target=lambda k=k: [writer.row("train", i, {"k": k, "text": "x" * 500}) for i in range(50)])
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run = load_run(tmp_path)
    assert len(run.rows) == 400
    assert run.broken_lines == {"metrics.jsonl": 0}


@LINUX
def test_a_forked_child_writes_nothing_from_copied_state(tmp_path):
    file = AppendFile(tmp_path / "rows.jsonl")
    file.append(b"1\n")
    code = os.fork()
    if code == 0:
        file.append(b"child\n")
        os._exit(0)
    os.waitpid(code, 0)
    file.append(b"2\n")
    assert (tmp_path / "rows.jsonl").read_bytes() == b"1\n2\n"


def test_replace_file_keeps_the_old_text_when_it_fails(tmp_path):
    path = tmp_path / "run.json"
    replace_file(path, b"old")
    path.with_name(f".run.json.{os.getpid()}.tmp").mkdir()  # the temporary name is taken by a folder
    with pytest.raises(OSError, match="directory"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


@LINUX
def test_a_killed_process_loses_no_row_and_its_run_reads_as_killed(tmp_path):
    code = """
        import sys, itertools
        from hf_monitor.run import RunWriter
        writer = RunWriter(sys.argv[1])
        writer.begin_attempt()
        writer.event("train_begin", 0)
        for step in itertools.count():
            writer.row("train", step, {"loss": 1.0})
            print(step, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 200:
            break
    assert load_run(tmp_path).status == "running"
    process.send_signal(signal.SIGKILL)
    told = [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    process.stdout.close()
    time.sleep(0.05)
    run = load_run(tmp_path)
    assert run.status == "killed"
    steps = [row["step"] for row in run.rows.of("train")]
    assert steps == list(range(len(steps)))
    assert len(steps) > max(told, default=200)


def test_what_a_kill_left_while_run_json_was_written_goes_at_the_next_attempt(tmp_path):
    old, new = tmp_path / ".run.json.123.tmp", tmp_path / ".run.json.124.tmp"
    for path in (old, new):
        path.write_text("{")
    os.utime(old, (1.0, 1.0))
    RunWriter(tmp_path).begin_attempt()
    assert (old.exists(), new.exists()) == (False, True)  # the new one may be somebody's at this moment


def test_attempts_that_begin_at_the_same_moment_get_numbers_of_their_own(tmp_path, monkeypatch):
    """Two scripts, one folder: the lock holds the second back between the reading of run.json and its writing."""
    read = RunJson._read

    def slowly(self):
        found = read(self)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(RunJson, "_read", slowly)
    writers = [RunWriter(tmp_path / "run") for _ in range(3)]
    threads = [threading.Thread(target=writer.begin_attempt) for writer in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(writer.attempt for writer in writers) == [1, 2, 3]
    assert [entry["attempt"] for entry in load_run(tmp_path / "run").attempts] == [1, 2, 3]
