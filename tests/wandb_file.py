"""Read an offline Weights & Biases run back from its file."""

import json
from pathlib import Path

from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore


def read_run(folder: Path):
    """The nested config, the names in the history, and the names of the pictures of one offline run."""
    store = DataStore()
    store.open_for_scan(str(next(folder.glob("*.wandb"))))
    config, history, pictures = {}, set(), set()
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for update in (record.run.config.update, record.config.update):
            for item in update:
                keys = list(item.nested_key) or [item.key]
                place = config
                for key in keys[:-1]:
                    place = place.setdefault(key, {})
                place[keys[-1]] = json.loads(item.value_json)
        for item in record.history.item:
            name = ".".join(item.nested_key) or item.key
            history.add(name)
            if "_type" in item.value_json:
                pictures.add(name)
    return config, history, pictures
