"""Large whole numbers are read as people write them, in files, changes and flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.amounts import amount
from flows.recipe import BadRecipe, load


@pytest.mark.parametrize(
    ("text", "number"),
    {
        "1e5": 10**5,
        "100k": 10**5,
        "2M": 2 * 10**6,
        "1.5B": 1_500_000_000,
        "1_000": 1000,
        "2.5e3": 2500,
        " 7 ": 7,
        "3g": 3 * 10**9,
    }.items(),
)
def test_an_amount_is_a_whole_number(text: str, number: int) -> None:
    assert amount(text) == number


@pytest.mark.parametrize("text", ["", "k", "1.5", "2 M tokens", "-3", "1e", "0x10", "1e-3", "many"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="100k"):
        amount(text)


def test_a_recipe_takes_amounts_in_its_file_and_in_changes(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: tiny\nname: mine\npretrain: {tokens: 1e5}\nresources: {checkpoint_steps: 2k}\n", "utf-8")
    recipe = load(str(file), ["pretrain.batch_tokens=2k"])
    assert (recipe.pretrain.tokens, recipe.resources.checkpoint_steps, recipe.pretrain.batch_tokens) == (100_000, 2000, 2000)
    assert load("tiny", ["pretrain.tokens=2M"]) == load("tiny", ["pretrain.tokens=2000000"])
    with pytest.raises(BadRecipe, match=r"pretrain.tokens: .*got '10x'"):
        load(str(file), ["pretrain.tokens=10x"])


@pytest.mark.parametrize(
    ("typed", "tokens"), [("0100000", 100_000), ("1_000_000", 1_000_000), ("+100000", 100_000), ("100000.0", 100_000)]
)
def test_a_number_is_in_base_ten(typed: str, tokens: int, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: tiny\nname: mine\npretrain: {{tokens: {typed}}}\nsft: {{epochs: 0.5}}\n", "utf-8")
    assert load(str(file)).pretrain.tokens == load("tiny", [f"pretrain.tokens={typed}"]).pretrain.tokens == tokens
    assert load(str(file), ["dedup.threshold=.5"]).dedup.threshold == 0.5


@pytest.mark.parametrize("typed", ["1:30:00", "0x186a0", "0b11", "1:30.5"])
def test_a_number_in_another_base_is_refused(typed: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: tiny\nname: mine\npretrain: {{tokens: {typed}}}\n", "utf-8")
    for refused in (lambda: load(str(file)), lambda: load("tiny", [f"pretrain.tokens={typed}"])):
        with pytest.raises(BadRecipe, match=rf"pretrain.tokens: needs a whole number.*got '{typed}'"):
            refused()


def test_a_field_that_is_there_twice_is_refused_in_a_change_too() -> None:
    with pytest.raises(BadRecipe, match=r"pretrain, line 1: tokens is there already"):
        load("tiny", ["pretrain={tokens: 100k, tokens: 200k}"])


@pytest.mark.parametrize("typed", ["2018-11-31", "2024-13-45", "!!bool maybe", "[" * 3000])
def test_what_only_looks_like_a_value_is_told_with_its_field(typed: str, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match=r"pretrain\.tokens: needs a whole number"):
        load("tiny", [f"pretrain.tokens={typed}"])


def test_a_date_that_does_not_exist_is_told_with_its_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: tiny\nname: mine\nsources: {belle: {date: 2018-11-31}}\npretrain: {tokens: 2018-11-31}\n", "utf-8")
    with pytest.raises(BadRecipe, match=r"pretrain\.tokens: needs a whole number"):
        load(str(file))
