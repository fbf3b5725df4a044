import contextlib
import functools
import io
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from hf_monitor.loggers import Logger, tap

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)")


def messages(path):
    """(level, message) of each line."""
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


@pytest.fixture(autouse=True)
def streams_as_found():
    def state():
        return [(stream, dict(vars(stream)), stream.isatty(), stream.encoding) for stream in (sys.stdout, sys.stderr)]

    before, handling = state(), logging.Logger.callHandlers
    yield
    assert state() == before
    assert logging.Logger.callHandlers is handling


def run(code, *, check=True, **options):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def test_console_and_file_get_the_same(path, capsys):
    logger = Logger(path)
    early_print = functools.partial(print, file=sys.stdout)
    with logger:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        early_print("bound", "earlier")
        sys.stdout.writelines(["several ", "pieces\n", "and", "\n"])
        logger.write("own")
        assert sys.stdout.write("abc\n") == 4
        sys.stdout.flush()
        sys.stderr.write("x.py:3: UserWarning: c\n")
    print("afterwards")

    console = capsys.readouterr()
    assert console.out == "to stdout\nbound earlier\nseveral pieces\nand\nown\nabc\nafterwards\n"
    assert console.err == "to stderr\nx.py:3: UserWarning: c\n"
    assert messages(path) == [
        *[("INFO", "to stdout"), ("INFO", "to stderr"), ("INFO", "bound earlier"), ("INFO", "several pieces")],
        *[("INFO", "and"), ("INFO", "own"), ("INFO", "abc"), ("WARNING", "x.py:3: UserWarning: c")],
    ]


def test_partial_lines_are_joined_and_the_last_comes_with_the_stop(path):
    with Logger(path):
        print("a", end="")
        print("b", end=" ")
        print("c")
        print("pending", end="")
        assert texts(path) == ["ab c"]
    assert texts(path) == ["ab c", "pending"]


def test_five_starts_and_several_loggers_never_write_twice(path, tmp_path, capsys):
    same = [Logger(path) for _ in range(3)]
    other = Logger(tmp_path / "other.log")
    for logger in [*same, same[0], same[0], other]:
        logger.start_redirect()
    print("once")
    logging.getLogger("lib").warning("record")
    same[1].write("own")
    for logger in [same[0], same[1], same[0]]:
        logger.stop_redirect()
    print("still")
    same[0].stop_redirect()
    same[0].stop_redirect()
    same[2].stop_redirect()
    print("only other")
    other.stop_redirect()
    print("nobody")

    assert texts(path) == ["once", "lib: record", "own", "still"]
    assert texts(tmp_path / "other.log") == ["once", "lib: record", "own", "still", "only other"]
    assert capsys.readouterr().out == "once\nown\nstill\nonly other\nnobody\n"


def test_repeated_start_and_stop(path):
    logger = Logger(path)
    for number in range(5):
        logger.start_redirect()
        print(number)
        logger.stop_redirect()
        print("between")
    assert texts(path) == ["0", "1", "2", "3", "4"]


def test_close_ends_all_starts(path):
    logger = Logger(path)
    for _ in range(5):
        logger.start_redirect()
    logger.close()
    print("after")
    assert texts(path) == []


def test_the_level_of_the_more_generous_logger_counts(path):
    with Logger(path, level="ERROR"), Logger(path, level="INFO"):
        print("once")
        logging.getLogger("lib").warning("record")
        logging.getLogger("lib").error("error")
    assert texts(path) == ["once", "lib: record", "lib: error"]


def test_tracebacks_are_errors(path):
    def hook():
        try:
            {}["key"]
        except KeyError:
            sys.excepthook(*sys.exc_info())

    with Logger(path):
        hook()
        print("next")
    assert [level for level, _ in messages(path)] == ["ERROR"] * (len(messages(path)) - 1) + ["INFO"]
    assert texts(path)[-2:] == ["KeyError: 'key'", "next"]


def test_streams_keep_their_nature():
    code = """
        import sys, os
        from hf_monitor.loggers import Logger

        def nature():
            streams = (sys.stdout, sys.stderr)
            return [(id(s), s.isatty(), s.fileno(), s.encoding, s.errors, s.name, s.mode) for s in streams]

        attributes = [dict(vars(s)) for s in (sys.stdout, sys.stderr)]
        before = nature()
        with Logger(os.devnull):
            assert nature() == before
        assert nature() == before
        assert [dict(vars(s)) for s in (sys.stdout, sys.stderr)] == attributes
    """
    run(code)


