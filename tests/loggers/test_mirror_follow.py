import json
import os
import time

import pytest

from hf_monitor.loggers.mirror.course import Course
from hf_monitor.loggers.mirror.follow import Follower
from hf_monitor.loggers.mirror.guard import Guard
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.told import Told
from hf_monitor.loggers.mirror.wandb_open import open_run


class Heard:
    """What a follower tells, in order."""

    def __init__(self):
        self.all = []
        self.step = 0

    def row(self, line, row):
        self.step = 10 * line
        self.all.append(("row", line, row["step"]))

    def predictions(self, rows):
        self.step += 1
        self.all.append(("predictions", rows[0]["step"], [row["index"] for row in rows]))

    def order(self, order):
        self.all.append(("order", order["do"]))

    def logs(self, text):
        self.all.append(("logs", text))

    def take(self):
        found, self.all = self.all, []
        return found


def write(path, *rows):
    with path.open("a") as file:
        for row in rows:
            file.write(row if isinstance(row, str) else json.dumps(row) + "\n")


def row(at, attempt=1, **more):
    return {"time": at, "attempt": attempt, "step": int(at), "kind": "train", **more}


def text(at, index, step=0, attempt=1):
    return {"time": at, "attempt": attempt, "step": step or int(at), "name": "eval", "index": index}


def follower(folder, *attempts, last_step=-1, **more):
    return Follower(MirrorSpec(str(folder), "id", attempts or (1,)), Told(folder, "id", last_step), **more)


def test_what_lies_beside_the_rows_is_told_at_its_place_among_them(tmp_path):
    write(tmp_path / "metrics.jsonl", row(1.0), row(3.0), row(5.0))
    write(tmp_path / "predictions.jsonl", text(2.0, 0), text(2.0, 1), text(4.0, 0), text(6.0, 0))
    write(tmp_path / "wandb.jsonl", {**row(2.5), "do": "html"})
    heard = Heard()
    follower(tmp_path).poll(heard)
    assert heard.all == [
        ("row", 1, 1),
        ("predictions", 2, [0, 1]),
        ("order", "html"),
        ("row", 2, 3),
        ("predictions", 4, [0]),
        ("row", 3, 5),
    ]  # the texts of the last evaluation may not all be there


def test_texts_are_complete_when_no_more_come_or_at_the_end(tmp_path):
    heard, followed = Heard(), follower(tmp_path)
    path = tmp_path / "predictions.jsonl"
    write(path, text(2.0, 0))
    followed.poll(heard)
    write(path, text(2.0, 1))
    followed.poll(heard)
    assert heard.take() == []
    followed.poll(heard)
    assert heard.take() == [("predictions", 2, [0, 1])]
    write(path, text(3.0, 0))
    followed.poll(heard, last=True)
    assert heard.take() == [("predictions", 3, [0])]
    followed.poll(heard, last=True)
    assert heard.take() == []


def test_a_line_counts_when_it_is_whole_and_those_of_other_attempts_count_too(tmp_path):
    heard, followed = Heard(), follower(tmp_path, 2)
    path = tmp_path / "metrics.jsonl"
    write(path, row(1.0), "no json\n", row(2.0, attempt=2), '{"attempt":2,"time":3.0,')
    followed.poll(heard)
    assert heard.take() == [("row", 3, 2)]
    write(path, '"step":3}\n')
    followed.poll(heard)
    assert heard.take() == [("row", 4, 3)]


def test_a_folder_that_was_emptied_is_told_on_with_ascending_numbers_and_nothing_twice(tmp_path):
    heard, followed = Heard(), follower(tmp_path)
    path = tmp_path / "metrics.jsonl"
    write(path, row(1.0), row(2.0), row(3.0))
    followed.poll(heard)
    heard.take()
    path.unlink()
    write(path, row(3.0), row(4.0))
    followed.poll(heard)
    assert heard.take() == [("row", 5, 4)]
    write(path, row(5.0))
    follower(tmp_path, emptied=followed.emptied).poll(heard)  # another process goes on
    assert heard.take() == [("row", 5, 4), ("row", 6, 5)]


