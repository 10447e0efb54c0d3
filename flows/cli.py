"""The command line, `hanlin …`. Imports nothing heavy at the top: `--help` and `--version` must answer at once."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from flows.artifact_commands import artifacts, check_tag, rollback
from flows.chatting import chat
from flows.command_groups import InOrder, grouped, recipe_names, stage_names
from flows.console import store, table
from flows.exporting import export
from flows.publication_commands import card, publish
from flows.run_commands import cancel, logs, runs, status
from flows.serving import serve
from flows.sniffing import init, sniff
from flows.tracing import trace

if TYPE_CHECKING:
    from flows.recipe import Flow as FlowName

app = typer.Typer(
    no_args_is_help=True,
    cls=InOrder,
    rich_markup_mode="markdown",  # lines of a paragraph are one
    pretty_exceptions_enable=False,
    help="Hanlin makes small Chinese chat models: it cleans raw text, trains a model on it, aligns it and evaluates it, as one Prefect pipeline.",
)
app.add_typer(artifacts, name="artifacts")
for command in (chat, rollback, init, sniff, status, runs, logs, cancel, card, export, publish, serve, trace):
    app.command()(command)

RecipeName = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="Name of a recipe that ships with Hanlin (`hanlin recipes` lists them), or path of a .yaml file",
        autocompletion=recipe_names,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]…", help="Fields of the recipe to change for this run, such as pretrain.tokens=100k (or 2M, 1e5)"
    ),
]
Refresh = Annotated[
    list[str] | None,
    typer.Option(
        help="Build this stage again even if the store has its result. Its name is that in `hanlin plan`, such as sft or ingest-belle; give the "
        "option once for each stage",
        autocompletion=stage_names,
    ),
]
Until = Annotated[
    str,
    typer.Option(
        help="Stop after this stage, named as in `hanlin plan`, such as split; without it, all stages are run",
        autocompletion=stage_names,
    ),
]
Drift = Annotated[
    str,
    typer.Option(
        help="What to do with a stored result if the code of its stage has changed since (but not its version number): warn (reuse it and say "
        "so), rebuild (make it again) or fail (stop)"
    ),
]
Flow = Annotated[
    str,
    typer.Option(
        help="The flow of the recipe. pipeline: all stages, from raw files to an evaluated model; corpus: the data stages only, with a report about "
        "the data; finetune: fine-tuning of a base model. Without it: finetune if the recipe has a section `base`, else pipeline"
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        help="Use the result of this data stage even if it breaks the recipe's contract, because it differs too much from the last run's. Holds "
        "for this run only; give the option once for each stage",
        autocompletion=stage_names,
    ),
]
Share = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Length of the new pretraining, as a share of the first one's tokens. It continues from the checkpoint of the model in production "
        "that was kept before its learning rate went down. 0: pretrain a new model from random weights",
    ),
]
Tag = Annotated[str, typer.Option(help="Name (tag) under which the store knows the model in production")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON on standard output, for scripts")]


def version() -> str:
    """One line: the version of the package, and the commit of its code where that is known."""
    from tasks.artifacts.provenance import code_commit

    try:
        number = importlib.metadata.version("hanlin")
    except importlib.metadata.PackageNotFoundError:
        number = "(not installed)"
    facts = code_commit()
    changes = ", with uncommitted changes" if facts.get("dirty") else ""
    return f"hanlin {number}" + (f" (commit {facts['commit'][:12]}{changes})" if facts else "")


def _print_version(requested: bool) -> None:
    if requested:
        print(version())
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and the commit of this code"),
    ] = False,
) -> None:
    """The options that need no command."""


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
    """Run a recipe, as a Prefect flow run in this terminal. Stages whose result is in the store are not run again."""
    from flows import recipe as recipes
    from flows.graph import graph
    from flows.run_options import check_options
    from flows.terminal import run_in_terminal

    parsed = recipes.load(recipe, overrides or [], flow_name(flow))
    options: dict[str, Any] = {"refresh": refresh or [], "until": until, "drift": drift, "accept": accept or []}
    check_options(parsed, graph(parsed, flow_name(flow)), **options)
    sys.exit(run_in_terminal(parsed, flow_name(flow) or parsed.flow, options, as_json))


@app.command()
def retrain(
    recipe: RecipeName,
    overrides: Overrides = None,
    share: Share = 0.25,
    tag: Tag = "prod",
    force: Annotated[bool, typer.Option("--force", help="Train even if no source has new data")] = False,
    refresh: Refresh = None,
    drift: Drift = "warn",
    accept: Accept = None,
    as_json: AsJson = False,
) -> None:
    """Re-train the model in production if a source has new data, and promote the new model if it is not worse.

    Without new data the run ends at once. The tag of the model in production moves only if the evaluation gate finds no measure worse beyond
    noise.
    """
    from flows import recipe as recipes
    from flows.graph import graph
    from flows.run_options import check_options
    from flows.terminal import run_in_terminal

    check_tag(tag)
    parsed = recipes.load(recipe, overrides or [], "pipeline")
    options: dict[str, Any] = {"refresh": refresh or [], "drift": drift, "accept": accept or []}
    check_options(parsed, graph(parsed, "pipeline", gated=True), **options)
    sys.exit(run_in_terminal(parsed, "retrain", options | {"share": share, "tag": tag, "force": force}, as_json))


@app.command()
def arrived(
    recipe: RecipeName,
    source: Annotated[str, typer.Option(help="Name of the source with new data, noted in the event")] = "",
) -> None:
    """Announce new data for a recipe: the event hanlin.data.arrived is sent to the Prefect server, which starts re-training."""
    from flows import recipe as recipes
    from flows.server import announce

    file = recipe if recipe.endswith((".yaml", ".yml")) else ""
    name = recipes.load(recipe).name
    announce(
        f"hanlin.recipe.{name}",
        {"recipe": "sample" if file else recipe, "file": file and str(Path(file).absolute()), "source": source},
    )
    print(f"the event hanlin.data.arrived was sent for {name}; a deployment that it triggers starts within seconds")
    if not store().tags().get("prod"):
        print(
            f"no model is in production in {store().root}: the run trains a first one from nothing, and it goes into production only if it reaches "
            "the floor that the recipe states (gate.first_accuracy, gate.first_bits), or if an operator says yes"
        )


@app.command()
def upkeep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing")] = False,
    verify: Annotated[bool, typer.Option(help="Read every file again and compare its hash with the recorded one")] = True,
    keep_runs: Annotated[int, typer.Option(min=0, help="Number of latest runs whose artifacts are kept")] = 5,
) -> None:
    """Maintain the store: verify its files, remove artifacts that nothing needs, and forecast when the disk is full."""
    from flows.terminal import upkeep_in_terminal

    sys.exit(upkeep_in_terminal({"dry_run": dry_run, "verify": verify, "keep_runs": keep_runs}))


@app.command()
def up(
    host: Annotated[
        str, typer.Option(help="Network address to listen at: 127.0.0.1 for this machine only, 0.0.0.0 for others too")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the Prefect UI and API, which share it", min=1, max=65535)] = 4200,
    database: Annotated[
        str,
        typer.Option(
            help="Database of the Prefect server, as postgresql://user:password@host/name; empty: an SQLite file below PREFECT_HOME"
        ),
    ] = "",
    worker: Annotated[
        bool, typer.Option(help="Also start a worker, which runs what the server schedules, on this machine")
    ] = True,
    show_logs: Annotated[
        bool, typer.Option(help="Show the logs of server and worker in this terminal, instead of writing them to files")
    ] = False,
    timezone: Annotated[
        str,
        typer.Option(
            help="Time zone of the schedules, such as Asia/Shanghai; without it this machine's, and for new schedules only"
        ),
    ] = "",
) -> None:
    """Start the Prefect server with its UI, the deployments and a worker, and keep them running until Ctrl-C.

    The environment variable HANLIN_PASSWORD sets a password for all of them.
    """
    from flows import up as everything

    options = everything.Options(host, port, database, worker, show_logs, timezone)
    sys.exit(everything.up(options))


@app.command()
def worker(told_by_stdin: Annotated[bool, typer.Option(hidden=True)] = False) -> None:
    """Start a worker on this machine for a Prefect server elsewhere, whose address is in PREFECT_API_URL.

    The first Ctrl-C lets the runs under way end and takes no new ones; a second one stops at once, and the runs go on later.
    """
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
    until: Until = "",
    drift: Drift = "warn",
    flow: Flow = "",
    retrain: Annotated[bool, typer.Option("--retrain", help="Show the plan of `hanlin retrain` instead of `hanlin run`")] = False,
    share: Share = 0.25,
    tag: Tag = "prod",
    as_json: AsJson = False,
) -> None:
    """Show what a run would do, without running it, and why.

    For each stage: HIT (its result is in the store and is reused), RESUME (it was begun and goes on), MISS (it is built) or OFF (no source has a use
    for it); what changed since the nearest earlier result; how long it took when it was last built, and how long it is expected to take now.
    """
    from flows import recipe as recipes
    from flows import run_plan as plans
    from flows.graph import graph, up_to
    from flows.run_options import check_plan_options
    from flows.switched_off import switched_off

    parsed = recipes.load(recipe, overrides or [], flow_name(flow))
    if retrain:
        from flows.retrain import retraining_nodes

        nodes = retraining_nodes(parsed, store(), tag, share)
    else:
        nodes = graph(parsed, flow_name(flow))
    off = switched_off(parsed, "pipeline" if retrain else flow_name(flow))
    check_plan_options(parsed, nodes, refresh or [], until, drift)
    nodes = up_to(nodes, until)
    steps = plans.plan(nodes, store(), recipe=parsed, refresh=refresh or [], drift=drift)  # type: ignore[arg-type]
    if as_json:
        print(json.dumps({"stages": [step.to_json() for step in steps], "switched_off": off}, ensure_ascii=False))
    else:
        table(plans.plan_rows(steps) + plans.off_rows(off))
        print(f"\n{plans.plan_summary(steps)}")


@app.command()
def sources(recipe: RecipeName, overrides: Overrides = None, flow: Flow = "", as_json: AsJson = False) -> None:
    """List a recipe's sources with the state of their data, and mark those with new data since the last run."""
    from flows import recipe as recipes
    from flows.origins import source_states

    states = source_states(recipes.load(recipe, overrides or [], flow_name(flow)), store())
    rows = [
        {
            "source": state.source,
            "format": state.format,
            "kind": state.kind,
            "now": state.now,
            "in the store": state.stored or "–",
            "new": state.change,
        }
        for state in states
    ]
    if as_json:
        print(json.dumps({"sources": [vars(state) | {"new": state.new} for state in states]}, ensure_ascii=False))
    else:
        table(rows)


