"""The commands `hanlin artifacts …`: list, show, compare, verify, tag and remove the artifacts of the store."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated

import typer

from flows.command_groups import artifact_names
from flows.console import store, table
from flows.publication_commands import lineage

artifacts = typer.Typer(
    no_args_is_help=True, help="List, show, compare, verify, tag and remove the results of stages (artifacts) in the store."
)
artifacts.command()(lineage)

Name = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="An artifact: a tag, a stage (for its newest), or the beginning of a key or digest",
        autocompletion=artifact_names,
    ),
]

TagName = Annotated[str, typer.Argument(metavar="TAG", help="A tag, such as prod")]
AsJson = Annotated[bool, typer.Option("--json", help="Print all that is known as JSON, for scripts")]
Why = Annotated[str, typer.Option(help="Reason, noted in the history of the tag")]


@artifacts.command("list")
def list_() -> None:
    """List every artifact, oldest first, with its size, age and tags."""
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
def show(name: Name, as_json: AsJson = False) -> None:
    """Show an artifact's record: what it was made from, with which settings, when, by which code, its figures and files."""
    from flows.record_facts import record_facts
    from flows.run_plan import flatten

    home = store()
    record = home.resolve(name)
    if as_json:
        print(record.model_dump_json(indent=1))
        return
    tags = [tag for tag, moves in home.tags().items() if moves[-1]["key"] == record.key]
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.made["finished"]))
    print(f"{record.stage}: {record.title}, made {made}" + (f", tagged {', '.join(tags)}" if tags else ""))
    print(f"{home.object(record.key)}{' (its files were removed)' if record.collected else ''}\n")
    table(record_facts(record, home))
    print()
    table([{"setting": name, "value": value} for name, value in flatten(record.identity["params"]).items()])
    print()
    table([{"file": file["path"], "bytes": f"{file['size']:,}", "sha256": file["sha256"][:12]} for file in record.files])


@artifacts.command()
def path(name: Name) -> None:
    """Print the folder that holds an artifact's files."""
    home = store()
    print(home.object(home.resolve(name).key))


@artifacts.command()
def compare(one: Name, other: Name) -> None:
    """Compare two artifacts: the settings, inputs and files in which they differ."""
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
def verify(
    name: Annotated[str | None, typer.Argument(metavar="[ARTIFACT]", help="The artifact to verify; without it, all")] = None,
) -> None:
    """Check artifacts against the hashes of their files. Exit code 1 if one is damaged; the next run builds it again."""
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
def tag(name: Name, tag: TagName, why: Why = "") -> None:
    """Give an artifact a tag, or move a tag to it. A tagged artifact is never removed."""
    check_tag(tag)
    home = store()
    record = home.resolve(name)
    if any(other.stage == tag for other in home.records()):
        raise ValueError(f"{tag} is a stage's name, which stands for its newest result; take another tag")
    home.tag(tag, record, why)
    print(f"{tag} → {record.stage} {record.key[:12]}")


def check_tag(tag: str) -> None:
    """Raise `ValueError` for a name that no tag can have: it is the name of a file in the store."""
    if any(part.strip() in ("", ".", "..") for part in tag.split("/")) or not tag.isprintable() or len(tag.encode()) > 200:
        raise ValueError(f"{tag!r} cannot be a tag; name it in letters, digits, dots and dashes, such as prod or candidate-2")


@artifacts.command()
def untag(tag: TagName) -> None:
    """Remove a tag. Its artifact stays until `gc` or upkeep removes it."""
    home = store()
    if tag not in home.tags():
        raise ValueError(f"no tag {tag!r}; tags: {', '.join(home.tags()) or 'none'}")
    home.untag(tag)


@artifacts.command()
def tags(as_json: AsJson = False) -> None:
    """List the tags: the artifact that each names, since when, by whom and why; `history` has the earlier ones."""
    home = store()
    every = home.tags()
    if as_json:
        print(json.dumps(every, indent=1, ensure_ascii=False))
        return
    rows = [
        {
            "tag": tag,
            "stage": moves[-1]["stage"],
            "key": moves[-1]["key"][:12],
            "since": time.strftime("%Y-%m-%d %H:%M", time.localtime(moves[-1]["at"])),
            "by": moves[-1]["by"],
            "moves": len(moves),
            "why": ("rolled back: " if moves[-1].get("rolled_back") else "") + moves[-1]["why"],
        }
        for tag, moves in every.items()
    ]
    table(rows) if rows else print(f"no tags in {home.root}; `hanlin artifacts tag ARTIFACT TAG` gives one")


@artifacts.command()
def history(tag: TagName) -> None:
    """List the moves of a tag: when, from which artifact to which, by whom and why."""
    from tasks.artifacts.tags import history as tag_history

    moves = store().tags().get(tag)
    if not moves:
        raise ValueError(f"no tag {tag!r}; tags: {', '.join(store().tags()) or 'none'}")
    table(tag_history(moves))


@artifacts.command()
def rollback(tag: Annotated[str, typer.Option(help="The tag to move back")] = "prod", why: Why = "") -> None:
    """Move a tag back to the artifact it had before; `prod` is the model in production."""
    from tasks.artifacts.tags import history as tag_history
    from tasks.artifacts.tags import roll_back

    home = store()
    now, left = roll_back(home, tag, why)
    table(tag_history(home.tags()[tag]))
    print(f"{tag} → {now.stage} {now.key[:12]}" + (f"; {left.key[:12]} is kept" if left else ""))


@artifacts.command()
def gc(
    keep_runs: Annotated[int, typer.Option(min=0, help="Number of latest runs whose artifacts are kept")] = 5,
    keep_earlier: Annotated[
        int, typer.Option(min=0, help="Number of earlier artifacts of each tag that are kept, for a rollback")
    ] = 1,
    scratch_days: Annotated[float, typer.Option(min=0, help="Days for which unfinished work is kept after its last change")] = 14,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing")] = False,
) -> None:
    """Remove artifacts that have no tag, are not in use and belong to none of the latest runs, and the remains of dead builds."""
    from tasks.artifacts.garbage import collect

    pieces = collect(store(), keep_runs=keep_runs, scratch_days=scratch_days, dry_run=dry_run, keep_earlier=keep_earlier)
    for item in pieces:
        print(f"{item.bytes:>16,} bytes  {item.what}")
    verb = "would be freed" if dry_run else "freed"
    print(f"{sum(item.bytes for item in pieces):>16,} bytes  {verb}")