def test_only_the_log_since_the_attempt_began_is_told(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("2026-01-02 03:04:05,678 INFO  before\n  of it\n2026-01-02 03:04:07,000 INFO  now\n  of it, torn")
    begun = time.mktime((2026, 1, 2, 3, 4, 6, 0, 0, -1))
    heard, followed = Heard(), follower(tmp_path, since=begun)
    followed.poll(heard)
    assert heard.take() == [("logs", "2026-01-02 03:04:07,000 INFO  now\n")]
    write(log, "\n")
    followed.poll(heard)
    assert heard.take() == [("logs", "  of it, torn\n")]
    follower(tmp_path, log_offset=followed.log_offset).poll(heard)
    assert heard.take() == []


def test_a_table_that_w_and_b_does_not_have_is_told_again_and_no_other(tmp_path):
    write(tmp_path / "metrics.jsonl", row(1.0), row(3.0))
    write(tmp_path / "predictions.jsonl", text(2.0, 0), text(4.0, 0))
    follower(tmp_path).poll(Heard(), last=True)
    heard = Heard()
    follower(tmp_path, last_step=20).poll(heard, last=True)
    assert [one for one in heard.all if one[0] == "predictions"] == [("predictions", 4, [0])]


@pytest.mark.parametrize(
    ("events", "orderly", "code"),
    [
        ([], True, 0),
        ([], False, 1),
        ([{"event": "train_begin"}], True, 1),
        ([{"event": "train_begin"}, {"event": "train_end"}], False, 0),
        ([{"event": "train_begin"}, {"event": "train_end", "stopped_by": "SIGTERM"}], True, 1),
        ([{"event": "train_begin"}, {"event": "error", "type": "KeyboardInterrupt"}], True, 255),
        ([{"event": "train_begin"}, {"event": "error", "type": "SystemExit", "exit_code": 0}], True, 0),
        ([{"event": "error", "type": "ValueError"}], True, 1),
        ([{"event": "error"}, {"event": "train_begin"}, {"event": "train_end"}], True, 0),
    ],
)
def test_the_exit_code_is_that_of_the_last_training(events, orderly, code):
    course = Course()
    for event in events:
        course.see({"kind": "event", **event})
    assert course.exit_code(orderly=orderly) == code


def test_the_guard_gives_up_when_nothing_moves(monkeypatch):
    class Still:
        beats, core, uploading = 0, None, True

    class Over(Exception):
        pass

    def give_up(why):
        raise Over(why)

    monkeypatch.setattr("hf_monitor.loggers.mirror.guard._LOOK_S", 0.01)
    said = []
    guard = Guard(Still(), lambda **message: said.append(message), give_up, patience=0.05)
    with pytest.raises(Over, match="nothing moved"):
        guard._look()
    assert said == []  # no training waits for what does not move


def test_a_checkpoint_on_its_way_is_said_only_while_it_moves(monkeypatch):
    class Sending:
        beats, core, uploading = 0, None, True

    host, said, looks = Sending(), [], iter([10, 10 + (64 << 10), 11 + (64 << 10), 12 + (128 << 10), 13 + (192 << 10)])

    def count(*_):
        if (found := next(looks, None)) is None:
            raise StopAsyncIteration
        host.uploading = found < 192 << 10
        return found

    monkeypatch.setattr("hf_monitor.loggers.mirror.guard._LOOK_S", 0.01)
    monkeypatch.setattr("hf_monitor.loggers.mirror.guard._UPLOAD_BYTES_S", 6_400_000)  # 64 KiB a look
    monkeypatch.setattr("hf_monitor.loggers.mirror.guard.bytes_moved", count)
    with pytest.raises(StopAsyncIteration):
        Guard(host, lambda **message: said.append(message), print)._look()
    assert said == [{"wandb": "upload"}] * 2


def test_a_folder_that_cannot_be_written_is_said_and_no_other_one_taken(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "file"))
    opened = open_run(MirrorSpec(str(tmp_path), "id", (1,)), continued=False)
    assert (opened.run, opened.mode) == (None, "none")
    assert "cannot be written" in opened.why
    assert opened.advice.startswith("WANDB_DIR")


def test_disabled_is_the_users_word(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "WANDB_DISABLED": "true"})
    opened = open_run(MirrorSpec(str(tmp_path), "id", (1,)), continued=False)
    assert (opened.run, opened.mode, opened.why) == (None, "disabled", "it is switched off by WANDB_DISABLED")
    assert not (tmp_path / "wandb").exists()
