"""`hanlin …`. Imports nothing heavy at the top: `--help` must answer at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from flows.artifact_commands import artifacts, rollback
from flows.console import store, table

if TYPE_CHECKING:
    from flows.recipe import Flow as FlowName

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hanlin: raw Chinese text in, a small aligned and evaluated chat model out.",
)
app.add_typer(artifacts, name="artifacts")
app.command()(rollback)

RecipeName = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe that ships (such as sample) or the path of a .yaml file")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Fields to change, such as pretrain.steps=200")
]
Refresh = Annotated[list[str] | None, typer.Option(help="Build this stage again even if its artifact is there; repeatable")]
Until = Annotated[str, typer.Option(help="Last stage to run")]
Drift = Annotated[str, typer.Option(help="Artifacts made by other code of the same stage version: warn, rebuild or fail")]
Flow = Annotated[
    str,
    typer.Option(
        help="pipeline: raw files → evaluated model; corpus: the data half alone, up to its report; finetune: from a model that is there; "
        "empty: finetune for a recipe with a base, else pipeline"
    ),
]
Accept = Annotated[
    list[str] | None, typer.Option(help="Data stage whose result may break its contract (recipe: contract) this time; repeatable")
]
Share = Annotated[
    float,
    typer.Option(min=0, max=1, help="Of the pretraining's tokens, trained again from the stable phase; 0: train from nothing"),
]
Tag = Annotated[str, typer.Option(help="Names the model in production")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines: JSON on standard output")]


@app.command()
def run(
    recipe: RecipeName,
    overrides: Overrides = None,
    refresh: Refresh = None,
    until: Until = "",
    drift: Drift = "warn",
    flow: Flow = "",
    accept: Accept = None,
    as_json: AsJson = False,
) -> None:
    """Run a recipe as a Prefect flow run; every finished stage is reused."""
    from flows import recipe as recipes
    from flows.terminal import run_in_terminal

    parsed = recipes.load(recipe, overrides or [], known(flow))
    options = {"refresh": refresh or [], "until": until, "drift": drift, "accept": accept or []}
    sys.exit(run_in_terminal(parsed, known(flow) or parsed.flow, options, as_json))


@app.command()
def retrain(
    recipe: RecipeName,
    overrides: Overrides = None,
    share: Share = 0.25,
    tag: Tag = "prod",
    force: Annotated[bool, typer.Option("--force", help="Go on even if no source is new")] = False,
    refresh: Refresh = None,
    drift: Drift = "warn",
    accept: Accept = None,
    as_json: AsJson = False,
) -> None:
    """Re-train the model in production on what is new, and let the new one take over if it is no worse. Nothing new ends at once."""
    from flows import recipe as recipes
    from flows.terminal import run_in_terminal

    options = {"share": share, "tag": tag, "force": force, "refresh": refresh or [], "drift": drift, "accept": accept or []}
    sys.exit(run_in_terminal(recipes.load(recipe, overrides or [], "pipeline"), "retrain", options, as_json))


@app.command()
def arrived(
    recipe: RecipeName,
    source: Annotated[str, typer.Option(help="Which source has something new, for the event's reader")] = "",
) -> None:
    """Say that there is new data for a recipe: emits the event hanlin.data.arrived, which starts its re-training."""
    from flows import recipe as recipes
    from flows.server import announce

    given = recipe if recipe.endswith((".yaml", ".yml")) else ""
    name = recipes.load(recipe).name
    announce(
        f"hanlin.recipe.{name}",
        {"recipe": recipe if not given else "sample", "file": given and str(Path(given).absolute()), "source": source},
    )
    print(f"hanlin.data.arrived for {name}; a deployment that is triggered by it starts within seconds")


@app.command()
def upkeep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go")] = False,
    verify: Annotated[bool, typer.Option(help="Hash every byte again")] = True,
    keep_runs: Annotated[int, typer.Option(min=0, help="Keep what the last N runs used")] = 5,
) -> None:
    """Verify the store, remove what nobody needs, and say when the disk will be full, as a Prefect flow run."""
    from flows.terminal import upkeep_in_terminal

    sys.exit(upkeep_in_terminal({"dry_run": dry_run, "verify": verify, "keep_runs": keep_runs}))


@app.command()
def up(
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0: every machine that reaches this one")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect UI and API", min=1, max=65535)] = 4200,
    database: Annotated[str, typer.Option(help="postgresql://user:password@host/name; empty: SQLite below PREFECT_HOME")] = "",
    worker: Annotated[bool, typer.Option(help="A worker on this machine, too")] = True,
    show_logs: Annotated[bool, typer.Option(help="Logs of server and worker here instead of in files")] = False,
) -> None:
    """Start the Prefect server, the deployments and a worker on this machine. HANLIN_PASSWORD sets a password."""
    from flows import up as everything

    options = everything.Options(host, port, database, worker, show_logs)
    sys.exit(everything.up(options))


@app.command()
def worker(told_by_stdin: Annotated[bool, typer.Option(hidden=True)] = False) -> None:
    """Run what a server elsewhere has to run (PREFECT_API_URL), on this machine. The first Ctrl-C drains, a second stops at once."""
    from flows import profile

    if not (url := os.environ.get("PREFECT_API_URL")):
        raise ValueError(
            "PREFECT_API_URL is not set; set it to the server's, such as http://server:4200/api (`hanlin up` starts one)"
        )
    os.environ |= profile.client(url)  # before Prefect reads them
    from flows import worker as workers

    workers.main(told_by_stdin)


@app.command()
def plan(
    recipe: RecipeName,
    overrides: Overrides = None,
    refresh: Refresh = None,
    drift: Drift = "warn",
    flow: Flow = "",
    retrain: Annotated[bool, typer.Option("--retrain", help="Plan `hanlin retrain` instead")] = False,
    share: Share = 0.25,
    tag: Tag = "prod",
    as_json: AsJson = False,
) -> None:
    """Show what a run would do: HIT, MISS or RESUME for each stage, and which field changed."""
    from flows import recipe as recipes
    from flows import run_plan as plans
    from flows.graph import graph

    parsed = recipes.load(recipe, overrides or [], known(flow))
    if retrain:
        from flows.retrain import nodes_of

        nodes = nodes_of(parsed, store(), tag, share)
    else:
        nodes = graph(parsed, known(flow))
    steps = plans.plan(nodes, store(), refresh=refresh or [], drift=drift)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps({"stages": [step.to_json() for step in steps]}, ensure_ascii=False))
    else:
        table(plans.rows(steps))


@app.command()
def sources(recipe: RecipeName, overrides: Overrides = None, flow: Flow = "", as_json: AsJson = False) -> None:
    """Show where a recipe's rows come from, in which state, and what is new since they were last read."""
    from flows import recipe as recipes
    from flows.origins import origins

    found = origins(recipes.load(recipe, overrides or [], known(flow)), store())
    rows = [
        {
            "source": origin.source,
            "format": origin.format,
            "kind": origin.kind,
            "now": origin.now,
            "in the store": origin.stored or "–",
            "new": "yes" if origin.new else "",
        }
        for origin in found
    ]
    if as_json:
        print(json.dumps({"sources": [vars(origin) | {"new": origin.new} for origin in found]}, ensure_ascii=False))
    else:
        table(rows)


