"""Recipes: every one that ships loads, every field explains itself, and every mistake is named at once."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from annotated_types import BaseMetadata
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from flows import feasibility
from flows import recipe as recipes
from flows.graph import graph
from flows.recipe import BadRecipe, Recipe
from tasks.formats import registry


def provide(name: str, folder: Path, environment: pytest.MonkeyPatch) -> None:
    """Put every file that a recipe names into a folder, empty, and set the variables by which it finds them."""
    data = recipes._read(recipes.recipe_file(name), name)
    if data.get("raw"):
        environment.setenv(data["raw"].removeprefix("$"), str(folder))
        for source in (source for source in data["sources"].values() if "path" in source):
            path = folder / source["path"].replace("*", "x")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    if path := data.get("base", {}).get("path"):
        environment.setenv(path.removeprefix("$"), str(folder))
        for file, text in {"config.json": '{"model_type": "llama"}', "tokenizer.json": "{}", "model.safetensors": ""}.items():
            (folder / file).write_text(text)


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_loads_and_makes_a_graph(name, monkeypatch, tmp_path):
    provide(name, tmp_path, monkeypatch)
    nodes = graph(recipes.load(name))
    seen: set[str] = set()
    for node in nodes:
        assert set(node.needs) <= seen, f"{node.name} comes before what it needs"
        seen.add(node.name)
    assert nodes[-1].name == "report"


def test_an_option_that_the_architecture_lacks_is_a_problem_of_the_recipe():
    """A recipe that extends another's takes its options over; the data stages must not run first."""
    with pytest.raises(recipes.BadRecipe, match=r"pretrain.*preset 'tiny-moe' \(moe\) has no qkv_bias; it has balance"):
        recipes.load("tiny", ["pretrain.preset=tiny-moe", "pretrain.qkv_bias=true"])


@pytest.mark.parametrize("name", recipes.names())
def test_every_field_of_a_recipe_has_a_comment(name):
    bare = []
    for line in recipes.recipe_file(name).read_text("utf-8").splitlines():
        if re.match(r"\s*[a-z_0-9-]+:", line) and "#" not in line:
            bare.append(line)
    assert not bare


