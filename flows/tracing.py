"""The command `hanlin trace`: a text's spans in the rows that a model was trained on, with the index of these rows, built when it is missing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.console import store as console_store

if TYPE_CHECKING:
    from tasks.artifacts.build import BuildRequest
    from tasks.artifacts.stage import Progress
    from tasks.artifacts.store import Record, Store
    from tasks.trace.index import Index
    from tasks.trace.spans import Span

FILES = {"pack": "pretrain/train.parquet", "pack_pairs": "text2text/train.parquet"}  # rows of a split that a pretraining reads
SPEED = 5e6  # bytes of text that a core indexes in a second, about
MODELS = ("dpo", "sft", "pretrain")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """A training that made a model what it is: its stage, the file of rows that it read, the artifact that has the file, and how many documents of
    which sources the mixture left out, with the seed of its draw."""

    stage: str
    file: str
    rows: Record
    left_out: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True)
class Provenance:
    """The trainings of a model, the last one first, and what of its making this store does not have."""

    model: Record
    trainings: list[Training]
    unknown: list[str]


def trace(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The answer to trace, or - to read it from standard input")],
    model: Annotated[
        str,
        typer.Option(
            help="The model that answered: a tag, a stage (for its newest result) or the beginning of a key; without it, the tag prod, else the "
            "newest of dpo, sft and pretrain"
        ),
    ] = "",
    least: Annotated[
        float,
        typer.Option(
            "--min",
            min=1,
            max=1000,
            help="Shortest span to look for, in letters: a Chinese character counts one, a Latin letter or digit 0.4, space and punctuation nothing",
        ),
    ] = 10,
    rows: Annotated[int, typer.Option(min=1, max=100, help="Rows shown of each span at most")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON, for scripts")] = False,
) -> None:
    """Find where an answer stands word for word in the rows that its model was trained on.

    The longest spans come first, each with the rows that hold it, their source, licence and stage. The first time, the rows are indexed; the
    store keeps the index.
    """
    home = console_store()
    found = provenance(home, resolved(home, model))
    answer = sys.stdin.read() if text == "-" else text
    if not answer.strip():
        raise ValueError("there is no text to trace; give the answer as an argument, or - and the text on standard input")
    from tasks.trace.spans import check, merged
    from tasks.trace.spans import trace as spans_of

    check(answer)  # before rows are indexed, which takes long
    build_missing(home, found, lambda line: print(f"hanlin: {line}", file=sys.stderr))

    spans = spans_of(indexes(home, found), answer, least, rows)
    if as_json:
        about = {"model": {"stage": found.model.stage, "key": found.model.key}, "not_traced": found.unknown}
        print(json.dumps(about | to_json(spans) | {"covered": merged(spans)}, ensure_ascii=False))
    else:
        _show(found, answer, spans, least)


def resolved(store: Store, name: str) -> Record:
    """The record of a model: the one that is named, else that in production, else the newest that answers best. `ValueError` where there is
    none."""
    if name:
        return store.resolve(name)
    if moves := store.tags().get("prod"):
        return store.resolve(moves[-1]["key"])
    records = [record for record in store.records() if not record.collected]
    for stage in MODELS:
        if made := [record for record in records if record.identity["stage"] == stage]:
            return made[-1]
    raise ValueError(
        f"{store.root} has no model to trace an answer of; train one with `hanlin run`, or set HANLIN_STORE to its store"
    )


def provenance(store: Store, model: Record) -> Provenance:
    """The trainings that the record of a model leads to. `ValueError` where it leads to none."""
    trainings: list[Training] = []
    unknown: list[str] = []
    waiting = [model]
    while waiting:
        record = waiting.pop(0)
        trainings += _own(store, record, unknown)
        if record.identity["stage"] == "base":
            unknown.append(f"what the model from outside ({record.key[:12]}) learned before")
        waiting += [_record(store, record.lineage[role]) for role in ("model", "start") if role in record.lineage]
    if not trainings:
        why = f" ({'; '.join(unknown)})" if unknown else ""
        raise ValueError(
            f"{model.stage} {model.key[:12]} was trained on no rows of this store{why}; name a model that pretrain, sft or dpo made"
        )
    each = {request(store, training).key: training for training in reversed(trainings)}  # of two with the same rows, the last
    return Provenance(model, [training for training in trainings if training in each.values()], unknown)


def _own(store: Store, record: Record, unknown: list[str]) -> Iterator[Training]:
    """The training that made this very artifact."""
    stage = record.identity["stage"]
    if stage == "pretrain":
        packed = _record(store, record.lineage["packed"])
        left_out = {group["group"]: group["left_out"] for group in packed.stats.get("mix", []) if group["left_out"]}
        seed = packed.identity["params"]["seed"] if left_out else 0
        yield Training("pretrain", FILES[packed.identity["stage"]], _record(store, packed.lineage["rows"]), left_out, seed)
    elif stage == "sft":
        yield Training("sft", "sft/train.parquet", _record(store, record.lineage["rows"]))
    elif stage == "dpo":
        yield Training("dpo", "preferences/train.parquet", _record(store, record.lineage["pairs"]))


def _record(store: Store, key: str) -> Record:
    record = store.record(key)
    if record is None:
        raise ValueError(f"{store.root} has no record of {key[:12]}, from which the model was made, so its rows are not known")
    return record


def _digest(training: Training) -> tuple[str, str]:
    """The stage and the sha256 of the file of rows."""
    found = [file["sha256"] for file in training.rows.files if file["path"] == training.file]
    if not found:
        raise ValueError(
            f"{training.rows.stage} {training.rows.key[:12]} has no {training.file}, which {training.stage} was trained on"
        )
    return training.stage, found[0]


# the index


def request(store: Store, training: Training) -> BuildRequest:
    """The request for the index of a training's rows."""
    from tasks import trace_index
    from tasks.artifacts.build import BuildRequest, files_input

    stage, digest = _digest(training)
    files = files_input({training.file: (store.object(training.rows.key) / training.file, digest)}, (training.rows.key,))
    return BuildRequest(
        f"trace-{stage}",
        trace_index.run,
        trace_index.Params(stage=stage, left_out=training.left_out, seed=training.seed),
        {"rows": files},
    )