@app.command()
def recipes(
    show: Annotated[
        str, typer.Option(metavar="RECIPE", help="Print this recipe, comments included, to be copied into a file of your own")
    ] = "",
) -> None:
    """List the recipes that ship with Hanlin, with the purpose of each."""
    from flows.recipe import RECIPES, names

    if show:
        if show not in names():
            raise ValueError(f"no recipe {show!r} ships with Hanlin; there are {', '.join(names())}")
        print((RECIPES / f"{show}.yaml").read_text("utf-8"), end="")
        return
    table(
        [
            {"recipe": name, "purpose": (RECIPES / f"{name}.yaml").read_text("utf-8").splitlines()[0].lstrip("# ")}
            for name in names()
        ]
    )


grouped(app)


def flow_name(flow: str) -> FlowName | None:
    """A flow's name, checked; None for an empty one, which is the recipe's own flow. Raises `ValueError` with the flows there are."""
    from flows import recipe as recipes

    if not flow:
        return None
    if flow not in (names := get_args(recipes.Flow)):
        raise ValueError(f"--flow {flow}: there is no such flow; flows: {', '.join(names)}")
    return cast("FlowName", flow)


def _refuse_fields_as_options(arguments: list[str]) -> None:
    """Raise `ValueError` where a field of a recipe is written as an option, `--pretrain.tokens=5`: no option of ours has a dot."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for argument, following in zip(options, [*options[1:], "-"], strict=True):
        if found := re.fullmatch(r"--([a-z_]+(?:\.[\w-]+)+)(=.*)?", argument, re.DOTALL):
            value = found[2] or ("=VALUE" if following.startswith("-") else f"={following}")
            raise ValueError(f"{argument}: a field of the recipe is set without dashes: {found[1]}{value}")


def main() -> None:
    """The console script. A person's mistake is one message and exit code 2; anything else is a traceback."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        _refuse_fields_as_options(sys.argv[1:])
        app()
    except ValueError as mistake:
        print(f"hanlin: {mistake}", file=sys.stderr)
        sys.exit(2)
    except OSError as failure:
        print(f"hanlin: {failure.filename or 'a file'}: {failure.strerror or failure}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
