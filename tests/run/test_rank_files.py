"""Which training of which attempt a process above rank 0 took part in, told without asking rank 0."""

import json

from hf_monitor.run.ranks import read_ranks


def begin(launch, training, at, **more):
    return {"kind": "event", "event": "train_begin", "launch": launch, "training": training, "time": at, **more}


def test_a_ranks_training_is_matched_by_launch_and_count_then_by_time(tmp_path):
    begins = [
        begin("a", 1, 100.0, attempt=1),
        begin("a", 2, 110.0, attempt=2),
        begin(None, 1, 111.0, attempt=3),  # without a launcher: no ranks
        begin("b", 1, 120.0, attempt=4),
        begin("b", 1, 220.0, attempt=5),  # a launch of the same address, later
    ]
    rows = [
        begin("a", 2, 111.5),  # slower to begin than what came next
        {"kind": "event", "event": "train_end", "time": 115.0},
        begin("b", 1, 119.0),
        begin("b", 1, 221.0),
        begin("c", 1, 221.0),  # rank 0 had not begun
        {"kind": "event", "event": "error", "time": 222.0},
    ]
    (tmp_path / "rank1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_ranks(tmp_path, begins)
    assert {attempt: [row["event"] for row in ranks[1]] for attempt, ranks in found.items()} == {
        2: ["train_begin", "train_end"],
        4: ["train_begin"],
        5: ["train_begin"],
        0: ["train_begin", "error"],
    }
