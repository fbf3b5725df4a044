"""Real tqdm, real rich, real Trainer callbacks, over the redirected streams."""

import logging
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

from hf_monitor.loggers import Logger

INTERVAL_SECONDS = 0.2


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


@pytest.fixture(autouse=True)
def quiet_monitor(monkeypatch):
    monkeypatch.setattr(tqdm, "monitor_interval", 0)


def texts(path):
    text = Path(path).read_bytes().decode()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    lines = text.split("\n")
    assert lines.pop() == ""
    messages = [re.fullmatch(r"[-\d]{10} [\d:,]{12} (?:INFO |ERROR|WARNING) (.*)", line)[1] for line in lines]
    assert all(message.strip() for message in messages)
    return messages


def bars(lines, name):
    return [int(match[1]) for line in lines if (match := re.match(rf"{name}: .*?(\d+)/\d+ \[.*\]$", line))]


def steps(name, count, seconds=0.005, **options):
    for step in tqdm(range(count), desc=name, mininterval=0, **options):
        time.sleep(seconds)
        yield step


def test_a_bar_reaches_the_console_untouched_and_the_file_rarely(path, capsys):
    def work():
        for _ in steps("bar", 100):
            pass

    work()
    plain = capsys.readouterr().err
    begin = time.monotonic()
    with Logger(path, progress_interval_seconds=INTERVAL_SECONDS):
        work()
        found = bars(texts(path), "bar")
        assert found[-1] == 100, "the final state is there as soon as the bar is closed"
    seconds = time.monotonic() - begin

    assert 2 <= len(found) <= seconds / INTERVAL_SECONDS + 1
    assert found == sorted(set(found))
    assert bars(texts(path), "bar") == found
    console = capsys.readouterr().err

    def shape(text):
        return re.sub(r"\[.*?\] *", "", text)  # the rates differ, and so does the padding after them

    assert shape(console) == shape(plain)


def test_short_bars_give_one_line_each(path):
    with Logger(path):
        for number in range(3):
            for _ in steps(f"bar{number}", 5, seconds=0):
                pass
    lines = texts(path)
    assert [bars(lines, f"bar{number}") for number in range(3)] == [[5]] * 3
    assert len(lines) == 3


@pytest.mark.parametrize("leave", [True, False])
def test_nested_bars(path, leave):
    begin = time.monotonic()
    with Logger(path, progress_interval_seconds=INTERVAL_SECONDS):
        for number in steps("outer", 4):
            for _ in steps(f"inner{number}", 20, leave=leave):
                pass
    limit = (time.monotonic() - begin) / INTERVAL_SECONDS + 1

    lines = texts(path)
    outer = bars(lines, "outer")
    assert outer[-1] == 4
    assert len(outer) <= limit
    inner = [bars(lines, f"inner{number}") for number in range(4)]
    assert sum(map(len, inner)) <= limit + 4
    if leave:
        assert [found[-1] for found in inner] == [20] * 4
    assert len(lines) == len(outer) + sum(map(len, inner)), "nothing else"
    assert lines[-1].startswith("outer: 100%")


def test_a_wiped_bar_leaves_no_blank_line(path):
    with Logger(path):
        for _ in steps("gone", 20, leave=False):
            pass
        print("after", file=sys.stderr)
    assert texts(path) == ["after"]


@pytest.mark.parametrize("file", ["stdout", "stderr"])
def test_messages_while_bars_are_shown_are_lines_of_their_own(path, capsys, file):
    with Logger(path) as logger:
        for number in steps("outer", 3):
            for step in steps("inner", 10, leave=False):
                if step == 3:
                    tqdm.write(f"tqdm {number}", file=getattr(sys, file))
                if step == 5:
                    print(f"printed {number}", file=getattr(sys, file))
                if step == 6:
                    logger.write(f"own {number}")
                if step == 7:
                    logger.error(f"error {number}")
                if step == 8:
                    logging.getLogger("lib").warning("record %d", number)
    lines = texts(path)
    expected = [
        text
        for number in range(3)
        for text in (f"tqdm {number}", f"printed {number}", f"own {number}", f"error {number}", f"lib: record {number}")
    ]
    assert [line for line in lines if not line.startswith(("outer", "inner"))] == expected
    assert bars(lines, "outer") == [3]
    assert bars(lines, "inner") == []
    console = capsys.readouterr()
    assert console.out.count("own 1\n") == 1
    assert re.search(r"\r *\r(\n\r *\r\x1b\[A)?error 1\n", console.err), "tqdm made room for it"


