"""Licences: their spelling, their order, and the one that follows from several."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from flows import recipe as recipes
from tasks.publication.licences import KINDS, ORDER, UNKNOWN, checked, choices, combined, kind

WIKI = "CC-BY-SA-4.0 OR GFDL-1.3-or-later"


@pytest.mark.parametrize("name", recipes.names())
def test_every_source_of_a_shipped_recipe_has_a_licence_that_is_known_or_said_to_be_unknown(name: str) -> None:
    for source, fields in recipes.fields(name)["sources"].items():
        licence = checked(fields.get("licence", ""))
        assert licence == UNKNOWN or all(kind(one) != UNKNOWN for choice in choices(licence) for one in choice), source
        if fields.get("download"):
            assert "licence" in fields, f"{name}: {source} is fetched from a public place and says nothing of its licence"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "unknown"),
        ("Unknown", "unknown"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("cc-by-sa-4.0 or gfdl", "CC-BY-SA-4.0 OR GFDL-1.3-or-later"),
        ("odc-by", "ODC-By-1.0"),
        ("Llama3", "llama3"),
        ("research only,  ask us", "research only, ask us"),
    ],
)
def test_licences_have_one_spelling(text: str, kept: str) -> None:
    assert checked(text) == kept == checked(kept)


@pytest.mark.parametrize(
    ("text", "hint"), [("mitt", "MIT"), ("apache 2.0", "Apache-2.0"), ("cc-by-sa-4", "CC-BY-SA-4.0"), ("nonesuch", "spdx.org")]
)
def test_what_is_nearly_a_licence_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(hint)):
        checked(text)


def test_a_choice_of_licences_is_taken_apart() -> None:
    assert choices("MIT OR (CC-BY-4.0 AND GPL-3.0-only)") == [{"MIT"}, {"CC-BY-4.0", "GPL-3.0-only"}]
    assert choices("words of my own") == [{"words of my own"}]


def test_the_order_has_each_family_once_and_is_kept() -> None:
    families = [family for kind in KINDS for family in ORDER[kind]]
    assert len(families) == len(set(families))
    rising = ["CC0-1.0", "MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-SA-4.0", "GPL-3.0-only"]
    for weaker, stricter in pairwise(rising):
        assert combined({"a": stricter, "b": weaker}).licence == stricter


@pytest.mark.parametrize(
    ("sources", "licence", "hub"),
    [
        ({"wiki": WIKI}, "CC-BY-SA-4.0", "cc-by-sa-4.0"),
        ({"wiki": WIKI, "belle": "GPL-3.0-only"}, "GPL-3.0-only", "gpl-3.0"),  # the one that CC names as compatible
        ({"wiki": WIKI, "manual": "GFDL-1.3-only"}, "GFDL-1.3-only", "other"),  # the hub's gfdl leaves the version open
        ({"old": "CC-BY-SA-3.0", "new": "CC-BY-SA-4.0"}, "CC-BY-SA-4.0", "cc-by-sa-4.0"),
        ({"a": "Apache-2.0", "b": "CC-BY-NC-4.0"}, "CC-BY-NC-4.0", "cc-by-nc-4.0"),
        ({"a": "CC-BY-NC-SA-4.0", "b": "CC-BY-NC-4.0", "c": "MIT"}, "CC-BY-NC-SA-4.0", "cc-by-nc-sa-4.0"),
        ({"a": "llama3", "b": "MIT"}, "llama3", "llama3"),
        ({"a": "MPL-2.0", "b": "MIT"}, "MPL-2.0", "mpl-2.0"),
    ],
)
def test_the_strictest_licence_is_taken(sources: dict[str, str], licence: str, hub: str) -> None:
    verdict = combined(sources)
    assert (verdict.licence, verdict.hub) == (licence, hub)
    [reason] = verdict.reasons
    assert licence in reason.en and licence in reason.zh


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({}, "Nothing is known"),
        ({"a": "MIT", "b": "unknown"}, "No licence is known of b"),
        ({"a": "MIT", "b": "research only, ask us"}, "b has terms of its own: “research only, ask us”"),
        (
            {"a": "CC-BY-SA-4.0", "b": "CC-BY-NC-4.0"},
            "CC-BY-NC-4.0 (b) forbids commercial use, and the share-alike licence CC-BY-SA-4.0 (a)",
        ),
        ({"a": "CC-BY-NC-SA-4.0", "b": "GPL-3.0-only"}, "each demand that what is made of them has that very licence"),
        ({"a": "GFDL-1.3-or-later", "b": "GPL-3.0-only"}, "each demand that what is made of them has that very licence"),
        ({"a": "CC-BY-ND-4.0"}, "allows no derived works"),
        ({"a": "gemma", "b": "GPL-3.0-only"}, "gemma (a) restricts what it is used for"),
        ({"a": "gemma", "b": "llama3"}, "each have conditions of their own"),
        ({"a": "Apache-2.0", "b": "GPL-2.0-only"}, "cannot be combined"),
    ],
)
def test_a_clash_or_an_unknown_licence_is_other_with_the_reason(sources: dict[str, str], said: str) -> None:
    verdict = combined(sources)
    assert verdict.licence == verdict.hub == "other" and verdict.link == ""
    assert any(said in reason.en for reason in verdict.reasons), verdict.reasons
    assert all(re.search("[\u4e00-\u9fff]", reason.zh) for reason in verdict.reasons)


def test_many_choices_are_judged_without_trying_every_combination() -> None:
    sources = {f"s{number}": f"MIT OR Apache-2.0 OR CC-BY-NC-{number}.0" for number in (2, 3, 4)}
    more = {
        name: f"MIT OR Apache-2.0 OR {name}"
        for name in "ISC Zlib WTFPL MPL-2.0 GPL-3.0-only AGPL-3.0-only EUPL-1.2 OSL-3.0 MulanPSL-2.0".split()
    }
    assert combined(sources | more).licence == "MIT"