def test_under_capfd(path, capfd):
    with Logger(path):
        print("text")
        os.write(1, b"raw\n")
    assert capfd.readouterr().out == "text\nraw\n"
    assert texts(path) == ["text"]


def patch_like_wandb(stream, seen):
    """W&B's console_capture.py: never undone, calls what was there before."""
    original = stream.write

    def write_with_callbacks(s, /):
        n = original(s)
        seen.append(s)
        return n

    stream.write = write_with_callbacks
    return write_with_callbacks


@pytest.mark.parametrize("copies_attributes", [False, True])
def test_others_who_patch_on_top_are_left_alone(path, capsys, copies_attributes):
    found = dict(vars(sys.stdout))
    seen = []
    logger = Logger(path)
    logger.start_redirect()
    ours = sys.stdout.write
    theirs = patch_like_wandb(sys.stdout, seen)
    if copies_attributes:
        functools.update_wrapper(theirs, ours)
    print("one")
    logger.stop_redirect()
    assert sys.stdout.write is theirs
    print("two")
    logger.start_redirect()
    print("three")
    logger.stop_redirect()
    assert sys.stdout.write is theirs
    print("four")
    sys.stdout.write = ours  # they leave, putting back what they had found: ours, inert
    print("five")
    logger.start_redirect()
    print("six")
    logger.stop_redirect()
    print("seven")
    vars(sys.stdout).clear()
    vars(sys.stdout).update(found)

    assert texts(path) == ["one", "three", "six"]
    assert "".join(seen) == "one\ntwo\nthree\nfour\n"
    assert capsys.readouterr().out == "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"


def test_a_patch_below_ours_is_put_back(path):
    seen, before = [], vars(sys.stderr).copy()  # where wandb was imported before this test, it has patched it, too
    theirs = patch_like_wandb(sys.stderr, seen)
    with Logger(path):
        print("x", file=sys.stderr)
    assert sys.stderr.write is theirs
    del sys.stderr.write
    vars(sys.stderr).update(before)
    assert texts(path) == ["x"]
    assert "".join(seen) == "x\n"


class Slotted:
    __slots__ = ("parts",)

    def __init__(self):
        self.parts = []

    def write(self, text):
        self.parts.append(text)
        return len(text)

    def writelines(self, lines):
        self.parts.extend(lines)

    def flush(self):
        pass

    def isatty(self):
        return False

    encoding = "utf-8"


def test_a_stream_that_takes_no_attributes(path, monkeypatch):
    stream = Slotted()
    monkeypatch.setattr(sys, "stdout", stream)
    logger = Logger(path)
    with logger, logger:
        print("a")
        sys.stdout.writelines(["b\n", "c\n"])
        assert sys.stdout.parts is stream.parts
    assert sys.stdout is stream
    assert texts(path) == ["a", "b", "c"]
    assert "".join(stream.parts) == "a\nb\nc\n"


def test_stdout_and_stderr_may_be_one_object(path, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with Logger(path):
        print("a")
        print("b", file=sys.stderr)
    assert texts(path) == ["a", "b"]
    assert stream.getvalue() == "a\nb\n"


class Forwarding(io.TextIOBase):
    def __init__(self, target):
        self.target = target

    def write(self, text):
        return self.target.write(text)


def test_a_stream_that_forwards_to_another_gives_no_second_line(path, capsys, monkeypatch):
    logger = Logger(path)
    logger.start_redirect()
    monkeypatch.setattr(sys, "stdout", Forwarding(sys.stdout))
    logger.start_redirect()
    print("once")
    sys.stdout.writelines(["and ", "again\n"])
    logger.close()
    monkeypatch.undo()
    assert texts(path) == ["once", "and again"]
    assert capsys.readouterr().out == "once\nand again\n"


def test_errors_of_the_console_are_the_callers(path, monkeypatch):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "gone")

    monkeypatch.setattr(sys, "stdout", Broken())
    with Logger(path), pytest.raises(BrokenPipeError):
        print("x")
    with Logger(path), pytest.raises(TypeError):
        sys.stderr.write(5)


