r"""Escapes written once too often: undone where the whole of a text bears it out, left where they are what it is about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.data.rows import Drop
from tasks.formats.registry import reader
from tasks.ingest import clean_text
from tasks.text.escapes import entities, line_ends, unescaped
from tasks.text.ledger import Account, difference


@pytest.mark.parametrize(
    "text",
    [
        r"转义字符\n表示什么",
        r"用\n",
        r"\n是什么",
        r"换行用\n，回车用\r。",
        r"答案是5。\n",
        r"“\n”和“\t”",
        r"用\n分隔，再用\n结尾",
        r"在C语言中\n是换行，\n\n是两个换行",
        r"C:\new\nothing。",
        r"D:\n。好",
        r"求\nabla f。\n和\nu",
        r'print("第一行。\n第二行。\n")',
        r"写成`甲。\n乙。\n`",
        r"\\n。\\n。",
        "甲。\n乙。\\n丙。\\n",
    ],
)
def test_a_line_end_that_is_the_subject_stays(text: str) -> None:
    assert line_ends(text) == text
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (r"第一句。\n第二句。\n第三句。", "第一句。\n第二句。\n第三句。"),
        (r"步骤如下：\n1. 洗\n2. 切\n\n3. 炒", "步骤如下：\n1. 洗\n2. 切\n\n3. 炒"),
        (r"甲。\n\n\n乙。\n丙", "甲。\n\n\n乙。\n丙"),
        (r"题目\n第一段。\n第二段。\n完", "题目\n第一段。\n第二段。\n完"),
        (r"春天来到小河边\n柳树长出新叶子\n孩子们放起风筝", "春天来到小河边\n柳树长出新叶子\n孩子们放起风筝"),
        (r"Hello there.\nHow are you?\nFine.", "Hello there.\nHow are you?\nFine."),
        (r"好的，\r\n请看：\r\n完", "好的，\n请看：\n完"),
        (r"换行的写法有两种。\n一种是\n，另一种是空行。\n完", "换行的写法有两种。\n一种是\\n，另一种是空行。\n完"),
    ],
)
def test_line_ends_of_a_text_without_any(raw: str, clean: str) -> None:
    assert line_ends(raw) == clean


@pytest.mark.parametrize(
    "text",
    [
        "写成 &lt; 和 &gt; 即可",
        "&lt; 是什么",
        "&gt;",
        "&amp;、&lt;分别是什么",
        "&quot;是什么",
        "&#39;是单引号",
        "用&amp;表示和",
        "请问&lt;和&gt;的区别",
        "&lt;与&gt;",
        "HTML 中 &lt; 表示小于号",
        "写作 &lt;br&gt; 或 <br>",
        "把小于号写成 &lt;p&gt;",
        "a &amp;lt; b",
        "&amp; 怎么读",
        "&nbsp;是什么意思？",
        "HTML中&nbsp;表示空格",
        "&copy;符号怎么打",
        "“&hellip;”和“&mdash;”",
        "int &ref; f(&data);",
    ],
)
def test_an_entity_that_is_the_subject_stays(text: str) -> None:
    assert entities(text) == text
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("a &lt; b &amp;&amp; c", "a < b && c"),
        ("他说&quot;你好&quot;。", '他说"你好"。'),
        ("don&#39;t", "don't"),
        ("AT&amp;T公司", "AT&T公司"),
        ("for(int i=0;i&lt;n;i++)", "for(int i=0;i<n;i++)"),
        ("&lt;div class=&quot;a&quot;&gt;你好&lt;/div&gt;", '<div class="a">你好</div>'),
        ("List&lt;String&gt;", "List<String>"),
        ("x-&gt;next", "x->next"),
        ("年龄 &gt;= 18", "年龄 >= 18"),
        ("std::cout &lt;&lt; &quot;hi&quot;", 'std::cout << "hi"'),
        ("http://a.b/?a=1&amp;b=2", "http://a.b/?a=1&b=2"),
        ("&ldquo;你好&rdquo;&mdash;&mdash;他说&hellip;&hellip;", "“你好”——他说……"),
        ("3 &times; 4，25&deg;C，caf&eacute;，&#20320;&#22909;", "3 × 4，25°C，café，你好"),
        ("&lt;p&gt;你&nbsp;好&lt;/p&gt;", "<p>你\u00a0好</p>"),
    ],
)
def test_a_text_that_was_escaped_as_a_whole(raw: str, clean: str) -> None:
    assert entities(raw) == clean == entities(clean)


def test_readers_agree(tmp_path: Path) -> None:
    """One row, whoever reads it, comes out the same: the readers leave escapes to the cleaning that all rows share."""
    for text, clean in (
        ("a &lt; b", "a < b"),
        ("&lt; 是什么", "&lt; 是什么"),
        (r"用\n", r"用\n"),
        (r"一。\n二。\n三。", "一。\n二。\n三。"),
    ):
        record = {
            "instruction": text,
            "input": "",
            "output": text,
            "prompt": text,
            "chosen": text,
            "rejected": "不",
            "text": text,
        }
        found = []
        for name, fields in (
            ("alpaca", ["instruction", "input", "output"]),
            ("belle", ["instruction", "input", "output"]),
            ("preference", ["prompt", "chosen", "rejected"]),
            ("text", ["text"]),
        ):
            path = tmp_path / f"{name}.json"
            path.write_text(json.dumps({field: record[field] for field in fields}, ensure_ascii=False) + "\n", "utf-8")
            (row,) = reader(name).read(path)
            assert not isinstance(row, Drop)
            texts = [row["text"]] if name == "text" else [turn["content"] for turn in row["messages"]]
            found += [clean_text(one) for one in [*texts, row.get("chosen", text)]]
        assert set(found) == {clean}


PIECES = st.lists(
    st.sampled_from([
        "一", "二三四五", "a", "\\n", "\\r\\n", "。", "：", "1. ", '"', "'", "`", " ", "\n", "$", "&lt;", "&gt;", "&amp;", "&quot;", "&#39;",
        "=", "br",
    ]),
    max_size=20,
).map("".join)  # fmt: skip


@given(PIECES)
def test_a_second_pass_changes_nothing_and_every_character_is_in_the_ledger(text: str) -> None:
    account = Account()
    ledger = account.ledger()
    once = unescaped(text, ledger)
    account.settle(ledger, len(text), len(once))
    assert difference(account.stats()) == 0
    assert line_ends(once) == once
    assert "".join(line_ends(text).replace("\\r\\n", "").replace("\\n", "").split()) == "".join(
        text.replace("\\r\\n", "").replace("\\n", "").split()
    )


@pytest.mark.parametrize("hostile", ["\\n", "。\\n", "'", '"', "&lt;", "&lt;a", "&quot; ", "&amp; ", " &#39;", "a&lt;"])
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    assert unescaped(hostile * (200_000 // len(hostile)))
