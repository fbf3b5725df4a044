"""What is in a ``.wandb`` file: the format of LevelDB's log, with protobuf records in it."""

import json
import struct
import time
import zlib
from pathlib import Path

HEADER, BLOCK, HEAD = 7, 32 * 1024, struct.Struct("<IHB")


def records(path):
    """Give the records of a file in order; what a kill tore off at its end is left out."""
    from wandb.proto import wandb_internal_pb2

    data = Path(path).read_bytes()
    assert data[:4] == b":W&B"
    assert struct.unpack("<H", data[4:6]) == (0xBEE1,)
    found, parts, at = [], b"", HEADER
    while at + HEAD.size <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEAD.size:  # too little for a header: the next block
            at += left
            continue
        checksum, length, kind = HEAD.unpack_from(data, at)
        part = data[at + HEAD.size : at + HEAD.size + length]
        if not kind or len(part) < length:
            break
        assert zlib.crc32(bytes([kind]) + part) == checksum
        at += HEAD.size + length
        parts += part
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def history(path):
    """Give the rows that ``run.log`` made, in order: nested as they were, JSON read, W&B's own ``_step`` among them."""
    return [_items(record.history.item) for record in records(path) if record.HasField("history")]


def summary(path):
    """Give the summary as it was in the end."""
    return _merged(path, "summary")


def config(path):
    """Give the config as it was in the end."""
    return _merged(path, "config")


def logs(path):
    """Give what ``run.write_logs`` was told."""
    return "".join(record.output_logger.line for record in records(path) if record.HasField("output_logger"))


def alerts(path):
    """Give title, text and level of each alert."""
    found = [record.alert for record in records(path) if record.HasField("alert")]
    return [(alert.title, alert.text, alert.level) for alert in found]


def artifacts(path):
    """Give the artifacts; ``.manifest.contents`` has their files."""
    return [record.artifact for record in records(path) if record.HasField("artifact")]


def exit_code(path):
    """Give the exit code of a finished run; None before."""
    return next((record.exit.exit_code for record in records(path) if record.HasField("exit")), None)


def wait_for_exit(path, seconds=20.0):
    """Wait for the last record: wandb writes it after ``finish()`` has returned."""
    end = time.monotonic() + seconds
    while exit_code(path) is None:
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.02)
    return exit_code(path)


def table(path, shown):
    """Give columns and rows of a table, by what the history has of it."""
    found = json.loads((Path(path).parent / "files" / shown["path"]).read_text(encoding="utf-8"))
    return found["columns"], found["data"]


def _items(items):
    found = {}
    for item in items:
        *outer, name = [item.key] if item.key else item.nested_key
        place = found
        for one in outer:
            place = place.setdefault(one, {})
        place[name] = json.loads(item.value_json)
    return found


def _merged(path, kind):
    found = {}
    for record in records(path):
        if record.HasField("run") and kind == "config":
            _put(found, record.run.config.update)
        if record.HasField(kind):
            _put(found, getattr(record, kind).update)
            for item in getattr(record, kind).remove:
                found.pop(item.key, None)
    return found


def _put(found, items):
    for name, value in _items(items).items():
        both = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = found[name] | value if both else value