@pytest.mark.parametrize("streams", [(None, None), "closed"])
def test_no_streams_at_all(path, monkeypatch, streams):
    stdout, stderr = streams if streams != "closed" else (io.StringIO(), io.StringIO())
    if streams == "closed":
        stdout.close()
        stderr.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        with Logger(path) as logger:
            logger.write("x")
            logger.error("y")
    assert texts(path) == ["x", "y"]


def test_threads_mix_by_lines(path):
    def work(number):
        for count in range(100):
            print(f"<{number}", end="")
            print(f"-{count}", end="")
            print(">")

    with Logger(path):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(texts(path)) == sorted(f"<{number}-{count}>" for number in range(8) for count in range(100))


def test_starts_and_stops_beside_printing_threads(path):
    logger = Logger(path)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            print("a line")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        logger.start_redirect()
        time.sleep(0.0005)
        logger.stop_redirect()
    stop.set()
    for thread in threads:
        thread.join()
    assert set(texts(path)) == {"a line"}


def test_signal_handlers_that_print(path):
    def handler(*_):
        print("from the handler")

    old = signal.signal(signal.SIGALRM, handler)
    try:
        with Logger(path) as logger:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for number in range(1500):
                print("line", number)
                logger.put_text(20, "log", "own")
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    handled = [text for text in texts(path) if "handler" in text]
    assert handled
    assert texts(path).count("own") == 1500
    rest = "".join(text for text in texts(path) if text != "own").replace("from the handler", "")
    assert re.sub(r"[^\d]", "", rest) == "".join(map(str, range(1500)))


def test_keyboard_interrupt_in_the_middle(path):
    code = f"""
        import os, signal, sys, threading, time
        from tqdm import tqdm
        from hf_monitor.loggers import Logger
        threading.Timer(0.4, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with Logger({str(path)!r}):
            for i in tqdm(range(10**9), mininterval=0.01):
                time.sleep(0.001)
    """
    done = run(code, check=False)
    assert done.returncode not in (0, None)
    lines = messages(path)
    assert "it/s" in lines[0][1]
    assert lines[1] == ("ERROR", "Traceback (most recent call last):")
    assert lines[-1] == ("ERROR", "KeyboardInterrupt")
    assert done.stderr.count("Traceback") == 1


def test_a_program_that_never_stops_it(path):
    code = f"""
        import sys
        from hf_monitor.loggers import Logger
        Logger({str(path)!r}).start_redirect()
        print("half", end="")
        print("\\r50%", end="", file=sys.stderr)
        1 / 0
    """
    run(code, check=False)
    lines = messages(path)
    assert lines[:2] == [("INFO", "50%"), ("ERROR", "Traceback (most recent call last):")]
    assert lines[-2:] == [("ERROR", "ZeroDivisionError: division by zero"), ("INFO", "half")]


def test_forked_children_write_whole_lines_of_their_own(path):
    code = f"""
        import logging, multiprocessing, os, sys, threading, time
        from hf_monitor.loggers import Logger, file_logger, tap

        def child(logger):
            print("from the child")
            logging.getLogger("child").warning("record")
            logger.write("own of the child")

        logger = Logger({str(path)!r}, print_also=False)
        with logger:
            print("half of the parent's", end="", flush=True)
            print("\\r50% of the parent's", end="", file=sys.stderr, flush=True)
            locked, release = threading.Event(), threading.Event()
            def hold():
                with tap.exclusively(), logger.file.lock:
                    locked.set()
                    release.wait()
            threading.Thread(target=hold, daemon=True).start()
            locked.wait()
            process = multiprocessing.get_context("fork").Process(target=child, args=(logger,))
            process.start()
            process.join(20)
            assert process.exitcode == 0, process.exitcode
            release.set()
            print(" line")
    """
    run(code)
    assert texts(path) == [
        *["from the child", "child: record", "own of the child", "half of the parent's line", "50% of the parent's"]
    ]


def test_expected_echoes_stay_out(path, capsys, monkeypatch):
    monkeypatch.setattr(tap, "_complained", False)

    def is_log(line):
        return line.startswith("{'loss'")

    with Logger(path, print_also=False) as logger:
        logger.write("loss 2.3")
        logger.expect_echo(is_log)
        print("something else")
        print({"loss": "2.3"})
        print({"loss": "1.1"})
        logger.expect_echo(lambda line: line[99] == "x")
        print("a predicate may fail")
        logger.expect_echo(is_log)
        print({"loss": "on stderr"}, file=sys.stderr)
        logger.file.echoes[-1] = (time.monotonic() - 0.01, is_log)
        print({"loss": "too late"})

    lines = texts(path)
    assert "IndexError" in lines.pop(4)
    assert lines == [
        *["loss 2.3", "something else", "{'loss': '1.1'}", "a predicate may fail", "{'loss': 'on stderr'}"],
        "{'loss': 'too late'}",
    ]
    assert "{'loss': '2.3'}\n" in capsys.readouterr().out


