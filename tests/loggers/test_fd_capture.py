"""Output of C code and of subprocesses, in real processes of their own."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pytest

from hf_monitor.errors import InputError
from hf_monitor.loggers import Logger

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors of POSIX")

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)")
BEGIN = """
import ctypes, logging, os, signal, subprocess, sys, threading, time
from hf_monitor.loggers import Logger
libc = ctypes.CDLL(None)

def puts(text, flush=True):
    libc.puts(text.encode())
    if flush:
        libc.fflush(None)
"""


def messages(path):
    lines = Path(path).read_bytes().decode().split("\n")
    assert lines.pop() == ""
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [(match[1].strip(), match[2]) for match in matches]


def texts(path):
    return [message for _, message in messages(path)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


@pytest.fixture
def run(path):
    """Run code in a process; its streams are pipes."""

    def run(code, *, code_wanted=0, script=None, **options):
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, *([script] if script else ["-c", source(code, path)])],
            **({"capture_output": True, "text": True, "timeout": 60, "check": False} | options),
            env=env | {"PUMP_OF": str(path)},
        )
        done.seconds = time.monotonic() - started
        assert done.returncode == code_wanted, (done.returncode, done.stderr)
        return done

    return run


def source(code, path):
    return f"PATH = {str(path)!r}{BEGIN}{textwrap.dedent(code)}"


def wait_for(condition, seconds=10.0):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return found


def pumps_of(path):
    """Process numbers of the pumps that processes of this test have started."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"fd_pump" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] if f"PUMP_OF={path}".encode() in (entry / "environ").read_bytes() else []
        except OSError:
            continue
    return found


def test_all_ways_to_the_console_come_once_and_in_order(path, run):
    done = run("""
        puts("before")
        logger = Logger(PATH, capture_fd=True)
        logger.start_redirect()
        for i in range(20):
            puts(f"c {i}")
            print("python", i, flush=True)
            os.write(1, b"descriptor %d\\n" % i)
            logger.write(f"own {i}")
            sys.stdout.buffer.write(b"buffer %d\\n" % i); sys.stdout.flush()
            sys.stdout.writelines([f"lines {i}\\n"])
            sys.stdout.flush()
            subprocess.run(["sh", "-c", f"echo child {i}; printf 50%%; printf '\\\\r100%%\\n'"])
            logging.getLogger("lib").warning("record %d", i)  # shown by logging's last resort
            os.write(2, b"Traceback (most recent call last):\\n  File\\nError: of a child\\n")
        logger.stop_redirect()
        puts("after")
    """)

    expected, shown = [], []
    for i in range(20):
        out = [f"c {i}", f"python {i}", f"descriptor {i}", f"own {i}", f"buffer {i}", f"lines {i}", f"child {i}"]
        expected += [("INFO", text) for text in [*out, "100%"]]
        expected += [("WARNING", f"lib: record {i}"), ("ERROR", "Traceback (most recent call last):")]
        expected += [("ERROR", "  File"), ("ERROR", "Error: of a child")]
        shown += [*out, "50%\r100%"]
    # between the two descriptors nothing tells C code's order; within each of them it holds
    log = messages(path)
    error = ("Traceback", "  File", "Error", "lib: ")
    for of_stderr in (False, True):
        assert [line for line in log if line[1].startswith(error) is of_stderr] == [
            line for line in expected if line[1].startswith(error) is of_stderr
        ]
    assert done.stdout == "".join(f"{text}\n" for text in ["before", *shown, "after"]).replace("\r", "\n")
    trace = "Traceback (most recent call last):\n  File\nError: of a child\n"
    assert done.stderr == "".join(f"record {i}\n{trace}" for i in range(20))


