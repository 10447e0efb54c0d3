"""The files of the web page of `hanlin serve`: they ask no other server, keep to their Content-Security-Policy, and say all in both languages."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows import tracing
from models import engines
from models.engines import settings
from models.serve import errors, schemas
from models.serve.schemas import ChatRequest

PAGE = Path(schemas.__file__).with_name("page")
FILES = {path.name: path.read_text("utf-8") for path in PAGE.iterdir()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js") and name not in ("words.js", "refusals.js")}
WORDS: dict[str, list[str]] = json.loads(FILES["words.js"].removeprefix("export default ").rstrip().rstrip(";"))
REFUSALS: list[list[str]] = json.loads(FILES["refusals.js"].removeprefix("export default ").rstrip().rstrip(";"))
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
    codes = {"context_length_exceeded", "internal_error"}
    kinds = set(re.findall(r"'(\w+)'", SCRIPTS["api.js"].split("function kind")[1].split("\n}\n")[0])) - codes
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


def sentences(node: ast.AST) -> list[str]:
    """What a string of the source may say, with 7 for each value in it."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=parts):
            return ["".join(part.value if isinstance(part, ast.Constant) else "7" for part in parts)]
        case ast.IfExp(body=one, orelse=other):
            return sentences(one) + sentences(other)
        case ast.BinOp(left=one, right=other):
            return ["".join(pair) for pair in itertools.product(sentences(one), sentences(other))]
    return []


def refused(**given: object) -> str:
    """What the API says of a request that its schema refuses."""
    with pytest.raises(ValidationError) as failure:
        ChatRequest.model_validate({"messages": [{"role": "user", "content": "你好"}], **given})
    return errors.malformed(failure.value.errors()).message


def in_chinese(message: str) -> str:
    """A message as the Chinese page has it."""
    known = (
        re.sub(pattern, re.sub(r"\$(\d)", r"\\\1", chinese), message)
        for pattern, chinese in REFUSALS
        if re.search(pattern, message)
    )
    return next(known, message)


def test_what_the_page_knows_in_chinese_is_what_the_server_says():
    files = [path for module in (engines, errors, tracing) for path in Path(module.__file__).parent.glob("*.py")]
    said = {text for path in files for node in ast.walk(ast.parse(path.read_text("utf-8"))) for text in sentences(node)}
    said |= {refused(max_tokens=0), refused(top_p=2), refused(stop="长" * 600), refused(model="长" * 600)}
    for pattern, chinese in REFUSALS:
        assert any(re.search(pattern, text) for text in said), f"no message of the server is like {pattern}"
        groups = re.compile(pattern).groups
        assert set(re.findall(r"\$(\d)", chinese)) == {str(number) for number in range(1, groups + 1)}
    assert in_chinese("top_p is 0; it must be above 0 and at most 1") == "top_p 是 0，应大于 0 且不超过 1"
    assert in_chinese(refused(top_p=2)) == "top_p 应不大于 1"
    assert in_chinese("a new kind of trouble") == "a new kind of trouble"
