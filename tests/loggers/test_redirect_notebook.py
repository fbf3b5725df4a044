"""A real kernel: IPython lays a tee of its own over the streams at each cell, and takes it off at the end."""

import re

import nbclient
import pytest
from nbformat.v4 import new_code_cell, new_notebook

LINE = re.compile(r"[-\d]{10} [\d:,]{12} (DEBUG|INFO |WARNING|ERROR|CRITICAL) (.*)")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


@pytest.fixture
def run_cells(path):
    """Run cells in one kernel; give what each showed on stdout and on stderr."""

    def run(*sources):
        begin = f"""
            import logging, sys, threading, time
            from hf_monitor.loggers import Logger
            from hf_monitor.loggers.ipython import cells_beneath
            logger = Logger({str(path)!r})
        """
        sources = ["\n".join(line.strip() for line in begin.splitlines()), *sources]
        notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
        nbclient.NotebookClient(notebook, kernel_name="python3", timeout=60).execute()
        return [
            tuple("".join(out.text for out in cell.outputs if out.name == name) for name in ("stdout", "stderr"))
            for cell in notebook.cells[1:]
        ]

    return run


def messages(path):
    lines = path.read_bytes().decode().split("\n")
    assert lines.pop() == ""
    return [(match[1].strip(), match[2]) for match in map(LINE.fullmatch, lines)]


AS_FOUND = """
for stream in (sys.stdout, sys.stderr):
    *_, beneath = cells_beneath(stream.write)
    assert beneath.cell_contents.__self__ is stream, beneath.cell_contents  # the stream's own method
    assert "writelines" not in vars(stream)
"""


def test_all_cells_from_the_start_to_the_stop_are_heard_once(path, run_cells):
    shown = run_cells(
        "logger.start_redirect(); print('one')",
        "print('two'); print('half', end='')",
        "print(' and half')\nprint('three', file=sys.stderr)\nlogging.getLogger('lib').warning('record')",
        "from tqdm import tqdm\nfor _ in tqdm(range(3), desc='bar'):\n    pass",
        "logger.write('own'); print('four'); logger.stop_redirect(); print('stopped')",
        "print('five')" + AS_FOUND,
    )

    log = messages(path)
    [bar] = [message for message in log if message[1].startswith("bar: 100%")]
    log.remove(bar)
    assert log == [
        *[("INFO", "one"), ("INFO", "two"), ("INFO", "half and half"), ("INFO", "three"), ("WARNING", "lib: record")],
        *[("INFO", "own"), ("INFO", "four")],
    ]
    assert [out for out, _ in shown] == ["one\n", "two\nhalf", " and half\n", "", "own\nfour\nstopped\n", "five\n"]
    assert shown[2][1] == "three\nrecord\n"
    assert "bar: 100%" in shown[3][1]


def test_starting_and_stopping_twice(path, run_cells):
    run_cells(
        "logger.start_redirect(); print('one')",
        "print('two'); logger.stop_redirect(); print('not this')",
        "print('nor this')" + AS_FOUND,
        "logger.start_redirect(); print('three'); logger.stop_redirect(); print('nor that')" + AS_FOUND,
        "logger.start_redirect(); logger.start_redirect()",
        "print('four'); logger.stop_redirect()",
        "print('five'); logger.stop_redirect()",
        "print('nor these')" + AS_FOUND,
    )
    assert messages(path) == [("INFO", text) for text in ("one", "two", "three", "four", "five")]


def test_what_a_thread_prints_between_two_cells(path, run_cells):
    run_cells(
        """
def work():
    time.sleep(0.5)
    print("between")

logger.start_redirect()
thread = threading.Thread(target=work)
thread.start()
""",
        "thread.join(); print('next'); logger.stop_redirect()",
    )
    assert messages(path) == [("INFO", "between"), ("INFO", "next")]


def test_a_cell_that_awaits_has_no_tee(path, run_cells):
    run_cells(
        "import asyncio; await asyncio.sleep(0); logger.start_redirect(); print('one')",
        "print('two')",
        "await asyncio.sleep(0); print('three')",
        "print('four'); logger.stop_redirect(); print('not this')",
        "print('nor this')" + AS_FOUND,
    )
    assert messages(path) == [("INFO", text) for text in ("one", "two", "three", "four")]


@pytest.mark.parametrize("watched", [True, False])
def test_c_code_and_children_come_once(path, run_cells, monkeypatch, watched):
    """A kernel brings them to its streams by itself; they must not be captured a second time. (Not under pytest.)"""
    if watched:
        monkeypatch.delenv("PYTEST_CURRENT_TEST")
    begin = f"import ctypes, os, subprocess; logger = Logger({str(path)!r}, capture_fd=True); logger.start_redirect()"
    shown = run_cells(
        f"{begin}; print('one')",
        "ctypes.CDLL(None).dprintf(1, b'c\\n'); subprocess.run(['echo', 'child']); time.sleep(0.3); print('two')",
        "os.write(2, b'ERROR on stderr\\n'); time.sleep(0.3); logger.stop_redirect(); print('not this')",
        "print('nor this')" + AS_FOUND,
    )
    assert messages(path) == [
        *[("INFO", "one"), ("INFO", "c"), ("INFO", "child"), ("INFO", "two"), ("ERROR", "ERROR on stderr")]
    ]
    if watched:
        assert shown[1:3] == [("c\nchild\ntwo\n", ""), ("not this\n", "ERROR on stderr\n")]
    else:
        assert shown[1:3] == [("two\n", ""), ("not this\n", "")]
