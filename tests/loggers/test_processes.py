"""Forked and spawned processes, threads, and the end of them all."""

import os
import re
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from hf_monitor.run.files import AppendFile

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes of POSIX")

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)")


def texts(path):
    lines = Path(path).read_bytes().decode().split("\n")
    assert lines.pop() == ""
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [match[1] for match in matches]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


@pytest.fixture
def run(path, tmp_path):
    """Run code as a script, in a process whose streams are pipes; a hang is an error."""

    def run(code, code_wanted=0):
        script = tmp_path / "script.py"
        begin = "import ctypes, multiprocessing, os, sys, threading, time\nfrom hf_monitor.loggers import Logger\n"
        script.write_text(f"{begin}PATH = {str(path)!r}\n{textwrap.dedent(code)}")
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code_wanted, (done.returncode, done.stderr)
        return done

    return run


@pytest.mark.parametrize("capture_fd", [False, True])
def test_children_of_every_kind_and_every_end(path, run, capture_fd):
    done = run(
        f"""
        def child(name, end):
            sys.stdout.write(f"child {{name}} {{end}}\\n"); sys.stdout.flush()
            ctypes.CDLL(None).dprintf(1, b"c of %s %s\\n", name.encode(), end.encode())
            if end == "exception":
                raise OSError(f"raised by {{name}}")
            if end == "os._exit":
                os._exit(5)
            if end == "sys.exit":
                sys.exit(6)

        if __name__ == "__main__":
            from tqdm import tqdm
            logger = Logger(PATH, print_also=False, capture_fd={capture_fd}, progress_interval_seconds=60)
            logger.start_redirect()
            print("half of the parent's", end="")
            bar = tqdm(total=7, desc="bar")
            bar.update(3)
            codes = []
            for name in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(name)
                children = [context.Process(target=child, args=(name, end))
                            for end in ("return", "exception", "os._exit", "sys.exit")]
                for process in children:
                    process.start()
                for process in children:
                    process.join(30)
                codes += [process.exitcode for process in children]
            assert codes == [0, 1, 5, 6] * 3, codes
            bar.close()
            print(" line")
            sys.exit(9)
    """,
        9,
    )
    log = Counter(texts(path))
    for name in ("fork", "spawn", "forkserver"):
        for end in ("return", "exception", "os._exit", "sys.exit"):
            # what a forked child prints is seen there; what others do goes only by way of the descriptors
            assert log[f"child {name} {end}"] == int(capture_fd or name == "fork")
            assert log[f"c of {name} {end}"] == int(capture_fd)
            assert done.stdout.count(f"child {name} {end}\n") == 1
            assert done.stdout.count(f"c of {name} {end}\n") == 1
        assert log[f"OSError: raised by {name}"] == int(capture_fd or name == "fork")
        assert done.stderr.count(f"OSError: raised by {name}\n") == 1
    assert log["half of the parent's line"] == 1
    assert done.stdout.count("half of the parent's") == 1
    assert sum(line.startswith("bar:") for line in log) == 1


def test_a_forked_child_leaves_the_bars_of_its_parent_alone(path, run):
    done = run("""
        from tqdm import tqdm
        logger = Logger(PATH, progress_interval_seconds=60)
        logger.start_redirect()
        bar = tqdm(total=4, desc="bar")
        bar.update(2); bar.refresh()
        locked, release = threading.Event(), threading.Event()
        def hold():
            with tqdm.get_lock().locks[1]:
                locked.set(); release.wait()
        threading.Thread(target=hold, daemon=True).start()
        locked.wait()
        pid = os.fork()
        if pid == 0:
            logger.write("own of the child")
            logger.warning("warning of the child")
            sys.exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
        release.set()
        bar.update(2); bar.close()
    """)
    log = texts(path)
    [bar] = [line for line in log if line.startswith("bar:")]
    assert bar.startswith("bar: 100%")
    log.remove(bar)
    assert log == ["own of the child", "warning of the child"]
    assert done.stderr.count("50%") == 1


@pytest.mark.parametrize("capture_fd", [False, True])
def test_forks_beside_threads_that_log(path, run, capture_fd):
    done = run(f"""
        import logging
        from hf_monitor.run.files import AppendFile
        logger = Logger(PATH, print_also=False, capture_fd={capture_fd})
        rows = AppendFile(PATH + ".rows")
        stop, begun = threading.Event(), threading.Event()
        counts = [0] * 3

        def work(number):
            while not stop.is_set():
                i = counts[number]
                sys.stdout.write(f"thread {{number}} {{i}}\\n"); sys.stdout.flush()
                logger.write(f"own {{number}} {{i}}")
                logging.getLogger("lib").warning("record %d %d", number, i)
                rows.append(b"%d %d\\n" % (number, i))
                counts[number] += 1
                begun.set()

        with logger:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            begun.wait()
            pids = []
            for number in range(25):
                pid = os.fork()
                if pid == 0:
                    sys.stdout.write(f"child {{number}}\\n"); sys.stdout.flush()
                    logger.write(f"own of child {{number}}")
                    rows.append(b"never\\n")
                    rows.refresh()
                    rows.close()
                    os.write(1, b"descriptor %d\\n" % number)
                    os._exit(3)
                pids.append(pid)
                time.sleep(0.01)
            for pid in pids:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            stop.set()
            for thread in threads:
                thread.join()
        print(counts, file=sys.stderr)
    """)
    counts = [int(count) for count in re.findall(r"\d+", done.stderr.splitlines()[-1])]
    expected = Counter(
        f"{what} {number} {i}"
        for number, count in enumerate(counts)
        for i in range(count)
        for what in ("thread", "own", "lib: record")
    )
    expected.update(f"{what} {number}" for number in range(25) for what in ("child", "own of child"))
    if capture_fd:
        expected.update(f"descriptor {number}" for number in range(25))
    assert Counter(texts(path)) == expected
    rows = Path(f"{path}.rows").read_text().splitlines()
    assert Counter(rows) == Counter(f"{number} {i}" for number, count in enumerate(counts) for i in range(count))
    shown = Counter(done.stdout.splitlines())
    assert shown == Counter(
        {line: 1 for line in expected if line.startswith(("thread", "child"))}
        | {f"descriptor {number}": 1 for number in range(25)}
    )


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12's, about any fork
def test_a_fork_while_a_thread_appends_a_row(tmp_path):
    file = AppendFile(tmp_path / "metrics.jsonl")
    for opened in (False, True):
        with file._lock:  # as a thread in append() would hold it
            file._pid = os.getpid() if opened else -1
            if not opened:
                continue
            pid = os.fork()
            if pid == 0:
                file.append(b"never\n")
                file.refresh()
                file.close()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    file.append(b"row\n")
    assert file.path.read_bytes() == b"row\n"
    file.close()