def missing(store: Store, found: Provenance) -> list[Training]:
    """The trainings whose rows have no index in the store yet."""
    return [training for training in found.trainings if store.find(request(store, training).key) is None]


def build_missing(store: Store, found: Provenance, tell: Tell) -> None:
    """Build the indexes of a model's trainings that the store does not have. `ValueError` where the rows are gone."""
    for training in (todo := missing(store, found)):
        if (path := _gone(store, training)) is not None:
            raise ValueError(
                f"the rows that {training.stage} was trained on are gone ({path} was removed, or is damaged), so they cannot be indexed; run "
                f"the recipe again up to `{training.rows.stage}`, which makes them again"
            )
    for training in todo:
        _build(store, training, tell)


def indexes(store: Store, found: Provenance) -> list[Index]:
    """The indexes of a model's trainings, all of which are there, with the licences that recipes gave the sources."""
    from tasks.publication.licences import UNKNOWN
    from tasks.publication.lineage import lineage
    from tasks.trace.index import Index

    opened = []
    for training in found.trainings:
        sources = lineage(store, training.rows).sources
        licences = {source.name: source.licence for source in sources if source.licence != UNKNOWN}
        opened.append(Index(store.object(request(store, training).key), licences))
    return opened


class Tracer:
    """The tracing of a server's answers: it opens the indexes of a model when it is first asked of it, and builds none."""

    def __init__(self, store: Store):
        self.store = store
        self.opened: dict[str, list[Index]] = {}

    def __call__(self, key: str, text: str) -> dict[str, Any]:
        """The spans of a text, of the model with this key. Raises `NotTraceable` where there is no index of its rows."""
        from models.serve.tracing import NotTraceable
        from tasks.trace.spans import trace as spans_of

        if key not in self.opened:
            try:
                if (record := self.store.record(key)) is None:
                    raise NotTraceable(
                        f"the model is no artifact of the store {self.store.root}, so the rows that it was trained on are not known"
                    )
                found = provenance(self.store, record)
            except ValueError as why:
                raise NotTraceable(str(why)) from None
            if todo := missing(self.store, found):
                names = " and ".join(training.stage for training in todo)
                raise NotTraceable(
                    f"the rows of {names} are not indexed yet; `hanlin trace TEXT --model {key[:12]}`, run once on the server's "
                    "machine, indexes them"
                )
            self.opened[key] = indexes(self.store, found)
        return to_json(spans_of(self.opened[key], text))


