"""The names of runs, as a real Prefect server has them: a typed one is kept, and others say what differs."""

from __future__ import annotations

import re
from typing import Any

import prefect
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.utilities.names import generate_slug

from flows import long_form, run_names
from flows.recipe import Recipe, fields
from flows.run_names import flow_and_differences, is_generated, keeps_typed_name, recipe_and_differences

MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@flow(name="toy", flow_run_name=keeps_typed_name(recipe_and_differences), validate_parameters=False)
def toy(
    recipe: Any = "sample", changes: tuple[str, ...] = (), file: str = "", name: str = "", until: str = "", share: float = 0.25
) -> None: ...


@flow(name="look", flow_run_name=keeps_typed_name(flow_and_differences), validate_parameters=False)
def look(dry_run: bool = False, keep_runs: int = 5) -> None: ...


def name_of(which: Any, typed: str | None = None, **given: Any) -> str:
    """The name on the server, once a run with a given name (None: the server chooses) has ended."""
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(which, parameters=given, name=typed)
        run_flow(which, flow_run=run, parameters=given)
        return client.read_flow_run(run.id).name


def form(name: str, **changed: Any) -> dict[str, Any]:
    """What the form sends for a recipe that ships, with some fields of `pretrain` changed."""
    recipe = Recipe.model_validate(fields(name)).model_dump(mode="json")
    return recipe | {"pretrain": recipe["pretrain"] | changed}


@pytest.mark.parametrize(
    ("typed", "given", "becomes"),
    [
        ("second try", {"changes": ["pretrain.tokens=5"]}, "second try"),
        (None, {"changes": ["pretrain.tokens=100000"]}, r"sample · pretrain\.tokens=100000"),
        ("Awesome-Pizza", {"changes": ["sft.epochs=1", "dpo.beta=1"]}, r"sample · sft\.epochs=1, dpo\.beta=1"),
        (None, {"recipe": "tiny", "until": "sft", "share": 0.5}, r"tiny · until=sft, share=0\.5"),
        (None, {"file": "/data/mine.yaml"}, f"mine · {MOMENT}"),
        (None, {"changes": [], "until": ""}, f"sample · {MOMENT}"),
        (None, {"recipe": form("tiny", tokens=9, log_steps=5.0)}, r"tiny · pretrain\.tokens=9"),
        (None, {"recipe": form("tiny") | {"name": "clinic"}}, f"clinic · {MOMENT}"),
        (None, {"recipe": long_form.start("pipeline")}, f"sample · {MOMENT}"),
        (None, {"recipe": long_form.start("pipeline") | {"pretrain": {"tokens": 7}}}, r"sample · pretrain\.tokens=7"),
        (None, {"name": "clinic", "until": "sft"}, "clinic · until=sft"),
    ],
)
def test_a_typed_name_is_kept_and_others_say_what_differs(prefect_api, typed, given, becomes):
    assert re.fullmatch(becomes, name_of(toy, typed, **given))


def test_a_flow_without_a_recipe_says_its_parameters(prefect_api):
    assert name_of(look, dry_run=True) == "look · dry_run=True"
    assert re.fullmatch(f"look · {MOMENT}", name_of(look))


def test_generated_names_are_known():
    """Those of the server and its commands, and the words that the form of the installed UI has in its code."""
    assert all(is_generated(generate_slug(2)) for _ in range(2000))
    assert not any(map(is_generated, ("first-try", "a", "", "tiny · 2026-11-30 10:00:00", "with-two-hyphens", "Run-7")))
    words = re.findall(r"\w+", run_names.FORM.pattern.partition(")")[0])
    scripts = (prefect.__ui_v2_static_path__ / "assets").glob("deployment_._id.run-*.js")
    assert ",".join(f"`{word}`" for word in words) in "".join(path.read_text("utf-8") for path in scripts)


def test_a_long_name_ends_with_a_whole_difference() -> None:
    name = "sample · " + ", ".join(f"pretrain.field_{number}=100000" for number in range(9))
    short = run_names.shortened(name)
    assert short.endswith("=100000, …") and name.startswith(short[:-1]) and 90 < len(short) <= run_names.LONGEST
    assert run_names.shortened(name[:120]) == name[:120]
    assert run_names.shortened("字" * 200) == "字" * 117 + "…"
    assert run_names.shortened(f"sample · raw=/{'long' * 50}").startswith("sample · raw=/long")
