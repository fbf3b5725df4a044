import gc
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_monitor.run import Run, RunWriter, load_run
from hf_monitor.run.bulk import collector_paused, row_blocks, rows_backwards
from hf_monitor.run.lineage import Lost, merge
from hf_monitor.run.rows import iter_lines


def plain_merge(rows):
    """The merge as it was first written: each row copied, each key whole."""
    views, latest, lost, written, reached, steps = {}, 0, [], {}, {}, []
    for raw in rows:
        row = dict(raw)
        attempt = row.get("attempt") or 0
        if row.get("kind") == "event" and row.get("event") == "train_begin":
            resumed, step = row.get("resumed_attempt"), row.get("step") or 0
            earlier = [number for number in views if number < attempt]
            before = views[max(earlier)] if earlier else {}
            before = views[resumed] if resumed in views and resumed != attempt else before
            own = {key: kept for key, kept in views.get(attempt, {}).items() if kept.get("attempt") == attempt}
            kept = {k: v for k, v in before.items() if 0 < (v.get("step") or 0) <= step}
            if step:
                kept |= {k: v for k, v in before.items() if not v.get("step") and not v.get("standalone")}
            views[attempt] = kept | own
            if step:
                first = resumed or max((number for number in written if number < attempt), default=0)
                for number in sorted(number for number in written if first <= number < attempt):
                    gone = [r for r in written[number] if (r.get("step") or 0) > step and not r.get("standalone")]
                    lost += [(r, attempt) for r in gone]
                    written[number] = [r for r in written[number] if not any(r is one for one in gone)]
                for number in sorted(number for number in reached if first <= number < attempt):
                    begun, last = reached[number]
                    if last > max(step, begun):
                        steps.append(Lost(number, max(step, begun) + 1, last, attempt))
                        reached[number] = begun, max(step, begun)
            reached[attempt] = (step, step)
            latest = attempt
        elif attempt not in views:
            views[attempt] = dict(views.get(latest, {}))
            latest = attempt
        if attempt in reached and not row.get("standalone"):
            begun, last = reached[attempt]
            reached[attempt] = begun, max(last, row.get("step") or 0)
        if row.get("kind") == "event":
            continue
        written.setdefault(attempt, []).append(row)
        alone = row.get("time") if row.get("standalone") else None
        key = (row.get("kind", ""), row.get("step", 0), row.get("name", row.get("rule")), alone)
        earlier = views[attempt].get(key)
        views[attempt][key] = {**earlier, **row} if earlier and earlier.get("attempt") == attempt else row
    metrics = sorted(views.get(latest, {}).values(), key=lambda row: (row.get("step", 0), row.get("time", 0.0)))
    return metrics, lost, steps


def optional(**keys):
    return st.fixed_dictionaries({}, optional=keys)


begins = optional(attempt=st.integers(0, 3), step=st.integers(0, 4), resumed_attempt=st.integers(0, 3)).map(
    lambda row: {"kind": "event", "event": "train_begin", **row}
)
others = optional(
    kind=st.sampled_from(["train", "eval", "event", "alert", ""]),
    attempt=st.sampled_from([None, 0, 1, 2, 3]),
    step=st.integers(0, 5),
    time=st.sampled_from([0.5, 1.0, 2]),
    name=st.sampled_from([None, "eval", "test"]),
    rule=st.sampled_from(["nan", "plateau"]),
    standalone=st.booleans(),
    loss=st.floats(0, 1),
    more=st.integers(0, 9),
)


@given(st.lists(st.one_of(begins, others, others, others), max_size=25))
def test_the_merge_is_that_of_the_plain_one(rows):
    before = [dict(row) for row in rows]
    assert merge(rows) == plain_merge(before)
    assert rows == before


def test_metrics_are_the_rows_themselves(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    writer.row("train", 1, {"loss": 1.0})
    run = load_run(tmp_path)
    assert run.metrics[0] is run.rows[1]


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b'{"step":1,"loss":0.5}',
                '{"text":"회의 요약"}'.encode(),
                b'{"loss":{"$float":"nan"}}',
                b'{"a":{"$float":"no number"}}',
                b'{"a":1},{"b":2}',  # broken lines that would be rows if lines were joined
                b'{"a":[{}',
                b"{}]}",
                b'[{"$float":"inf"}]',
                b"3",
                b"",
                b"  \r",
                b'{"torn":"\xff',
            ]
        ),
        st.dictionaries(st.text(max_size=3), st.integers(0, 99), max_size=3).map(lambda row: json.dumps(row).encode()),
    ),
    max_size=12,
)