def test_an_expected_echo_is_a_whole_line(path, tmp_path, capsys):
    def is_log(line):
        return line.startswith("{'loss'") and line.endswith("}")

    with Logger(path, print_also=False) as logger, Logger(tmp_path / "other.log"):
        logger.expect_echo(is_log)
        print({"loss": 1}, end="")
        print(" and more")
        print("before ", end="")
        print({"loss": 2})
        print({"loss": 3}, {"loss": 4}, sep="\n", end="")  # the first of them is the echo
        print()
        logger.expect_echo(is_log)
        print("{'loss': ", end="")
        print("5}")
        logger.expect_echo(is_log)
        print({"loss": 6}, end="")

    kept = ["{'loss': 1} and more", "before {'loss': 2}", "{'loss': 4}"]
    assert texts(path) == kept
    assert texts(tmp_path / "other.log") == [*kept[:2], "{'loss': 3}", kept[2], "{'loss': 5}", "{'loss': 6}"]
    assert capsys.readouterr().out.endswith("{'loss': 5}\n{'loss': 6}")


def test_an_expected_echo_beside_other_threads(path):
    def work(number):
        for count in range(200):
            print(f"{number}-{count}")

    with Logger(path, print_also=False) as logger:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for number in range(200):
            logger.expect_echo(lambda line, number=number: line == f"{{'loss': {number}}}")
            print({"loss": number})
        for thread in threads:
            thread.join()
    assert sorted(texts(path)) == sorted(f"{number}-{count}" for number in range(3) for count in range(200))


def test_an_expected_echo_is_cheap(path):
    """The Trainer prints at each logged step. Calls are counted, because a clock is right only on a quiet machine."""
    calls = []
    with Logger(path, print_also=False) as logger:
        for _ in range(50):  # more rows than the assembler keeps
            print("a line")
        logger.expect_echo(lambda line: line.startswith("{'loss'"))
        sys.setprofile(lambda frame, event, _: calls.append(frame.f_code) if event == "call" else None)
        try:
            print({"loss": 1})
        finally:
            sys.setprofile(None)
    assert texts(path) == ["a line"] * 50
    ours = [code for code in calls if "hf_monitor" in code.co_filename]
    assert 0 < len(ours) <= 18, [code.co_name for code in ours]


def test_redirect_stdout_inside_goes_elsewhere(path):
    with Logger(path), contextlib.redirect_stdout(io.StringIO()) as inner:
        print("elsewhere")
    assert inner.getvalue() == "elsewhere\n"
    assert texts(path) == []


def test_flush_writes_the_state_of_bars(path):
    with Logger(path) as logger:
        sys.stderr.write("\r10%")
        assert texts(path) == []
        logger.flush()
        logger.flush()
        assert texts(path) == ["10%"]


TERMINAL = """
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    from hf_monitor.loggers import Logger
    with Logger(sys.argv[1]) as logger:
        logger.write("fine")
        logger.error("bad\\nworse")
        assert sys.stdout.isatty() and sys.stderr.isatty()
        print("\\x1b[32mgreen\\x1b[0m")
    os._exit(0)
data = b""
while True:
    try:
        part = os.read(fd, 4096)
    except OSError:
        break
    if not part:
        break
    data += part
assert os.waitpid(pid, 0)[1] == 0
sys.stdout.write(repr(data))
"""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_errors_are_red_on_a_terminal_and_plain_in_the_file(path, no_color):
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, str(path)],
        env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=True,
    )
    red = b"bad\r\nworse\r\n" if no_color else b"\x1b[31mbad\x1b[0m\r\n\x1b[31mworse\x1b[0m\r\n"
    assert done.stdout == repr(b"fine\r\n" + red + b"\x1b[32mgreen\x1b[0m\r\n")
    assert messages(path) == [("INFO", "fine"), ("ERROR", "bad"), ("ERROR", "worse"), ("INFO", "green")]
