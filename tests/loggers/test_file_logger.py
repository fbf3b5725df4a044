import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import orjson
import pytest

from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.loggers import Logger
from hf_monitor.run.backlog import Backlog

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)")


def read(path):
    """(level, message) of each line; every line must be well formed."""
    lines = Path(path).read_bytes().decode().split("\n")
    assert lines.pop() == ""
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [(match[1].strip(), match[2]) for match in matches]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "deep" / "train.log"


def test_lines_levels_and_times(path, capsys):
    logger = Logger(path)
    assert not path.parent.exists()

    before = time.time()
    logger.write("begins")
    logger.debug("not wanted")
    logger.info("한국어 ok")
    logger.warning("careful")
    logger.error("two\nlines")
    logger.write(12.5, level="critical")
    logger.write("numbered", level=30)

    assert read(path) == [
        *[("INFO", "begins"), ("INFO", "한국어 ok"), ("WARNING", "careful"), ("ERROR", "two"), ("ERROR", "lines")],
        *[("CRITICAL", "12.5"), ("WARNING", "numbered")],
    ]
    stamp = path.read_text("utf-8")[:19]
    assert before - 1 <= time.mktime(time.strptime(stamp, "%Y-%m-%d %H:%M:%S")) <= time.time()
    console = capsys.readouterr()
    assert console.out == "begins\n한국어 ok\n"
    assert console.err == "careful\ntwo\nlines\n12.5\nnumbered\n"  # no terminal: no color


def test_not_printed_also_and_level(path, capsys):
    logger = Logger(path, print_also=False, level="warning")
    logger.info("no")
    logger.error("yes")

    assert read(path) == [("ERROR", "yes")]
    assert capsys.readouterr() == ("", "")


def test_json_lines_are_strict_and_one_a_message(path):
    logger = Logger(path, print_also=False, json_lines=True)
    before = time.time()
    logger.write('quotes " and \\ and\nnewline \x1b[31mred\x1b[0m \ud800 한국어', "WARNING")

    lines = path.read_bytes().splitlines()
    assert len(lines) == 1
    row = orjson.loads(lines[0])
    assert before - 0.01 <= row.pop("time") <= time.time()
    assert row == {
        "level": "WARNING",
        "source": "log",
        "message": 'quotes " and \\ and\nnewline red \\ud800 한국어',
    }


def test_no_control_characters_reach_the_file(path):
    logger = Logger(path, print_also=False)
    logger.write("\x1b[1;31mred\x1b[0m\x07\tTab 10%\r20%\x9b \u2028end\x00")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028]", path.read_text("utf-8"))
    assert len(read(path)) == 1


def test_appends_closes_a_torn_line_and_can_begin_anew(path):
    path.parent.mkdir(parents=True)
    path.write_text("whole\ntorn by a cra")
    Logger(path, print_also=False).write("next")
    lines = path.read_text().splitlines()
    assert lines[:2] == ["whole", "torn by a cra"]
    assert lines[2].endswith("next")

    logger = Logger(path, print_also=False, mode="w")
    assert len(path.read_text().splitlines()) == 3, "a constructor deletes nothing"
    logger.write("a")
    logger.write("b")
    assert [message for _, message in read(path)] == ["a", "b"]


def test_each_line_is_one_append_at_once(path, monkeypatch):
    calls = []
    real = os.write
    logger = Logger(path, print_also=False)
    logger.write("opens")
    monkeypatch.setattr(os, "write", lambda fd, data: calls.append(data) or real(fd, data))
    logger.write("x\ny")
    monkeypatch.undo()

    assert len(calls) == 1
    assert read(path)[1:] == [("INFO", "x"), ("INFO", "y")]


def test_close_may_be_followed_by_a_write(path):
    logger = Logger(path, print_also=False)
    logger.write("a")
    logger.close()
    logger.close()
    logger.write("b")

    assert [message for _, message in read(path)] == ["a", "b"]


def test_descriptors_do_not_leak(path):
    def opened():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = opened()
    for number in range(20):
        with Logger(path.with_name(f"{number}.log"), print_also=False) as logger:
            logger.write("x")
        Logger(path.with_name(f"dropped{number}.log"), print_also=False).write("x")
    assert opened() == before


