"""The web page of `hanlin serve` in a headless Chromium, over a real server with a tiny random model. `benchmarks/page.py` tries every control."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from models.serve.served import Served
from tests import tiny
from tests.chromium import Page
from tests.test_serve_api import Running, served

ENDLESS = "1: -100\n3: -100"  # the tokens that end an answer are forbidden, as the field of the page has it


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of a server, opened."""
    home = tmp_path_factory.mktemp("page")
    one = Page(home / "browser")
    tokenizer = tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world"))
    running = Running(Served([served(tiny.llama(home / "llama", tokenizer, context=2048) / "model")]))
    one.open(f"{running.url}/")
    yield one
    one.close()
    running.stop()


def test_a_conversation_in_a_browser(page):
    """A question is asked, its answer streams in, is stopped, written again, kept over a reload; and the policy forbids nothing of it."""
    page.wait("document.querySelector('#model').value === 'small'")
    page.run("document.querySelector('#message').focus()")
    page.type("你好")
    page.send("Input.imeSetComposition", text="shijie", selectionStart=6, selectionEnd=6)
    page.press("Enter", 229)
    assert page.run("document.querySelectorAll('.turn').length") == 0, "Enter chose a word of the input method"
    page.type("世界")
    fill = (
        "(id, value) => { const node = document.getElementById(id); node.value = value; node.dispatchEvent(new Event('input')); }"
    )
    page.run(f"({fill})('knob-logit_bias', {json.dumps(ENDLESS)})")
    page.run(f"({fill})('knob-max_tokens', 2000)")
    page.press("Enter", 13)
    page.wait("document.querySelector('.answer .text')?.innerText")
    assert page.run("document.querySelector('.said').innerText") == "你好世界"
    page.press("Escape", 27)
    page.wait("document.querySelector('#halt').hidden")
    assert "Stopped" in page.run("document.querySelector('.ends').innerText")
    page.run(f"({fill})('knob-max_tokens', 12)")
    page.run("document.querySelector('.answer .act[aria-label=Regenerate]').click()")
    page.wait("document.querySelector('.facts')?.innerText.includes('12 tokens')")
    said = page.run("document.querySelector('.answer .text').innerText")
    assert "2/2" in page.run("document.querySelector('.pager').innerText")
    page.run("location.reload()")
    page.wait(f"document.querySelector('.answer .text')?.innerText === {json.dumps(said)}")
    assert page.complaints == []


def test_markdown_of_a_model_never_becomes_html(page):
    source = "- **粗** <img src=x onerror=alert(1)>\n\n| 甲 | 乙 |\n|--|--:|\n| `1` | 2 |\n\n```\n<script>\n```\n\n完*毕*"
    drawn = page.run(f"""import('/markdown.js').then(({{ draw, mark, places }}) => {{
        const node = document.createElement('div');
        const text = {json.dumps(source)};
        draw(node, text);
        mark(node, [[text.indexOf('粗'), text.indexOf('<img')]], () => document.createElement('mark'));
        return [node.innerHTML, places('🀄' + text)[1]];
    }})""")
    assert drawn[1] == 2, "a character beyond the first plane is one of Python's and two of JavaScript's"
    html = re.sub(r"<figcaption>.*?</figcaption>", "", drawn[0])
    assert html == (
        "<ul><li><strong><mark>粗</mark></strong><mark> </mark>&lt;img src=x onerror=alert(1)&gt;</li></ul>"
        '<div class="table" tabindex="0"><table><thead><tr><th class="">甲</th><th class="right">乙</th></tr></thead>'
        '<tbody><tr><td class=""><code>1</code></td><td class="right">2</td></tr></tbody></table></div>'
        '<figure class="code"><pre tabindex="0"><code>&lt;script&gt;\n</code></pre></figure><p>完<em>毕</em></p>'
    )


def test_what_is_sent_before_the_models_are_known_is_sent_once_they_are(page):
    gate = "const ask = fetch, gate = new Promise((open) => { window.open_gate = open; });"
    held = f"{gate} window.fetch = (...given) => gate.then(() => ask(...given));"
    added = page.send("Page.addScriptToEvaluateOnNewDocument", source=held)
    page.run("location.reload()")
    page.wait("window.open_gate && document.readyState === 'complete'")
    page.send("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    page.run("document.querySelector('#message').focus()")
    page.type("来得早")
    assert page.run("document.querySelector('#model').value") != "small", "the list of models is not there yet"
    page.press("Enter", 13)
    page.press("Enter", 13)
    page.run("open_gate()")
    page.wait("[...document.querySelectorAll('.said')].some((node) => node.innerText === '来得早')")
    page.wait("document.querySelector('#halt').hidden")
    assert page.run("[...document.querySelectorAll('.said')].filter((node) => node.innerText === '来得早').length") == 1


def test_what_the_server_refuses_is_said_in_the_language_of_the_page(page):
    page.run("document.querySelector('#message').focus()")
    page.type("很" * 3000)
    page.press("Enter", 13)
    page.wait("Boolean(document.querySelector('.failure'))")
    assert "The server says: the prompt has" in page.run("document.querySelector('.failure').innerText")
    page.run("""(() => {
        const node = document.getElementById('language');
        node.value = 'zh';
        node.dispatchEvent(new Event('change'));
    })()""")
    page.wait("document.querySelector('.failure').innerText.includes('上下文')")
    told = page.run("document.querySelector('.failure p').innerText")
    assert re.search(r"服务器说：提示.+ 个词元，而模型的上下文连同回答只有 2,048 个", told) and "prompt" not in told
