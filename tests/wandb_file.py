"""Read an offline Weights & Biases run back from its file: LevelDB's log format with one protobuf record each."""

import json
import struct
from pathlib import Path

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7


def records(path: Path):
    """The raw records; the first HEADER bytes of the file are its own header."""
    data, at, parts = path.read_bytes(), HEADER, []
    while at + HEADER <= len(data):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + HEADER])
        parts.append(data[at + HEADER : at + HEADER + length])
        at += HEADER + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield b"".join(parts)
            parts = []


def read_run(folder: Path):
    """The nested config, the names in the history, the names of the pictures, and the run record of an offline run."""
    config, history, pictures, run = {}, set(), set(), None
    for data in records(next(folder.glob("*.wandb"))):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            run = record.run
        for update in (record.run.config.update, record.config.update):
            for item in update:
                keys = list(item.nested_key) or [item.key]
                place = config
                for key in keys[:-1]:
                    place = place.setdefault(key, {})
                place[keys[-1]] = json.loads(item.value_json)
        for item in record.history.item:
            name = "/".join(item.nested_key) or item.key
            history.add(name)
            if name.endswith("/_type") or '"_type"' in item.value_json:
                pictures.add(name.removesuffix("/_type"))
    return config, history, pictures, run


def read_history(folder: Path):
    """The rows of the history of an offline run, in order: name -> value."""
    rows = []
    for data in records(next(folder.glob("*.wandb"))):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            items = record.history.item
            rows.append({"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items})
    return rows


def read_summary(folder: Path):
    """The summary of an offline run, and the exit code; None where the run did not end."""
    summary, code = {}, None
    for data in records(next(folder.glob("*.wandb"))):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in (*record.history.item, *record.summary.update):
            summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if record.HasField("exit"):
            code = record.exit.exit_code
    return summary, code
