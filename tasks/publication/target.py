"""The artifact that a command means, and what it is: a model, or rows."""

from __future__ import annotations

from pathlib import Path

from tasks.artifacts.store import Record, Store


def resolve(store: Store, name: str) -> Record:
    """An artifact by tag, stage, key, or by its folder in the store (also a folder inside it). Raises `ValueError` where there is none."""
    folder = Path(name).absolute()
    if folder.is_dir() and not store.tags().get(name):
        objects = store.object("x").parent
        if objects in folder.parents and (record := store.record(folder.relative_to(objects).parts[0])):
            return record
        if "/" in name or folder.joinpath("config.json").exists():
            raise ValueError(
                f"{folder} is no artifact of {store.root}, so nothing is known of what it came from; name a tag, a stage or a key"
            )
    return store.resolve(name)