def fields(model: type[BaseModel], path: str = "") -> list[tuple[str, FieldInfo]]:
    found = []
    for name, field in model.model_fields.items():
        found.append((f"{path}{name}", field))
        inner = recipes.section_of(field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += fields(inner, f"{path}{name}.")
    return found


@pytest.mark.parametrize(("path", "field"), fields(Recipe), ids=lambda value: value if isinstance(value, str) else "")
def test_every_field_has_a_description_and_every_number_a_bound(path, field):
    assert field.description, f"{path} has no description"
    kinds = {field.annotation, *typing.get_args(field.annotation)}
    if kinds & {int, float}:
        assert any(isinstance(bound, BaseMetadata) for bound in field.metadata), f"{path} is a number without a bound"


def test_the_formats_are_those_with_a_reader():
    schema = Recipe.model_json_schema()["$defs"]["Source"]["properties"]["format"]
    assert schema["enum"] == registry.formats() and schema["type"] == "string"


MISTAKES = {
    "pretrain.learning_rat=0.1": "pretrain.learning_rat: unknown field; did you mean 'learning_rate'?",
    "dedup.threshold=1.5": "dedup.threshold: input should be less than or equal to 1",
    "sources.zhwiki.format=wikipedia": "sources.zhwiki.format: no such format: 'wikipedia'; did you mean 'wiki'? known are alpaca",
    "sft.epochs=many": "sft.epochs: needs a number, such as 0.5 or 3e-4 (got 'many')",
    "resources.devise=cpu": "resources.devise: unknown field; did you mean 'device'?",
    "sources.belle.use=[sfx]": "sources.belle.use.0: input should be 'pretrain'",
    "raw=/no/such/folder": "raw: there is no folder /no/such/folder",
    "name.first=x": "name.first: name is a value, not a section",
    "pretrain.tokens=1,5": "pretrain.tokens: needs a whole number, such as 100000, 100k or 2M (got '1,5')",
    "pretrain.log_steps=true": "pretrain.log_steps: needs a whole number, such as 100000, 100k or 2M (got 'true')",
    "dpo.beta=yes": "dpo.beta: needs a number, such as 0.5 or 3e-4 (got 'true')",
    "rejected=[1]": "rejected: needs fields of its own, as `field: value`",
    "extends=sample": "extends: unknown field; fields here: name, raw, ",
    "pretrain..tokens=1": "'pretrain..tokens=1' is not an override",
    "nonsense": "'nonsense' is not an override; write field.path=value",
    "split.use={a: [sft]}": "split.use: decided by sources.<name>.use",
}


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.items())
def test_a_mistake_is_named_with_its_path(mistake, message):
    with pytest.raises(BadRecipe) as told:
        recipes.load("sample", [mistake])
    assert message in str(told.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(BadRecipe, match=f"{len(MISTAKES)} problems"):
        recipes.load("sample", list(MISTAKES))


def test_missing_files_are_all_named(tmp_path):
    with pytest.raises(BadRecipe) as told:
        recipes.load("sample", [f"raw={tmp_path}"])
    assert len(told.value.problems) == len(recipes.load("sample").sources)
    assert all("no file" in problem for problem in told.value.problems)


def test_an_unset_variable_is_named(monkeypatch):
    monkeypatch.delenv("HANLIN_REAL_DATA", raising=False)
    with pytest.raises(BadRecipe, match="the environment variable HANLIN_REAL_DATA is not set"):
        recipes.load("real-sample")


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(BadRecipe, match="did you mean sample"):
        recipes.load("sampel")


def test_a_file_that_is_not_yaml(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("name: [unclosed")
    with pytest.raises(BadRecipe, match="is not YAML"):
        recipes.load(str(path))


SOURCE = "sources:\n  notes: {format: text, path: a.txt, use: [pretrain]}\n"
BROKEN = {
    f"name: mine\n{SOURCE}{SOURCE}": ", line 4: sources is there already, in line 2; keep one of them",
    "name: mine\npretrain: {tokens: 1, tokens: 2}\n": ", line 2: tokens is there already, in line 2; keep one of them",
    "name: mine\nsft:\n\tepochs: 1\n": ", line 3, is not YAML: .*; indent with spaces, not with tabs",
    "name: a\n---\nname: b\n": ", line 2, is not YAML: but found another document",
    "": " is empty, and no field such as `name: mine`",
    "# later\n": " is empty",
    "- name: mine\n": " holds a list, and no field",
    "mine": " holds only 'mine', and no field",
    "name: \0": " is not YAML: ",
    "pretrain: " + "[" * 500: " is not YAML that can be read: its brackets are nested too deeply",
    "extends: [sample]": r"extends: needs the name of one recipe, or the path of its .yaml file \(got \['sample'\]\)",
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_broken_recipe_file_says_where_and_what_to_do(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(BadRecipe, match=message):
        recipes.load(str(path))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_a_recipe_in_another_encoding_is_refused(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(f"# 配方\nname: mine\n{SOURCE}".encode(encoding))
    with pytest.raises(BadRecipe, match=r"mine\.yaml is not UTF-8, from its byte \d on; save it as UTF-8"):
        recipes.load(str(path))


def test_merged_and_repeated_sections_are_no_repeated_fields(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny\nsft: &one {epochs: 3}\ndpo: {<<: *one, epochs: 2}\n", "utf-8")
    recipe = recipes.load(str(path))
    assert (recipe.sft.epochs, recipe.dpo.epochs) == (3, 2)


def test_a_file_that_is_near_the_name_is_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{SOURCE}")
    (tmp_path / "other").write_text(f"name: mine\n{SOURCE}")
    with pytest.raises(BadRecipe, match=r"did you mean .*/mine\.yaml\?"):
        recipes.load(str(tmp_path / "mine.yml"))
    with pytest.raises(BadRecipe, match=r"other is a file, but a recipe's name ends in \.yaml; rename it"):
        recipes.load(str(tmp_path / "other"))
    with pytest.raises(BadRecipe, match="no recipe 'Sample'; did you mean sample"):
        recipes.load("Sample")


def test_overrides_reach_their_field():
    assert recipes.load("sample", ["sft.epochs=7", "sample.size=1MB"]).sft.epochs == 7


def test_a_recipe_extends_another(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: sample\nname: mine\nsft: {epochs: 3}\nsources: {zhihu: null, zhwiki: {simplify: false}}\n")
    mine, sample = recipes.load(str(path), ["sft.batch_size=8"]), recipes.load("sample")
    assert (mine.name, mine.sft.epochs, mine.sft.batch_size) == ("mine", 3, 8)
    assert list(mine.sources) == [name for name in sample.sources if name != "zhihu"]
    assert mine.sources["zhwiki"] == sample.sources["zhwiki"].model_copy(update={"simplify": False})
    assert mine.dpo == sample.dpo


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"extends: {two}\nname: one\n")
    two.write_text(f"extends: {one}\nname: two\n")
    with pytest.raises(recipes.BadRecipe, match=r"two.yaml and one.yaml extend each other"):
        recipes.load(str(one))
    one.write_text("extends: sampel\n")
    with pytest.raises(recipes.BadRecipe, match="did you mean sample"):
        recipes.load(str(one))


T5 = "pretrain.preset=t5-tiny"
MISFITS: dict[str, tuple[list[str], list[str]]] = {  # changes of the recipe sample, and what is told
    "packing": (
        [T5, "sources.zhwiki.use=[text2text]", "sft.packing=true"],
        ["sft.packing: t5-tiny reads a prompt and writes an answer, so rows cannot be packed"],
    ),
    "lengths": (
        [
            "pretrain.context=64",
            "sft.max_length=65",
            "dpo.max_length=64",
            "reward={max_length: 512}",
            "rejected.max_new_tokens=63",
        ],
        [
            "sft.max_length: 65 tokens are more than the model's context of 64 (pretrain.context)",
            "reward.max_length: 512 tokens are more than",
        ],
    ),
    "the preset's context": (
        ["pretrain.context=null", "sft.max_length=257", "rejected.max_new_tokens=256"],
        [
            "sft.max_length: 257 tokens are more than the model's context of 256 (that of tiny; pretrain.context sets another)",
            "rejected.max_new_tokens: an answer of 256 tokens leaves no room for a prompt in the model's context of 256",
        ],
    ),
    "a default": (
        ["rejected={temperatures: [1.0]}"],
        ["rejected.max_new_tokens: an answer of 128 tokens leaves no room for a prompt in the model's context of 128"],
    ),
    "with another mistake": (
        ["sft.max_length=129", "dpo.beta=-1"],
        ["sft.max_length: 129 tokens are more than", "dpo.beta: input should be greater than 0"],
    ),
    "extraction": (
        ["sources.duie={format: triples, path: triples/*.json, use: [extract]}", "extraction.sft.max_length=999"],
        [
            "extraction.scores.max_new_tokens: an answer of 256 tokens leaves no room",
            "extraction.sft.max_length: 999 tokens are more than",
        ],
    ),
    "heads": (
        ["pretrain.kv_heads=2", "pretrain.qk_norm=true", "pretrain.qkv_bias=true"],
        ["pretrain: kv_heads is 2, which does not divide the preset's 3 heads; qk_norm and qkv_bias are of two architectures"],
    ),
    "reward of a T5": ([T5, "sources.zhwiki.use=[text2text]", "reward={}"], ["reward: t5-tiny has no head that scores a text"]),
    "reward of a RetNet": (["pretrain.preset=retnet-tiny", "reward={}"], ["reward: retnet-tiny has no head that scores a text"]),
    "aot": (
        ["dpo={loss_type: aot, batch_size: 16}", "resources={micro_batch: 8, processes: 2}"],
        [
            "resources.micro_batch: 8 cuts DPO's batch of 16, which dpo.loss_type aot compares as a whole; set it to 0",
            "resources.processes: 2 share DPO's batch",
        ],
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_the_model_cannot_do_is_told_before_it_is_pretrained(name: str) -> None:
    changes, messages = MISFITS[name]
    with pytest.raises(BadRecipe) as told:
        recipes.load("sample", changes)
    assert all(message in str(told.value) for message in messages), told.value
    assert len(told.value.problems) == len(messages), told.value


FITTING = [
    ["dpo={loss_type: aot, batch_size: 16}", "resources.micro_batch=16"],
    ["dpo={loss_type: sigmoid, batch_size: 16}", "resources={micro_batch: 8, processes: 2}"],
    ["rejected.max_new_tokens=200", "sources.alpaca.use=[sft]"],  # only ready-made pairs, so no answers
    [T5, "sources.zhwiki.use=[text2text]", "sft.max_length=999", "rejected.max_new_tokens=999"],
    ["sft.max_length=128", "dpo.max_length=128", "reward={max_length: 128}", "rejected.max_new_tokens=127"],
]


@pytest.mark.parametrize("changes", FITTING, ids=range(len(FITTING)))
def test_what_the_model_can_do_is_not_refused(changes: list[str]) -> None:
    recipes.load("sample", changes)


def test_bits_without_their_package_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasibility, "find_spec", lambda name: None)
    with pytest.raises(BadRecipe, match=r"sft\.lora\.bits: 4 needs the package bitsandbytes.*pip install 'hanlin\[quant\]'"):
        recipes.load("vicuna-lora-tiny")
    recipes.load("vicuna-lora-tiny", ["sft.lora.bits=32"])


BASES = {
    "base={}": "base: needs one of path:",
    "base={path: /nowhere, hub: a/b}": "base: has path: and hub:; keep one",
    "base={path: /nowhere}": "base.path: there is no folder /nowhere",
    "base={path: $NO_SUCH_VARIABLE}": "base.path: the environment variable NO_SUCH_VARIABLE is not set",
    "base={hub: a/b, start: /nowhere/x}": "base.start: /nowhere/x has neither adapter/ nor state/",
    "base={hub: 'a b'}": "base.hub: not in the right form: ",
    "base={hub: a/b, revison: x}": "base.revison: unknown field; did you mean 'revision'?",
}


@pytest.mark.parametrize(("mistake", "message"), BASES.items())
def test_a_base_that_cannot_serve_is_named_with_its_path(mistake: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with pytest.raises(BadRecipe) as told:
        recipes.load("sample", [mistake])
    assert message in str(told.value)


def test_a_recipe_with_a_base_is_for_the_flow_that_tunes_it() -> None:
    tuned = recipes.load("vicuna-lora-tiny")
    assert tuned.flow == "finetune" and recipes.load("sample").flow == "pipeline"
    with pytest.raises(BadRecipe, match="the flow pipeline reads none; run the flow finetune"):
        recipes.load("vicuna-lora-tiny", flow="pipeline")
    with pytest.raises(BadRecipe, match="the flow finetune needs a model to begin with"):
        recipes.load("sample", flow="finetune")
    outside = recipes.load("sample", ["base.hub=org/llama", "base.extend=4000"])
    names = [node.name for node in graph(outside)]
    assert names[names.index("split") + 1 :][:5] == ["base-files", "counts", "tokenizer", "base", "sft"]
    assert next(node for node in graph(outside) if node.name == "evaluate").params.base == ("pretrain", "base")
    assert "pretrain" not in names and names[-1] == "report"
