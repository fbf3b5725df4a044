"""Records of the logging module."""

import io
import logging
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from hf_monitor.loggers import Logger, records


def messages(path):
    lines = Path(path).read_bytes().decode().splitlines()
    matches = [re.fullmatch(r"[-\d]{10} [\d:,]{12} (DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)", line) for line in lines]
    return [(match[1].strip(), match[2]) for match in matches]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


@pytest.fixture
def lib():
    logger = logging.getLogger("hf_monitor_test.lib")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_handlers_bound_earlier_and_loggers_that_do_not_propagate(path, lib, capsys):
    lib.propagate = False
    lib.addHandler(logging.StreamHandler(sys.stderr))
    lib.addHandler(logging.StreamHandler(sys.stdout))
    elsewhere = io.StringIO()
    lib.addHandler(logging.StreamHandler(elsewhere))
    with Logger(path):
        lib.warning("a %s", "record")
        lib.debug("below the level")
        lib.critical("bad")
    lib.warning("afterwards")

    assert messages(path) == [
        ("WARNING", "hf_monitor_test.lib: a record"),
        ("CRITICAL", "hf_monitor_test.lib: bad"),
    ]
    shown = "a record\nbelow the level\nbad\nafterwards\n"
    assert (capsys.readouterr(), elsewhere.getvalue()) == ((shown, shown), shown)


def test_exceptions_and_stacks(path, lib):
    with Logger(path):
        try:
            raise ValueError("the reason")
        except ValueError:
            lib.exception("it failed")
        lib.info("with stack", stack_info=True)
        lib.error("exc_info without an exception", exc_info=True)

    lines = messages(path)
    assert lines[0] == ("ERROR", "hf_monitor_test.lib: it failed")
    assert ("ERROR", "Traceback (most recent call last):") in lines
    assert ("ERROR", "ValueError: the reason") in lines
    assert ("INFO", "Stack (most recent call last):") in lines
    assert lines[-1] == ("ERROR", "hf_monitor_test.lib: exc_info without an exception")


def test_a_message_that_names_its_logger_is_not_prefixed_again(path, tmp_path, lib):
    with Logger(path), Logger(tmp_path / "rows.log", json_lines=True):
        lib.warning("hf_monitor_test.lib: named")
        lib.warning("hf_monitor_test.lib:not quite")
        lib.warning("hf_monitor_test: another")

    assert messages(path) == [
        ("WARNING", "hf_monitor_test.lib: named"),
        ("WARNING", "hf_monitor_test.lib: hf_monitor_test.lib:not quite"),
        ("WARNING", "hf_monitor_test.lib: hf_monitor_test: another"),
    ]
    assert '"message":"hf_monitor_test.lib: named"' in (tmp_path / "rows.log").read_text()


def test_without_capture_handlers_output_is_text(path, lib):
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    lib.propagate = False
    lib.addHandler(handler)
    with Logger(path, capture_logging=False):
        lib.warning("once")
    assert messages(path) == [("WARNING", "WARNING once")]


def test_loggers_with_and_without_capture_side_by_side(path, tmp_path, lib):
    lib.propagate = False
    lib.addHandler(logging.StreamHandler(sys.stderr))
    with Logger(path), Logger(tmp_path / "text.log", capture_logging=False):
        lib.warning("once")
    assert messages(path) == [("WARNING", "hf_monitor_test.lib: once")]
    assert messages(tmp_path / "text.log") == [("INFO", "once")]