@app.command()
def recipes() -> None:
    """List the recipes that ship, with what each is for."""
    from flows.recipe import RECIPES, names

    table(
        [{"recipe": name, "for": (RECIPES / f"{name}.yaml").read_text("utf-8").splitlines()[0].lstrip("# ")} for name in names()]
    )


@app.command()
def sniff(files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Raw files, compressed or not")]) -> None:
    """Say what raw files are, by their first rows, and which `format` of a source reads them."""
    from tasks.formats.sniff import sniff as look

    found = {path: look(path) for path in files}
    table([{"file": path.name, "holds": one.what, "format": ", ".join(one.formats) or "none"} for path, one in found.items()])


@app.command()
def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A tag, a stage (its newest artifact), a key, or a model folder")],
    message: Annotated[str | None, typer.Argument(help="Ask this once and leave; without it, a conversation")] = None,
) -> None:
    """Talk to a model in the terminal."""
    folder = Path(model)
    if not folder.is_dir():
        home = store()
        folder = home.object(home.resolve(model).key) / "model"
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no model; name an artifact of pretrain, sft or dpo, or a folder with config.json and model.safetensors"
        )
    from models.chat import chat as talk

    talk(folder, message)


def known(flow: str) -> FlowName | None:
    """A flow by its name; None: the one that the recipe is for. Raises `ValueError` with the names that there are."""
    from flows import recipe as recipes

    if not flow:
        return None
    if flow not in (there := get_args(recipes.Flow)):
        raise ValueError(f"no flow {flow!r}; flows: {', '.join(there)}")
    return cast("FlowName", flow)


def main() -> None:
    """The console script. What a person can mend is one message and exit code 2; anything else is a traceback."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        app()
    except ValueError as mistake:
        print(f"hanlin: {mistake}", file=sys.stderr)
        sys.exit(2)
    except OSError as failure:
        print(f"hanlin: {failure.filename or 'a file'}: {failure.strerror or failure}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