@given(LINES, st.booleans(), st.integers(1, 60))
def test_blocks_of_any_size_give_the_rows_of_the_lines_from_both_ends(tmp_path_factory, lines, ended, size):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    path.write_bytes(data)
    expected = [row for _, row in iter_lines(data)]
    kept = [row for row in expected if row is not None]
    blocks = list(row_blocks(path, size))
    assert repr([row for rows, _, _ in blocks for row in rows]) == repr(kept)  # NaN is like itself there
    assert sum(n_broken for _, n_broken, _ in blocks) == len(expected) - len(kept)
    assert sum(n_bytes for _, _, n_bytes in blocks) == len(data)
    assert repr(list(rows_backwards(path, size))) == repr(kept[::-1])


def test_the_collector_is_put_back_by_the_last_of_several_threads():
    assert gc.isenabled()
    entered, leave = threading.Event(), threading.Event()

    def read():
        with collector_paused():
            entered.set()
            leave.wait(5)

    other = threading.Thread(target=read)
    with collector_paused():
        other.start()
        assert entered.wait(5)
    assert not gc.isenabled()  # the other thread still reads
    leave.set()
    other.join()
    assert gc.isenabled()


def test_the_collector_is_put_back_after_an_error():
    with pytest.raises(ValueError, match="within"), collector_paused():
        raise ValueError("within")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.fixture
def run_dir(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    for step in range(1, 4):
        writer.row("train", step, {"loss": 1.0 / step})
    return tmp_path


def test_the_latest_texts_are_those_of_all_rows_read_at_once(run_dir):
    """An evaluation of another name between, another process's in the middle, rows without a name, a torn line."""

    def texts(time, attempt, name, *numbers):
        return [{"time": time, "attempt": attempt, "name": name, "index": n, "input": "x" * 50} for n in numbers]

    rows = [*texts(1.0, 1, "eval", 0, 1), *texts(2.0, 1, "test", 0, 1), *texts(3.0, 1, "eval", 0), {"time": 3.0}]
    rows += [*texts(3.5, 2, "eval", 0, 1), *texts(3.0, 1, "eval", 1, 2), *texts(4.0, 1, "test", 0)]
    lines = [json.dumps(row).encode() for row in rows]
    (run_dir / "predictions.jsonl").write_bytes(b"\n".join([*lines, lines[0][:30]]))
    for name in ("eval", "test", "nothing"):
        of_name = [row for row in rows if row.get("name") == name]
        expected = [row for row in of_name if row["time"] == of_name[-1]["time"]]
        run, read = load_run(run_dir), load_run(run_dir)
        assert run.latest_predictions(name) == expected
        assert "predictions" not in vars(run)
        assert len(read.predictions) == len(rows)
        assert read.latest_predictions(name) == expected


def test_rows_one_by_one_are_the_rows_and_are_not_kept(run_dir):
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"torn')
    run, read = load_run(run_dir), load_run(run_dir)
    assert list(run.iter_rows("metrics.jsonl")) == read.rows == list(read.iter_rows("metrics.jsonl"))
    assert run.broken_lines == read.broken_lines == {"metrics.jsonl": 1}
    assert "rows" not in vars(run)
    assert list(run.iter_rows("system.jsonl")) == []


def test_samples_one_by_one_come_with_those_of_other_ranks(run_dir):
    for name, times in (("system.jsonl", (1.0, 3.0)), ("system.rank1.jsonl", (2.0, 4.0))):
        lines = [json.dumps({"time": time, "kind": "host"}) for time in times]
        (run_dir / name).write_text("\n".join(lines))
    run = load_run(run_dir)
    assert [row["time"] for row in run.iter_rows("system.jsonl")] == [1.0, 2.0, 3.0, 4.0]


def test_a_killed_run_is_not_read_again_where_nothing_came_after(run_dir, monkeypatch):
    facts = json.loads((run_dir / "run.json").read_text())
    facts["attempts"][0] |= {"pid": 2**22 + 1, "pid_ticks": 1}  # no such process any more
    (run_dir / "run.json").write_text(json.dumps(facts))
    run = load_run(run_dir)
    assert len(run.rows) == 4
    monkeypatch.setattr(Run, "_read", lambda self, name: pytest.fail(f"{name} was read again"))
    assert run.status == "killed"