def test_a_record_whose_arguments_do_not_fit(path, lib, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with Logger(path):
        lib.info("%d", "x")
    assert messages(path) == [("INFO", "hf_monitor_test.lib: '%d' ('x',)")]


def test_a_handler_that_fails_or_logs_itself(path, lib):
    class Nested(logging.Handler):
        def emit(self, record):
            print("printed by a handler")
            logging.getLogger("hf_monitor_test.inner").warning("inner")
            raise RuntimeError("handler failed")

    lib.addHandler(Nested())
    with Logger(path):
        with pytest.raises(RuntimeError, match="handler failed"):
            lib.warning("outer")
        print("and the console is copied again")
    assert messages(path) == [
        *[("WARNING", "hf_monitor_test.inner: inner"), ("WARNING", "hf_monitor_test.lib: outer")],
        ("INFO", "and the console is copied again"),
    ]


def test_a_mask_that_logs_does_not_go_round_in_circles(path, lib):
    def mask(text):
        lib.warning("masking")
        return text.upper()

    with Logger(path, print_also=False, mask=mask) as logger:
        logger.write("a")
        lib.warning("b")
    assert messages(path) == [("INFO", "A"), ("WARNING", "hf_monitor_test.lib: B")]


def test_warnings_are_in_the_file(path):
    with Logger(path):  # as warnings.showwarning does, which pytest has replaced
        sys.stderr.write(warnings.formatwarning(UserWarning("careful"), UserWarning, "module.py", 12))
    assert messages(path)[0] == ("WARNING", "module.py:12: UserWarning: careful")


def test_someone_else_wraps_it_meanwhile(path, lib):
    found = logging.Logger.callHandlers
    seen = []
    logger = Logger(path)
    logger.start_redirect()
    ours = logging.Logger.callHandlers

    def theirs(self, record):
        seen.append(record.getMessage())
        return ours(self, record)

    logging.Logger.callHandlers = theirs
    try:
        lib.warning("one")
        logger.stop_redirect()
        assert logging.Logger.callHandlers is theirs
        lib.warning("two")
        logger.start_redirect()
        lib.warning("three")
        logger.stop_redirect()
        assert logging.Logger.callHandlers is theirs
        logging.Logger.callHandlers = ours  # they put back what they had found
        logger.start_redirect()
        lib.warning("four")
        logger.stop_redirect()
    finally:
        logging.Logger.callHandlers = found
    assert [text for _, text in messages(path)] == [f"hf_monitor_test.lib: {n}" for n in ("one", "three", "four")]
    assert seen == ["one", "two", "three"]
    assert records._sinks == ()


def test_transformers_datasets_root_and_rich_each_once(path):
    """In a process of its own: the libraries bind their handlers to the real stderr before the redirection begins."""
    code = f"""
        import logging, sys
        import transformers.utils.logging as transformers_logging
        from rich.logging import RichHandler
        from hf_monitor.loggers import Logger

        transformers_logging.set_verbosity_info()
        transformers_logger = transformers_logging.get_logger("transformers.trainer")
        datasets_logger = logging.getLogger("datasets")
        datasets_logger.propagate = False
        datasets_logger.addHandler(logging.StreamHandler())
        rich_logger = logging.getLogger("rich_user")
        rich_logger.propagate = False
        rich_logger.addHandler(RichHandler())
        handlers = list(logging.getLogger().handlers)
        with Logger({str(path)!r}):
            transformers_logger.info("from transformers")
            transformers_logger.warning_once("from transformers, once")
            datasets_logger.warning("from datasets")
            logging.warning("from root")     # basicConfig, as ever
            rich_logger.warning("from rich")
            logging.getLogger("plain").error("from plain")
        assert logging.getLogger().handlers != handlers, "basicConfig still worked"
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert [line for line in messages(path) if "from" in line[1]] == [
        *[
            ("INFO", "transformers.trainer: from transformers"),
            ("WARNING", "transformers.trainer: from transformers, once"),
        ],
        *[("WARNING", "datasets: from datasets"), ("WARNING", "root: from root"), ("WARNING", "rich_user: from rich")],
        ("ERROR", "plain: from plain"),
    ]
    for text in ("from transformers\n", "from datasets\n", "WARNING:root:from root\n", "ERROR:plain:from plain\n"):
        assert done.stderr.count(text) == 1
    assert "from rich" in done.stdout
