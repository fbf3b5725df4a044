"""What is in a ``.wandb`` file: the format of LevelDB's log, with protobuf records in it."""

import struct
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