def test_a_forked_child_does_not_repeat_what_waits_in_its_parent(path, run):
    run("""
        logger = Logger(PATH, print_also=False)
        logger.write("one")
        real, os.write = os.write, lambda fd, data: os.close(-1)
        logger.write("lost")
        os.write = real
        pid = os.fork()
        if pid == 0:
            logger.write("child")
            os._exit(0)
        os.waitpid(pid, 0)
        logger.write("two")
    """)
    assert texts(path) == ["one", "child", "lost", "two"]  # it waited in the parent, and came once


@pytest.mark.parametrize("capture_fd", [False, True])
def test_daemon_threads_at_exit_hold_no_lock_for_ever(path, run, capture_fd):
    code = f"""
        import gc, io
        class Late:
            def __del__(self):
                print("late")
                logger.write("own late")

        def work():
            while True:
                logger.write("own " + "y" * 5000)
                print("x" * 5000, file=sys.stderr)

        sys.stderr = io.StringIO()
        logger = Logger(PATH, print_also=False, capture_fd={capture_fd})
        logger.start_redirect()
        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
        gc.set_threshold(0)
        late = Late()
        late.itself = late  # found by the last collection, when the other threads have stopped
        del late
        sys.exit(5)
    """
    for _ in range(6):
        path.unlink(missing_ok=True)
        run(code, 5)
        log = Counter(texts(path))
        assert log["late"] == log["own late"] == 1


def test_a_forked_child_that_redirects_by_itself(path, run):
    done = run("""
        logger = Logger(PATH, print_also=False, capture_fd=True)
        logger.start_redirect()
        own = Logger(PATH + ".own", print_also=False, capture_fd=True)
        print("parent")
        from hf_monitor.loggers import fd_capture
        locked, release = threading.Event(), threading.Event()
        def hold():
            with fd_capture._lock:
                locked.set(); release.wait()
        threading.Thread(target=hold, daemon=True).start()
        locked.wait()
        pid = os.fork()
        if pid == 0:
            logger.stop_redirect()
            with own:
                print("python of the child")
                ctypes.CDLL(None).dprintf(1, b"c of the child\\n")
            print("after")
            ctypes.CDLL(None).dprintf(1, b"c after\\n")
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        pid = os.fork()
        if pid == 0:
            with own:
                print("second child")
                ctypes.CDLL(None).dprintf(1, b"c of the second\\n")
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        release.set()
        ctypes.CDLL(None).dprintf(1, b"c of the parent\\n")
        print("parent again")
    """)
    assert texts(path) == ["parent", "second child", "c of the parent", "parent again"]
    assert texts(f"{path}.own") == ["python of the child", "c of the child", "second child", "c of the second"]
    assert done.stdout.splitlines() == [
        *["parent", "python of the child", "c of the child", "after", "c after", "second child", "c of the second"],
        *["c of the parent", "parent again"],
    ]


@pytest.mark.parametrize("capture_fd", [False, True])
def test_a_data_set_mapped_by_two_processes(path, run, capture_fd):
    done = run(
        f"""
        import datasets

        def work(row):
            sys.stdout.write(f"row {{row['i']}}\\n"); sys.stdout.flush()
            return {{"j": row["i"] + 1}}

        if __name__ == "__main__":
            data = datasets.Dataset.from_dict({{"i": list(range(20))}})
            with Logger(PATH, print_also=False, capture_fd={capture_fd}, progress_interval_seconds=60):
                mapped = data.map(work, num_proc=2, desc="mapping")
            assert sorted(mapped["j"]) == list(range(1, 21))
            sys.exit(4)
    """,
        4,
    )
    log = Counter(texts(path))
    assert {line: count for line, count in log.items() if line.startswith("row")} == {f"row {i}": 1 for i in range(20)}
    assert sum("mapping" in line and "20/20" in line for line in log) == 1
    assert sum("mapping" in line for line in log.elements()) <= 2
    assert Counter(re.findall("row [0-9]+", done.stdout)) == {f"row {i}": 1 for i in range(20)}