def test_bars_in_several_threads(path):
    def work(number):
        for step in steps(f"bar{number}", 40):
            if step == 20:
                tqdm.write(f"message {number}")

    begin = time.monotonic()
    with Logger(path, progress_interval_seconds=INTERVAL_SECONDS / 2):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    limit = (time.monotonic() - begin) / (INTERVAL_SECONDS / 2) + 1

    lines = texts(path)
    for number in range(3):
        found = bars(lines, f"bar{number}")
        assert found[-1] == 40
        assert len(found) <= limit + 1
    assert sorted(line for line in lines if "message" in line) == [f"message {number}" for number in range(3)]


def test_a_bar_that_outlives_the_redirection(path, capsys):
    logger = Logger(path)
    logger.start_redirect()
    bar = tqdm(total=10, desc="bar", mininterval=0)
    bar.update(4)
    logger.stop_redirect()
    bar.update(6)
    bar.close()
    assert bars(texts(path), "bar") == [4]
    assert "10/10" in capsys.readouterr().err


def test_tqdms_own_stand_in_for_stdout(path, monkeypatch):
    logger = Logger(path)
    logger.start_redirect()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", DummyTqdmFile(sys.stdout))
        logger.start_redirect()
        print("once")
        logger.stop_redirect()
    logger.stop_redirect()
    assert texts(path) == ["once"]


def test_rich_output_and_progress(path):
    from rich.console import Console
    from rich.progress import Progress

    with Logger(path, progress_interval_seconds=INTERVAL_SECONDS):
        console = Console(file=sys.stdout, force_terminal=True, width=80)
        console.print("[bold red]styled[/] text")
        with Progress(console=console, refresh_per_second=50) as progress:
            tasks = [progress.add_task(f"task{number}", total=40) for number in range(2)]
            for step in range(40):
                time.sleep(0.01)
                for task in tasks:
                    progress.advance(task)
                if step == 20:
                    console.print("a message")
        console.print("afterwards")
    lines = texts(path)
    assert lines[0] == "styled text"
    assert "a message" in lines
    assert lines[-1] == "afterwards"
    for number in range(2):
        found = [line for line in lines if line.startswith(f"task{number}")]
        assert "100%" in found[-1]
        assert len(found) <= 7


@pytest.mark.no_cover
def test_the_trainers_own_output_is_left_out_where_it_is_expected(path, capsys):
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    state = SimpleNamespace(is_world_process_zero=True, is_local_process_zero=True, max_steps=3, global_step=0)

    def train(callback):
        logger.write("loss 2.3457")
        logger.expect_echo(lambda line: line.startswith("{'loss': '2.346'"))
        callback.on_log(None, state, None, logs={"loss": 2.34567, "epoch": 0.5, "total_flos": 12.0})
        callback.on_log(None, state, None, logs={"eval_loss": 1.0})

    with Logger(path, print_also=False) as logger:
        train(PrinterCallback())
        progress = ProgressCallback()
        progress.on_train_begin(None, state, None)
        train(progress)
        state.global_step = 3
        progress.on_step_end(None, state, None)
        progress.on_train_end(None, state, None)

    lines = texts(path)
    assert lines[:4] == ["loss 2.3457", "{'eval_loss': '1'}"] * 2
    assert len(lines) == 5
    assert "3/3" in lines[4]
    assert capsys.readouterr().out.count("{'loss': '2.346', 'epoch': '0.5'}\n") == 2