def test_nothing_that_the_c_library_holds_back_is_lost_or_misplaced(path, run):
    done = run(
        """
        puts("before", flush=False)
        logger = Logger(PATH, capture_fd=True)
        logger.start_redirect()
        puts("within", flush=False)
        print("python", end="")
        logger.stop_redirect()
        puts("between", flush=False)
        logger.start_redirect()
        print("half", end="")
        puts("at exit", flush=False)
        logger.write("own")
        sys.exit(7)
        """,
        code_wanted=7,
    )
    assert sorted(texts(path)) == ["at exit", "half", "own", "python", "within"]
    assert done.stdout.startswith("before\n")
    for text in ("within\n", "python", "between\n", "half", "at exit\n", "own\n"):
        assert done.stdout.count(text) == 1


def test_the_last_words_of_code_that_aborts(path, run):
    done = run(
        """
        Logger(PATH, capture_fd=True).start_redirect()
        print("begun")
        libc.dprintf(2, b"terminate called after throwing\\n  what(): no end of line")
        libc.abort()
        """,
        code_wanted=-signal.SIGABRT,
    )
    wait_for(lambda: len(texts(path)) == 3)
    assert texts(path) == ["begun", "terminate called after throwing", "  what(): no end of line"]
    assert done.stderr == "terminate called after throwing\n  what(): no end of line"


