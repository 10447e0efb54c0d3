"""`hanlin artifacts …`: look at the store, name things in it, check it, and take out what nobody needs."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from flows.console import store, table

artifacts = typer.Typer(no_args_is_help=True, help="List, show, compare, verify, tag and collect artifacts.")

Name = Annotated[
    str, typer.Argument(metavar="ARTIFACT", help="A tag, a stage (its newest artifact), or the beginning of a key or digest")
]


@artifacts.command("list")
def list_() -> None:
    """Every artifact, oldest first, with its tags."""
    from flows.run_plan import duration

    home = store()
    tags: dict[str, list[str]] = {}
    for tag, moves in home.tags().items():
        tags.setdefault(moves[-1]["key"], []).append(tag)
    rows = [
        {
            "stage": r.stage,
            "key": r.key[:12],
            "digest": r.digest[:12],
            "MB": f"{r.bytes / 1e6:,.2f}" if not r.collected else "collected",
            "took": duration(r.made["seconds"]),
            "made": time.strftime("%Y-%m-%d %H:%M", time.localtime(r.made["finished"])),
            "tags": ", ".join(tags.get(r.key, [])),
        }
        for r in home.records()
    ]
    table(rows) if rows else print(f"no artifacts in {home.root}")


@artifacts.command()
def show(name: Name) -> None:
    """An artifact's whole record, as JSON."""
    print(store().resolve(name).model_dump_json(indent=1))


@artifacts.command()
def path(name: Name) -> None:
    """The folder that holds an artifact's files."""
    home = store()
    print(home.object(home.resolve(name).key))


@artifacts.command()
def compare(one: Name, other: Name) -> None:
    """What defines two artifacts differently, and which files differ."""
    from flows.run_plan import flatten

    home = store()
    a, b = home.resolve(one), home.resolve(other)
    left, right = flatten(a.identity), flatten(b.identity)
    left |= {f"file {f['path']}": f["sha256"][:12] for f in a.files}
    right |= {f"file {f['path']}": f["sha256"][:12] for f in b.files}
    names = list(dict.fromkeys([*left, *right]))
    rows = [
        {"field": n, a.key[:12]: left.get(n, "–"), b.key[:12]: right.get(n, "–")} for n in names if left.get(n) != right.get(n)
    ]
    table(rows) if rows else print("equal in identity and content")


@artifacts.command()
def verify(name: Annotated[str | None, typer.Argument(metavar="[ARTIFACT]", help="Only this one")] = None) -> None:
    """Hash every byte again. Exit code 1 where something is damaged; the next run builds that again."""
    home = store()
    records = [home.resolve(name)] if name else [r for r in home.records() if not r.collected]
    damaged = 0
    for record in records:
        problems = list(home.problems(record, deep=True))
        damaged += bool(problems)
        for problem in problems:
            print(f"DAMAGED  {problem}")
    total = sum(record.bytes for record in records)
    print(
        f"{len(records)} artifacts, {total / 1e6:,.1f} MB read: {damaged or 'none'} damaged"
        + ("; the next run builds what it needs again" if damaged else "")
    )
    sys.exit(1 if damaged else 0)


@artifacts.command()
def tag(name: Name, tag: str, why: Annotated[str, typer.Option(help="Kept with the move")] = "") -> None:
    """Point a tag at an artifact. What is tagged is not collected."""
    home = store()
    record = home.resolve(name)
    home.tag(tag, record, why)
    print(f"{tag} → {record.stage} {record.key[:12]}")


@artifacts.command()
def untag(tag: str) -> None:
    """Remove a tag; the artifact stays until it is collected."""
    home = store()
    if tag not in home.tags():
        raise ValueError(f"no tag {tag!r}; tags: {', '.join(home.tags()) or 'none'}")
    home.untag(tag)


@artifacts.command()
def tags() -> None:
    """Every tag and its moves."""
    print(json.dumps(store().tags(), indent=1, ensure_ascii=False))


@artifacts.command()
def history(tag: str) -> None:
    """Where a tag pointed: when it moved, from what to what, by whom and why."""
    from tasks.artifacts.tags import history as moved

    moves = store().tags().get(tag)
    if not moves:
        raise ValueError(f"no tag {tag!r}; tags: {', '.join(store().tags()) or 'none'}")
    table(moved(moves))


@artifacts.command()
def rollback(tag: str = "prod", why: Annotated[str, typer.Option(help="Kept with the move")] = "") -> None:
    """Point a tag at what it pointed at before."""
    from tasks.artifacts.tags import history as moved
    from tasks.artifacts.tags import roll_back

    home = store()
    now, left = roll_back(home, tag, why)
    table(moved(home.tags()[tag]))
    print(f"{tag} → {now.stage} {now.key[:12]}" + (f"; {left.key[:12]} is kept" if left else ""))


@artifacts.command()
def gc(
    keep_runs: Annotated[int, typer.Option(min=0, help="Keep what the last N runs used")] = 5,
    keep_earlier: Annotated[int, typer.Option(min=0, help="Keep what a tag pointed at up to N promotions ago")] = 1,
    scratch_days: Annotated[float, typer.Option(min=0, help="Keep unfinished work touched in the last N days")] = 14,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go")] = False,
) -> None:
    """Remove artifacts that are not tagged, not in use, and not of the last runs; and what dead builds left behind."""
    from tasks.artifacts.garbage import collect

    found = collect(store(), keep_runs=keep_runs, scratch_days=scratch_days, dry_run=dry_run, keep_earlier=keep_earlier)
    for item in found:
        print(f"{item.bytes:>16,} bytes  {item.what}")
    verb = "would be freed" if dry_run else "freed"
    print(f"{sum(item.bytes for item in found):>16,} bytes  {verb}")