def _gone(store: Store, training: Training) -> Path | None:
    return None if store.find(training.rows.key) else store.object(training.rows.key) / training.file


def _build(store: Store, training: Training, tell: Tell) -> None:
    import pyarrow.parquet as pq

    from tasks.artifacts.build import BuildOptions, StageFailed, build
    from tasks.artifacts.stage import Resources

    wanted = request(store, training)
    layout = pq.read_metadata(store.object(training.rows.key) / training.file)
    size = sum(layout.row_group(number).total_byte_size for number in range(layout.num_row_groups))
    tell(
        f"indexing the {layout.num_rows:,} rows that {training.stage} was trained on (about {size / 1e6:,.1f} MB of text: some "
        f"{max(1, size / SPEED):,.0f} s on one core); the store keeps the index"
    )
    logging.getLogger("hanlin").setLevel(logging.WARNING)
    with _bar(training.stage) as progress:
        try:
            build(store, wanted, BuildOptions(Resources(), progress=progress))
        except StageFailed as failure:
            raise ValueError(str(failure)) from failure.__cause__


@contextlib.contextmanager
def _bar(name: str) -> Iterator[Callable[[Progress], None]]:
    """A bar with the time that is left, on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"index of {name}")
        yield lambda now: bars.update(task, completed=now.done, total=now.total or None)


# what is shown


def to_json(spans: Sequence[Span]) -> dict[str, Any]:
    """Spans as JSON has them; `start` and `end` count characters (code points)."""
    return {"spans": [dataclasses.asdict(span) for span in spans]}


def _show(found: Provenance, text: str, spans: Sequence[Span], least: float) -> None:
    """Print the text with its spans marked, and the rows that hold each."""
    from rich.console import Console
    from rich.text import Text

    from flows.console import table
    from tasks.trace.spans import merged

    covered = merged(spans)
    marked = Text(text)
    for start, end in covered:
        marked.stylize("bold black on yellow", start, end)
    trainings = ", ".join(f"{training.stage} ({training.rows.stage} {training.rows.key[:12]})" for training in found.trainings)
    print(f"model   {found.model.stage} {found.model.key[:12]}, trained on the rows of {trainings}")
    for what in found.unknown:
        print(f"        not traced: {what}")
    share = sum(end - start for start, end in covered) / len(text)
    if not spans:
        print(f"No span of {least:g} letters or more stands in these rows (--min looks for shorter ones).")
        return
    print(
        f"spans   {len(spans)} of {least:g} letters or more; {100 * share:.0f} % of the text stands word for word in these rows\n"
    )
    Console(highlight=False).print(marked, "\n")
    table(
        [
            {
                "span": "" if number else span.text,
                "times": "" if number else f"{span.count:,}",
                "stage": row.stage,
                "source": row.source,
                "licence": row.licence or "–",
                "row": row.row,
                "part": row.part,
                "excerpt": " ".join(row.excerpt.split()),
            }
            for span in spans
            for number, row in enumerate(span.rows)
        ]
    )