def test_a_process_group_that_is_killed(path, tmp_path):
    code = """
        logger = Logger(PATH, capture_fd=True)
        logger.start_redirect()
        child = subprocess.Popen(["sh", "-c", "echo of the child; sleep 60"])
        time.sleep(0.3)
        libc.dprintf(1, b"x" * 3000 + b"\\nlast")
        os.kill(0, signal.SIGKILL)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", source(code, path)],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PUMP_OF": str(path)},
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not pumps_of(path))
    assert texts(path) == ["of the child", "x" * 3000, "last"]
    assert out.decode() == "of the child\n" + "x" * 3000 + "\nlast"


def test_ctrl_c_for_the_whole_group(path):
    code = """
        with Logger(PATH, capture_fd=True):
            puts("before")
            print("ready", flush=True)
            try:
                time.sleep(60)
            finally:
                puts("while ending")
                subprocess.run(["echo", "of a child"])
    """
    process = subprocess.Popen(
        [sys.executable, "-c", source(code, path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PUMP_OF": str(path)},
    )
    assert process.stdout.readline() == b"before\n"
    assert process.stdout.readline() == b"ready\n"
    [pump] = pumps_of(path)
    os.kill(pump, signal.SIGINT)
    os.kill(pump, signal.SIGTERM)
    time.sleep(0.5)  # until it sleeps
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert out == b"while ending\nof a child\n"
    assert err.count(b"KeyboardInterrupt") == 1
    log = texts(path)
    assert log[:4] == ["before", "ready", "while ending", "of a child"]
    assert log[-1] == "KeyboardInterrupt"


def test_a_child_in_the_background_keeps_nobody_waiting(path, run):
    done = run("""
        started = time.monotonic()
        logger = Logger(PATH, capture_fd=True)
        logger.start_redirect()
        child = subprocess.Popen(["sh", "-c", "echo within; read go; echo later; sleep 1; echo at last"], stdin=-1)
        time.sleep(0.3)
        begun = time.monotonic()
        logger.stop_redirect()
        child.stdin.write(b"go\\n"); child.stdin.flush()
        assert time.monotonic() - begun < 1
        time.sleep(0.3)
        puts("parent")
    """)
    assert texts(path) == ["within"]
    assert done.stdout == "within\nlater\nparent\nat last\n"  # the last one after the parent has ended
    wait_for(lambda: not pumps_of(path))


def test_a_busy_child_does_not_slow_us_down(path, run):
    run(
        """
        logger = Logger(PATH, capture_fd=True)
        logger.start_redirect()
        child = subprocess.Popen(["yes", "no end of it"])
        time.sleep(0.2)
        begun = time.monotonic()
        for i in range(30):
            print("python", i, flush=True)
        os.write(2, b"%f" % (time.monotonic() - begun))
        logger.stop_redirect()
        child.kill()
        assert time.monotonic() - begun < 15
    """,
        stdout=subprocess.DEVNULL,
        capture_output=False,
    )
    lines = texts(path)
    assert [line for line in lines if line.startswith("python")] == [f"python {i}" for i in range(30)]
    assert "no end of it" in lines


def test_starts_stops_and_several_loggers_leave_everything_as_it_was(path, tmp_path, run):
    done = run("""
        def state():
            stats = [os.fstat(fd) for fd in (1, 2)]
            streams = [dict(vars(stream)) for stream in (sys.stdout, sys.stderr)]
            return [(s.st_dev, s.st_ino) for s in stats], os.listdir("/proc/self/fd"), streams

        loggers = [Logger(PATH, capture_fd=True), Logger(PATH, capture_fd=True, level="ERROR"), Logger(PATH)]
        other = Logger(PATH + ".other", capture_fd=True, json_lines=True)
        [logger.write("first") for logger in (*loggers, other)]
        before = state()
        for logger in (loggers[0], loggers[0], other, loggers[1], loggers[2]):
            logger.start_redirect()
        puts("all"); print("python"); os.write(2, b"ERROR bad\\n")
        loggers[0].stop_redirect(); loggers[0].stop_redirect()
        puts("no"); print("python"); os.write(2, b"ERROR worse\\n")
        loggers[1].stop_redirect(); loggers[2].stop_redirect()
        puts("other"); print("python")
        other.stop_redirect()
        for logger in loggers * 3:
            with logger:
                subprocess.run(["echo", "again"])
        for logger in (*loggers, other):
            logger.close()
        loggers[0].write("last")
        puts("nobody")
        for logger in (*loggers, other):
            logger.write("reopened")
        time.sleep(0.1)  # for the threads that watched
        assert state() == before, (state(), before)
    """)
    log = texts(path)
    assert log[:3] == ["first", "first", "all"]
    assert log.count("all") == log.count("ERROR bad") == log.count("ERROR worse") == 1
    assert log.count("python") == 2
    assert log.count("again") == 3  # the one that captures descriptors, and is not for errors only
    assert "no" not in log
    assert "other" not in log
    assert "nobody" not in log
    there = (tmp_path / "train.log.other").read_text()
    assert there.count('"source":"stdout","message":"python"}') == 3
    assert there.count('"level":"ERROR","source":"stderr","message":"ERROR ') == 2
    assert [there.count(f'"{word}"}}') for word in ("all", "no", "other")] == [1, 1, 1]
    assert done.stdout.count("python\n") == 3
    assert done.stdout.count("again\n") == 9


def test_descriptors_that_somebody_else_has_taken_stay_his(path, run):
    run(
        """
        with Logger(PATH, capture_fd=True):
            taken = os.open(PATH + ".other", os.O_WRONLY | os.O_CREAT)
            os.dup2(taken, 1)
            os.close(2)
        assert os.path.samestat(os.fstat(1), os.fstat(taken))
        try:
            os.fstat(2)
        except OSError:
            sys.exit(4)
    """,
        code_wanted=4,
    )


def test_masks(path, tmp_path, run):
    (tmp_path / "masks.py").write_text("def mask(text):\n    return text.replace('secret', '***')\n")
    script = tmp_path / "script.py"
    script.write_text(
        source(
            """
        from hf_monitor.errors import InputError
        from masks import mask

        def own(text):
            return text

        for stream in (sys.stdout, sys.stderr):
            assert "write" not in vars(stream)
        before, descriptors = os.fstat(1), len(os.listdir("/proc/self/fd"))
        refused = Logger(PATH, capture_fd=True, mask=own)
        for _ in range(2):
            try:
                refused.start_redirect()
            except InputError as error:
                print(error)
        assert os.path.samestat(before, os.fstat(1))
        assert "write" not in vars(sys.stdout)
        refused.close()
        assert len(os.listdir("/proc/self/fd")) == descriptors, os.listdir("/proc/self/fd")
        with Logger(PATH, capture_fd=True, mask=mask):
            puts("a secret")
            print("the secret", flush=True)
            subprocess.run(["printf", "sec"]); subprocess.run(["echo", "ret"])
    """,
            path,
        )
    )
    done = run("", script=script)
    assert texts(path) == ["a ***", "the ***", "***"]
    assert done.stdout.count("secret") == 3
    assert done.stdout.count("needs a mask that another process can load: AttributeError") == 2
    with pytest.raises(InputError, match=r"<lambda> .* cannot be pickled.* Define it with def or class"):
        Logger(path, capture_fd=True, mask=lambda text: text)


def test_a_mask_that_learns_later(path, run):
    run(
        """
        from hf_monitor.run.secrets import SecretMask

        mask = SecretMask(["known-from-the-start"])
        with Logger(PATH, capture_fd=True, mask=mask) as logger:
            subprocess.run(["echo", "first known-from-the-start"])
            mask.learn(["learned-in-between"])
            subprocess.run(["echo", "then learned-in-between"])
            with logger:
                mask.learn({"api_key": "learned-within"})
                subprocess.run(["echo", "at last learned-within"])
        mask.learn(["learned-at-the-end"])
        """
    )
    assert texts(path) == ["first ***", "then ***", "at last ***"]


def test_windows_is_told(path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="not on Windows"):
        Logger(path, capture_fd=True)


def test_an_emptied_file_is_emptied_before_anybody_writes(path, run):
    path.write_text("old\n")
    run("""
        logger = Logger(PATH, mode="w", capture_fd=True, print_also=False)
        logger.start_redirect()
        puts("first")
        time.sleep(0.3)
        logger.write("second")
    """)
    assert texts(path) == ["first", "second"]


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2), (0, 1, 2)])
def test_descriptors_that_are_not_there(path, run, closed):
    def close():
        for fd in closed:
            os.close(fd)

    code = """
        with Logger(PATH, capture_fd=True) as logger:
            file = open(PATH + ".other", "w")  # may become descriptor 1
            libc.dprintf(2, b"two\\n"); libc.dprintf(1, b"one\\n")
            print("python")
            logger.write("own")
        file.close()
        sys.exit(3)
    """
    run(code, code_wanted=3, preexec_fn=close)
    expected = {"one": 1 not in closed, "two": 2 not in closed, "python": 1 not in closed, "own": True}
    log = texts(path)
    assert "SystemExit" not in str(log)
    assert {word: log.count(word) for word in expected} == {word: int(there) for word, there in expected.items()}


def test_a_stream_that_wraps_the_real_one_comes_once(path, run):
    done = run("""
        class Both:
            def write(self, text):
                sys.__stdout__.write(text.upper() if text == "loud" else text)
            def flush(self):
                sys.__stdout__.flush()

        with Logger(PATH, capture_fd=True):
            sys.__stdout__.write("not seen by Python's own streams\\n")
            sys.__stdout__.flush()
        sys.stdout = Both()
        with Logger(PATH, capture_fd=True) as logger:
            print("through a wrapper")
            puts("c")
        sys.stdout = sys.__stdout__
        with logger:
            sys.stdout = Both()
            print("through a later one")
            sys.stdout.flush()
        sys.stdout = sys.__stdout__
        with logger:
            sys.stdout.reconfigure(encoding="ascii", errors="replace", line_buffering=True)
            print("한글")
            sys.stdout.reconfigure(errors="strict")
            try:
                print("한글")
            except UnicodeEncodeError:
                print("refused")
        with logger:
            sys.stdout.buffer.write(b"bytes\\n")
            print("text", flush=True)
    """)
    log = texts(path)
    assert sorted(log[-2:]) == ["bytes", "text"]
    assert log[:-2] == [
        *["not seen by Python's own streams", "through a wrapper", "c", "through a later one", "한글", "refused"]
    ]
    assert done.stdout.endswith("??\nrefused\nbytes\ntext\n")


def test_a_pump_that_is_killed_takes_nobody_with_it(path):
    code = """
        logger = Logger(PATH, capture_fd=True, print_also=False)
        logger.start_redirect()
        child = subprocess.Popen(["sh", "-c", "read go; echo of the child; echo and more"], stdin=-1)
        puts("before")
        print("ready", flush=True)
        sys.stdin.readline()
        for i in range(3):
            puts("c" * 40000)
            print("python", i, flush=True)
        child.communicate(b"go\\n")
        time.sleep(0.2)
        logger.stop_redirect()
        puts("after")
    """
    process = subprocess.Popen(
        [sys.executable, "-c", source(code, path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PUMP_OF": str(path)},
    )
    assert process.stdout.readline() == b"before\n"
    assert process.stdout.readline() == b"ready\n"
    [pump] = pumps_of(path)
    os.kill(pump, signal.SIGKILL)
    wait_for(lambda: not pumps_of(path))
    out, err = process.communicate(b"go\n", timeout=30)
    assert process.returncode == 0
    words = [*b"of the child and more after".split(), *b"python 0 python 1 python 2".split()]
    assert sorted(out.split()) == sorted([*words, *([b"c" * 40000] * 3)])
    assert b"the process behind capture_fd was ended" in err
    assert [line for line in texts(path) if line.startswith("python")] == ["python 0", "python 1", "python 2"]


def test_a_console_that_goes_away_does_not_take_the_log_with_it(path):
    code = """
        logger = Logger(PATH, capture_fd=True, print_also=False)
        logger.start_redirect()
        puts("one")
        sys.stdin.readline()
        for _ in range(3):
            puts("two")
            time.sleep(0.05)
        logger.stop_redirect()
    """
    process = subprocess.Popen([sys.executable, "-c", source(code, path)], stdin=-1, stdout=-1, stderr=-1)
    assert process.stdout.readline() == b"one\n"
    process.stdout.close()
    process.stdin.write(b"go\n")
    process.stdin.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 0, err
    assert texts(path) == ["one", "two", "two", "two"]
    assert err == b""


def test_a_terminal_stays_a_terminal(path):
    code = source(
        """
        from tqdm import tqdm
        real = [os.ttyname(fd) for fd in (1, 2)]
        with Logger(PATH, capture_fd=True, print_also=False):
            print(sys.stdout.isatty(), sys.stderr.isatty(), os.isatty(1), os.isatty(2), sys.stdout.fileno())
            for i in range(50):
                libc.puts(b"c %d" % i)  # to a terminal, the C library writes line by line
                print("python", i)
            os.write(2, b"\\r10%"); os.write(2, b"\\r100%\\n")
            for _ in tqdm(range(3), desc="bar", ncols=40):
                time.sleep(0.02)
            print(tuple(os.get_terminal_size(1)))
            sys.stdin.readline()
            time.sleep(1.2)
            print(tuple(os.get_terminal_size(1)))
        print([os.ttyname(fd) for fd in (1, 2)] == real)
        """,
        path,
    )
    pid, master = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code])
    shown, size = b"", (33, 123)
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        shown += data
        if b"(123, 33)\r\n" in shown and size == (33, 123):
            size = (20, 77)
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
            os.write(master, b"\n")
    os.close(master)
    assert os.waitpid(pid, 0)[1] == 0, shown.decode()

    lines = shown.decode().split("\r\n")
    mixed = [f"{who} {i}" for i in range(50) for who in ("c", "python")]
    assert lines[:101] == ["True True True True 1", *mixed]
    assert "\r10%\r100%\r\n" in shown.decode()
    assert lines[-2:] == ["True", ""]
    log = texts(path)
    assert log[:101] == lines[:101]
    assert log[101] == "100%"
    [bar] = [line for line in log if line.startswith("bar")]
    assert bar.startswith("bar: 100%")
    assert bar in shown.decode()
    assert log[103:] == ["(123, 33)", "(77, 20)"]
