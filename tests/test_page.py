"""The files of the web page of `hanlin serve`: they ask no other server, keep to their Content-Security-Policy, and say all in both languages."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from models.engines import settings
from models.serve import schemas
from models.serve.schemas import ChatRequest

PAGE = Path(schemas.__file__).with_name("page")
FILES = {path.name: path.read_text("utf-8") for path in PAGE.iterdir()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js") and name != "words.js"}
WORDS: dict[str, list[str]] = json.loads(FILES["words.js"].removeprefix("export default ").rstrip().rstrip(";"))
NAMESPACE = "http://www.w3.org/2000/svg"  # a name, which nobody asks for


class Elements(HTMLParser):
    """The elements of a page: (name, attributes), and the text inside scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and self.found[-1][0] in ("script", "style"):
            self.inline += data.strip()


@pytest.fixture(scope="module")
def html() -> Elements:
    elements = Elements()
    elements.feed(FILES["index.html"])
    return elements


def attributes(html: Elements, name: str) -> list[str]:
    return [value or "" for _, given in html.found for key, value in given.items() if key == name]


def test_no_file_names_another_server():
    addresses = {name: re.findall(r"(?:\w+:)?//[\w.-]+[^\s\"'`)]*", text.replace(NAMESPACE, "")) for name, text in FILES.items()}
    scripts = {name: re.sub(r"(?m)(^|\s)// .*$", "", text) for name, text in SCRIPTS.items()}
    addresses |= {name: re.findall(r"\w+://\S+|[\"'`]//\w", text.replace(NAMESPACE, "")) for name, text in scripts.items()}
    assert {name: found for name, found in addresses.items() if found} == {}
    assert "@import" not in FILES["chat.css"] and "url(" not in FILES["chat.css"]


def test_nothing_is_inline(html):
    names = {key for _, given in html.found for key in given}
    assert html.inline == "" and "style" not in {tag for tag, _ in html.found}
    assert "style" not in names and {name for name in names if name.startswith("on")} == set()
    assert [given["src"] for tag, given in html.found if tag == "script"] == ["chat.js"]
    assert any("default-src 'self'" in text for text in attributes(html, "content"))


def test_no_text_becomes_code_or_html():
    refused = (
        r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|DOMParser|createContextualFragment"
    )
    assert {name: re.findall(refused, text) for name, text in SCRIPTS.items() if re.search(refused, text)} == {}


def test_all_that_is_loaded_is_there(html):
    imported = {name for text in SCRIPTS.values() for name in re.findall(r"from '\./([\w.]+)'", text)}
    linked = {value for value in attributes(html, "src") + attributes(html, "href") if not value.startswith("#")}
    assert imported | linked | {"index.html"} == set(FILES)
    icons = {value.removeprefix("#i-") for value in attributes(html, "href") if value.startswith("#")}
    drawn = {value.removeprefix("i-") for value in attributes(html, "id") if value.startswith("i-")}
    asked = {
        name
        for text in SCRIPTS.values()
        for name in re.findall(r"(?:\bicon|\baction|(?<!classList\.)\btoggle|\bstep)\('([\w-]+)'", text)
    }
    assert icons | asked == drawn


def test_scripts_find_their_elements(html):
    ids = attributes(html, "id")
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\b(?:at|on)\('([\w-]+)'", SCRIPTS["chat.js"])) <= set(ids)


def test_every_word_is_said_in_both_languages():
    wrong = []
    for key, forms in WORDS.items():
        places = [set(re.findall(r"\{\w+\}", text)) for text in forms]
        if len(forms) != 2 or not all(forms) or places[0] != places[1]:
            wrong.append(key)
    assert wrong == []
    assert len(WORDS["examples_list"][0].split("|")) == len(WORDS["examples_list"][1].split("|"))


def test_every_word_is_there_and_is_used(html):
    said = {key for text in SCRIPTS.values() for key in re.findall(r"\bsay(?:All)?\('(\w+)'", text)}
    said |= {*attributes(html, "data-say"), *attributes(html, "data-label"), *attributes(html, "data-hint")}
    quoted = {key for text in SCRIPTS.values() for key in re.findall(r"'(\w+)'", text)}
    composed = {f"{key}_hint" for key in quoted} | {f"error_{key}" for key in quoted} | {f"part_{key}" for key in quoted}
    assert said - set(WORDS) == set()
    assert set(WORDS) - said - quoted - composed == set()


def test_every_failure_has_its_words():
    kinds = set(re.findall(r"'(\w+)'", SCRIPTS["api.js"].split("function kind")[1].split("\n}\n")[0])) - {
        "context_length_exceeded"
    }
    kinds |= set(re.findall(r"(?:new Failure\(|kind = )'(\w+)'", SCRIPTS["api.js"]))
    assert {f"error_{kind}" for kind in kinds} == {key for key in WORDS if key.startswith("error_")}


def test_every_setting_of_decoding_is_a_knob():
    knobs = re.findall(r"\{ name: '(\w+)', field: '(\w+)'(?:, setting: '(\w+)')?", SCRIPTS["knobs.js"])
    assert {setting for _, _, setting in knobs if setting} == {
        field.name for field in dataclasses.fields(settings.DecodingSettings)
    }
    assert {field for _, field, _ in knobs} <= set(ChatRequest.model_fields)
    for name, _, _ in knobs:
        assert WORDS[name] and WORDS[f"{name}_hint"]
