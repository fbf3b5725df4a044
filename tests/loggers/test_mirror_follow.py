import json
import os
import time

import pytest

from hf_monitor.loggers.mirror.core_log import skipped, status_of
from hf_monitor.loggers.mirror.course import Course
from hf_monitor.loggers.mirror.follow import Follower
from hf_monitor.loggers.mirror.guard import Guard
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.told import Told
from hf_monitor.loggers.mirror.wandb_open import Opened, _reason, open_run


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

    def order(self, order, sent):
        self.all.append(("order", order["do"]))
        self.sent = sent

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


def told_again(folder, last_step, *, ended=0.0, online=True):
    heard = Heard()
    told = Told(folder, "id", last_step, online=online, ended=ended)
    followed = Follower(MirrorSpec(str(folder), "id", (1,)), told)
    followed.poll(heard, last=True)
    return [one[-1] for one in heard.all if one[0] == "order"], heard, followed


def test_online_what_was_told_counts_when_the_run_ended_well_or_long_before_it_ended_otherwise(tmp_path):
    orders = ["images", "summary", "alert", "checkpoint"]
    write(tmp_path / "metrics.jsonl", row(1.0))
    write(tmp_path / "wandb.jsonl", *({**row(2.0 + i), "do": do} for i, do in enumerate(orders)))
    assert told_again(tmp_path, -1)[0] == orders
    again, heard, _ = told_again(tmp_path, 10)  # it was killed
    assert again == ["images", "summary", "checkpoint"]
    assert told_again(tmp_path, 10, ended=time.time() + 3600.0)[0] == ["checkpoint"]
    heard.sent()
    again, _, followed = told_again(tmp_path, 9)  # the server has it, whatever rows it has
    assert again == ["images", "summary", "alert"]
    followed.ended_well()
    assert told_again(tmp_path, 10)[0] == []
    assert told_again(tmp_path, -1)[0] == ["images", "summary", "alert"]  # the run was deleted there


def test_offline_only_a_summary_and_a_config_are_told_again_after_a_kill(tmp_path):
    write(tmp_path / "metrics.jsonl", row(1.0))
    write(tmp_path / "wandb.jsonl", *({**row(2.0), "do": do} for do in ("images", "summary", "config", "checkpoint")))
    _, heard, _ = told_again(tmp_path, -1, online=False)
    heard.sent()
    assert told_again(tmp_path, 10, online=False)[0] == ["summary", "config"]


def test_a_line_of_the_log_that_is_very_long_is_cut_and_the_next_ones_come(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("one\n" + "가" * 300_000 + "\nafter\n")
    heard, followed = Heard(), follower(tmp_path)
    followed.poll(heard)
    shown = "".join(text for _, text in heard.take())
    first, long, after = shown.splitlines()
    assert (first, after) == ("one", "after")
    assert long == "가" * (8192 // 3) + " ... (the line is cut; train.log has it whole)"
    write(log, "x" * 600_000)  # its end is not there yet
    followed.poll(heard)
    assert heard.take()[0][1].startswith("xxx")
    write(log, "x\nlast\n")
    followed.poll(heard)
    assert heard.take() == [("logs", "last\n")]
    assert followed.log_offset == log.stat().st_size


def test_what_the_helper_of_wandb_skips_or_is_refused_is_read_from_its_log(tmp_path):
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "debug-internal.log"
    assert (skipped(tmp_path), status_of(tmp_path)) == ([], 0)
    log.write_text(
        '{"level":"WARN","msg":"filestream: run history line too long, skipping","len":1}\n'
        '{"level":"WARN","msg":"filestream: run summary line too long, skipping"}\n'
        '{"level":"ERROR","msg":"api: HTTP error","status":401,"method":"POST"}\n'
    )
    rows, summary = skipped(tmp_path)
    assert rows.startswith("1 rows are too long")
    assert summary.startswith("the summary is too long")
    assert status_of(tmp_path) == 401
    error = Exception("<no message>")
    assert _reason(error, "host", 401) == ("host refuses the key (401)", "wandb login --relogin")
    assert _reason(error, "host", 404)[0] == "host refuses it (404)"
    assert _reason(Exception("it timed out"), "host", 500) == ("host does not answer", "")


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


def test_offline_the_steps_go_on_where_the_files_were_sent_and_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setattr("hf_monitor.loggers.mirror.wandb_open._opened", lambda *_: Opened(None, "offline", last_step=7))
    spec = MirrorSpec(str(tmp_path), "id", (1,))
    steps = [open_run(spec, continued=True, told_step=step).last_step for step in (-1, 5, 70)]
    assert steps == [7, 7, 70]


def test_disabled_is_the_users_word(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "WANDB_DISABLED": "true"})
    opened = open_run(MirrorSpec(str(tmp_path), "id", (1,)), continued=False)
    assert (opened.run, opened.mode, opened.why) == (None, "disabled", "it is switched off by WANDB_DISABLED")
    assert not (tmp_path / "wandb").exists()