def test_wrong_arguments(path):
    with pytest.raises(InputError, match="no log level 'LOUD'"):
        Logger(path, level="LOUD")
    with pytest.raises(InputError, match=r"mode is 'a' .* not 'x'"):
        Logger(path, mode="x")
    with pytest.raises(InputError, match="no log level 'quiet'"):
        Logger(path, print_also=False).write("x", level="quiet")


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=f"{tmp_path} cannot be written: it is a folder. Give Logger a path"):
        Logger(tmp_path)
    with pytest.raises(RunFolderError, match=f"{tmp_path}/file is a file, not a folder"):
        Logger(tmp_path / "file" / "train.log")

    logger = Logger("/proc/hf_monitor/train.log", print_also=False) if os.access("/proc", os.W_OK) else None
    if logger is not None:  # root may write everywhere, says access
        with pytest.raises(RunFolderError, match=r"/proc/hf_monitor/train\.log cannot be written"):
            logger.write("x")
        with pytest.raises(RunFolderError, match="cannot be written"):
            logger.start_redirect()


def test_a_disk_that_is_full_from_the_first_line_on():
    with pytest.raises(RunFolderError, match="/dev/full cannot be written: No space left on device"):
        Logger("/dev/full", print_also=False).write("x")


def test_a_disk_that_fills_up_later_stops_nobody(path, capsys):
    logger = Logger(path, print_also=False)
    logger.write("fits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with logger:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, hard))
        try:
            print("a line of more than forty bytes, of which the beginning still fits")
            assert sys.stdout.write("late\n") == 5
            logger.write("late too")
            logger.error("and late")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        print("works again")

    out, err = capsys.readouterr()
    assert out == "a line of more than forty bytes, of which the beginning still fits\nlate\nworks again\n"
    assert err.count("hf_monitor: cannot write to") == 1
    assert err.count("\n") == 1
    lines = path.read_text().splitlines()
    assert [line.split("INFO  ")[-1].split("ERROR ")[-1] for line in lines] == [
        "fits",
        "a line of more than forty bytes, of which the beginning still fits",
        "late",
        "late too",
        "and late",
        "works again",
    ]


def test_a_descriptor_closed_behind_its_back(path, capsys):
    logger = Logger(path, print_also=False)
    logger.write("a")
    os.close(logger.file._fd)
    logger.write("late")
    logger.write("b")

    assert "Bad file descriptor" in capsys.readouterr().err
    assert [message for _, message in read(path)] == ["a", "late", "b"]


def test_a_mask_sees_every_text(path, capsys):
    def mask(text):
        print("the mask has something to say")
        return text.replace("hf_secret", "***")

    with Logger(path, mask=mask) as logger:
        logger.write("token hf_secret")
        print("printed hf_secret")

    console = capsys.readouterr().out
    assert "token hf_secret\n" in console
    assert "printed hf_secret\n" in console
    text = path.read_text()
    assert "hf_secret" not in text
    assert "token ***" in text
    assert "printed ***" in text


def test_a_mask_sees_what_will_be_written(path):
    def mask(text):
        return text.replace("hf_secret", "***")

    with Logger(path, print_also=False, mask=mask) as logger:
        logger.write("coloured hf_\x1b[31msec\x1b[0mret\nwith\x00 hf_sec\x07ret")
        logging.getLogger("client").warning("\x1b[1mhf_\x1b[0msecret")

    assert [message for _, message in read(path)] == ["coloured ***", "with ***", "client: ***"]


@pytest.mark.parametrize("mask", [lambda text: text[:-1] + text[99], lambda text: None])
def test_a_mask_that_fails_withholds_the_text(path, mask):
    Logger(path, print_also=False, mask=mask).write("hf_secret")

    text = path.read_text()
    assert "hf_secret" not in text
    assert "a text of 9 characters is withheld" in text


def test_an_exception_passing_through_is_in_the_log_once(path, capsys):
    def fail():
        with Logger(path):
            print("half a line", end="")
            raise ZeroDivisionError("the reason")

    with pytest.raises(ZeroDivisionError):
        fail()

    lines = read(path)
    assert lines[:2] == [("INFO", "half a line"), ("ERROR", "Traceback (most recent call last):")]
    assert lines[-1] == ("ERROR", "ZeroDivisionError: the reason")
    assert capsys.readouterr() == ("half a line", "")


def test_leaving_with_success_is_no_error(path):
    def leave():
        with Logger(path, print_also=False) as logger:
            logger.write("a")
            sys.exit(0)

    with pytest.raises(SystemExit):
        leave()
    assert read(path) == [("INFO", "a")]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (3, ["the program ends with exit code 3"]),
        ("the data are missing", ["the data are missing"]),
        (("a", 1), ["('a', 1)"]),
        (None, []),
        (False, []),
    ],
)
def test_leaving_with_an_exit_code_is_one_line(path, code, lines):
    with pytest.raises(SystemExit), Logger(path, print_also=False):
        sys.exit(code)
    assert read(path) == [("ERROR", line) for line in lines]


