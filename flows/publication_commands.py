"""The commands that tell others of a model or a corpus: `hanlin artifacts lineage`, `hanlin card`, `hanlin publish`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.console import store, table

Artifact = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="A model, or an artifact with rows such as split: a tag, a stage (for its newest), the beginning of a key, or its folder in the store",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on standard output, for scripts")]


def lineage(name: Artifact, as_json: AsJson = False) -> None:
    """Trace an artifact to every dump, file, licence, filter and commit that it came from."""
    from tasks.publication import lineage as lineages
    from tasks.publication.target import resolve

    home = store()
    found = lineages.lineage(home, resolve(home, name))
    if as_json:
        print(json.dumps(lineages.to_json(found), ensure_ascii=False))
        return
    for title, rows in (
        ("Sources", lineages.source_rows(found)),
        ("Rows", lineages.drop_rows(found)),
        ("Artifacts", lineages.step_rows(found)),
    ):
        if lines := list(rows):
            print(f"\n{title}")
            table(lines)
    if found.gone:
        print(f"\nrecords that are gone: {', '.join(key[:12] for key in found.gone)}; what they came from is not known")


def card(
    name: Artifact,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write the card to; without it, it is printed")] = None,
) -> None:
    """Write the card of a model or of rows, a README.md for the Hugging Face hub: its data, licences, training and scores."""
    from tasks.publication.card import card as written
    from tasks.publication.target import resolve

    home = store()
    text = written(home, resolve(home, name))
    if out is None:
        print(text, end="")
        return
    if not out.parent.is_dir():
        raise ValueError(f"there is no folder {out.parent}; make it first, or name another file")
    out.write_text(text, "utf-8")
    print(f"{out}: {len(text.splitlines()):,} lines")


def publish(
    name: Artifact,
    to: Annotated[
        str, typer.Option(metavar="hub:NAME | FOLDER", help="Repository of the Hugging Face hub, as hub:OWNER/NAME; or a folder")
    ],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as one that only you can see")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files with their sizes, and write or send nothing")
    ] = False,
) -> None:
    """Publish a model or rows with their card, licence and lineage, on the Hugging Face hub or in a folder.

    A repository or folder that an earlier call made is brought up to date; what somebody else put there is never written over. HF_TOKEN is the
    token of the hub, HF_ENDPOINT another server than huggingface.co.
    """
    from tasks.publication import folder, hub
    from tasks.publication.bundle import bundle
    from tasks.publication.target import resolve

    home = store()
    record = resolve(home, name)
    repository = to.removeprefix("hub:") if to.startswith("hub:") else ""
    if not repository:
        if private:
            raise ValueError("--private is for the hub; a folder is as private as the folder around it")
        folder.check(Path(to))
    elif not dry_run:
        hub.check(None, repository)  # before any file is read
    made = bundle(home, record, repository or Path(to).absolute().name)
    sizes = made.sizes()
    if dry_run:
        table([{"file": path, "bytes": f"{size:,}"} for path, size in sizes.items()])
    elif repository:
        address = hub.upload(made, repository, private=private, message=f"Hanlin {record.stage} {record.key[:12]}")
    else:
        folder.write(made, Path(to))
        address = str(Path(to))
    verb = "would be published to" if dry_run else "published to"
    print(
        f"{len(sizes)} files, {sum(sizes.values()):,} bytes, {verb} {to if dry_run else address}; licence: {made.licence.licence}"
    )
