"""The history of a tag: the artifacts it has pointed at, and the way back to an earlier one."""

from __future__ import annotations

from typing import Any

from tasks.artifacts.store import Moves, Record, Store


def standing(moves: Moves) -> list[str]:
    """Keys that a roll back can return to, the present one last: a roll back takes away what it rolled back from."""
    keys: list[str] = []
    for move in moves:
        if move.get("rolled_back"):
            while keys and keys[-1] != move["key"]:
                keys.pop()
        else:
            keys.append(move["key"])
    return keys


def roll_back(store: Store, name: str, why: str) -> tuple[Record, Record | None]:
    """Point a tag at what it pointed at before. Returns (the artifact it points at now, the one it left).

    Raises `ValueError` where there is no earlier artifact, or its files are gone.
    """
    moves = store.tags().get(name, [])
    if not moves:
        raise ValueError(f"no tag {name!r}; tags: {', '.join(store.tags()) or 'none'}")
    keys = standing(moves)
    if len(keys) < 2:
        raise ValueError(f"{name} has pointed at nothing before {keys[-1][:12]}, so there is nothing to roll back to")
    problem: list[str] = []
    record = store.find(keys[-2], damaged=problem.append)
    if record is None:
        raise ValueError(
            f"{name} cannot go back to {keys[-2][:12]}: {problem[0] if problem else 'its files were collected'}; the recipe and the data "
            "that made it make it again, and `hanlin artifacts tag` names it"
        )
    store.tag(name, record, why, seen=moves, rolled_back=True)
    return record, store.record(keys[-1])


def history(moves: Moves) -> list[dict[str, Any]]:
    """A tag's moves as a table for people, oldest first."""
    import time

    before = ["–", *(move["key"][:12] for move in moves)]
    return [
        {
            "when": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(move["at"])),
            "from": old,
            "to": move["key"][:12],
            "stage": move["stage"],
            "by": move["by"],
            "why": ("rolled back: " if move.get("rolled_back") else "") + move["why"],
        }
        for old, move in zip(before, moves, strict=False)
    ]