def test_a_console_of_another_encoding_and_closed_ones_do_not_matter(path):
    code = f"""
        import sys
        from hf_monitor.loggers import Logger
        logger = Logger({str(path)!r})
        logger.start_redirect()
        logger.write("한국어")
        sys.stdout.close()
        logger.write("after")
        sys.stdout = None
        logger.write("none")
        logger.stop_redirect()
        logger.start_redirect()
        sys.stderr.write("still\\n")
        logger.stop_redirect()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"\\ud55c\\uad6d\\uc5b4\n")
    assert [message for _, message in read(path)] == ["한국어", "after", "none", "still"]


def test_json_source_names(path):
    import logging

    with Logger(path, print_also=False, json_lines=True) as logger:
        logger.write("own")
        print("out")
        print("err", file=sys.stderr)
        logging.getLogger("some.library").error("record")

    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["source"], row["level"], row["message"]) for row in rows] == [
        *[("log", "INFO", "own"), ("stdout", "INFO", "out"), ("stderr", "INFO", "err")],
        ("some.library", "ERROR", "record"),
    ]


def test_a_new_logger_does_not_write_to_a_deleted_file(path):
    first = Logger(path, print_also=False)
    first.write("one")
    path.unlink()
    Logger(path, print_also=False, mode="w").write("two")
    first.write("three")
    assert [message for _, message in read(path)] == ["two", "three"]

    path.unlink()
    Logger(path, print_also=False).write("four")
    assert [message for _, message in read(path)] == ["four"]


@pytest.mark.parametrize("begin", [lambda logger: logger.start_redirect(), lambda logger: logger.file.truncate()])
def test_a_deleted_folder_is_made_again(path, begin):
    logger = Logger(path, print_also=False)
    logger.write("one")
    shutil.rmtree(path.parents[1])
    begin(logger)
    assert read(path) == []
    logger.write("two")
    logger.close()
    assert [message for _, message in read(path)] == ["two"]


@pytest.mark.parametrize("json_lines", [False, True])
def test_a_logger_that_goes_on_finds_out_within_a_second(path, json_lines):
    logger = Logger(path, print_also=False, json_lines=json_lines)
    logger.write("one")
    path.rename(path.with_name("moved.log"))
    time.sleep(1.01)
    logger.write("two")
    assert "one" in path.with_name("moved.log").read_text()
    assert len(path.read_text().splitlines()) == 1


def test_a_logger_that_goes_on_after_its_folder_became_a_file(path, capsys):
    logger = Logger(path, print_also=False)
    logger.write("one")
    shutil.rmtree(path.parent)
    path.parent.touch()
    time.sleep(1.01)
    logger.write("late")
    path.parent.unlink()
    logger.write("two")
    assert not path.exists()  # left alone for a second after a failure
    logger.flush()
    assert capsys.readouterr().err.count("cannot write to") == 1
    assert [message for _, message in read(path)] == ["late", "two"]


def test_lines_that_are_too_many_to_wait_are_counted_in_the_file(path, capsys):
    logger = Logger(path, print_also=False)
    logger.write("one")
    logger.file.waiting = Backlog(limit=200)
    shutil.rmtree(path.parent)
    path.parent.touch()
    time.sleep(1.01)
    for n in range(10):
        logger.write(f"late {n}")
    path.parent.unlink()
    logger.close()
    assert [message for _, message in read(path)] == [
        "(5 lines are missing here: File exists)",
        *[f"late {n}" for n in range(5, 10)],
    ]


def test_nothing_is_said_at_exit_where_the_logger_outlives_its_modules(path):
    code = f"""
        import ctypes, sys
        from hf_monitor.loggers import Logger, log_file
        for module in (log_file, sys.modules["__main__"]):  # as torch does, by roundabout ways, with a trainer's
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
        logger = Logger({str(path)!r}, print_also=False)
        logger.write("x")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert read(path) == [("INFO", "x")]
