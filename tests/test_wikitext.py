"""Wikitext → plain text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.rows import Drop
from tasks.sources import wiki
from tasks.text import script
from tasks.text.wikitext import WikitextOptions, plain_text

MARKS = ("{{", "}}", "[[", "]]", "-{", "}-", "{|", "|}", "<ref")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # links
        ("[[数学]]与[[科学|自然科學]]", "数学与自然科學"),
        ("[[数学#历史]]、[[#定义|定义]]、[[#定义]]", "数学、定义、定义"),
        ("[[File:a.jpg|thumb|[[甲]]的{{lang|en|x}}]]文[[檔案:b.png]][[文件:c.svg|20px]][[Image:d.gif]]", "文"),
        ("[[File:a.png|thumb|甲[http://a.b 乙]]]文[[圖像:a.png|[[甲]][//a.b 乙]]]文", "文文"),
        ("文[[Category:数学]][[分類:科學]][[分类:科学|键]]", "文"),
        ("[[:Category:数学]]、[[:en:Math|英文]]、[[en:Math]]", "Category:数学、英文、"),
        ("[[Re:从零开始的异世界生活]]", "Re:从零开始的异世界生活"),
        ("[http://a.b 官网]。[http://a.b]见http://c.d/e", "官网。见http://c.d/e"),
        # templates: most go, some carry words of the sentence
        ("甲{{Infobox|a={{b|c}}\n|d=[[e]]}}乙", "甲乙"),
        ("{{lang-en|Mathematics}}，{{lang|el|μάθημα}}", "英语：Mathematics，μάθημα"),
        ("{{link-en|莱尔|Lyell}}、{{le|甲|A|乙}}、{{tsl|en|Foo|富}}", "莱尔、乙、富"),
        ("{{bd|1879年|3月14日|1955年|4月18日}}", "1879年3月14日－1955年4月18日"),
        ("{{convert|5|km|mi}}、{{Convert|3|-|4|kg}}", "5公里、3-4公斤"),
        ("{{nowrap|甲{{color|red|乙|丙}}丁}}", "甲乙丁"),
        ("{{citation needed|他生于1900年。|time=2016}}", "他生于1900年。"),
        ("{{{1|默认}}}{{{2}}}", "默认"),
        ("{{Template:nowrap|甲}}{{模板:Nowrap|乙}}", "甲乙"),
        # the holes that templates leave
        ("亚里士多德（{{x}}，前384年），哲学家（{{x}}）。", "亚里士多德（前384年），哲学家。"),
        ("甲（英語：{{x}}）乙", "甲乙"),
        ("甲（、{{x}}乙；{{x}}）", "甲（乙）"),
        # tables, comments, notes
        ("前\n{| class=x\n|-\n| {{a|b}}\n{|\n| 内\n|}\n|}\n后", "前\n\n后"),
        ('前<!-- [[x]] {{ -->后<ref>{{cite|[[x]]}}</ref>。<ref name="a" />', "前后。"),
        ("前<table><tr><td>x</td></tr></table>后", "前后"),
        ("<gallery>\nFile:a.jpg|甲\n</gallery>文<references/>", "文"),
        # emphasis, html, entities
        ("'''粗'''''斜'''''", "粗斜"),
        ('<div class="x"><span>甲</span><br />乙</div>', "甲\n乙"),
        ("&lt;岁&gt;&amp;&#20013;&nbsp;文", "<岁>&中\xa0文"),
        ("<岁>与 a < b", "<岁>与 a < b"),
        ("__NOTOC____无目录__文", "文"),
        # raised and lowered text means something
        ("10<sup>6</sup>、H<sub>2</sub>O、x<sup>k</sup>、1<sup>st</sup>、x<sub>i</sub>", "10⁶、H₂O、x^k、1st、x_i"),
        ("{{chem|H|2|O}}、{{e|5}}、文<sup>[1]</sup>", "H₂O、×10⁵、文"),
        # headings and lists; sections without a sentence go
        ("==历史==\n文\n===空===\n==参考文献==\n* x\n=== y ===\nz\n==影响==\n文", "历史\n\n文\n\n影响\n\n文"),
        ("* 甲\n** 乙\n# 丙\n:丁\n; 戊\n*\n----\n己", "- 甲\n  - 乙\n- 丙\n丁\n戊\n\n\n己"),
        # formulas and code
        (r"<math>\frac{{a}}{b}</math>", r"$\frac{ {a} }{b}$"),
        ("用<code>a[[0]]</code>取值", "用`a[[0]]`取值"),
        ('<syntaxhighlight lang="c">\nint a[2] = {{1}};\n</syntaxhighlight>', "```c\nint a[2] = {{1}};\n```"),
        ("<nowiki>'''[x]'''</nowiki>、<nowiki>[[甲|乙]]</nowiki>、甲<nowiki/>乙", "[x]、甲|乙、甲乙"),
        ("<pre>\n你说什么，\n我听不见。\n</pre>", "你说什么，\n我听不见。"),
        ("<pre>for x in y:\n    print(x)</pre>", "```\nfor x in y:\n    print(x)\n```"),
        # more of what wraps words of a sentence
        ("{{internal link helper/en|莱尔|Lyell|d=来尔}}、{{link-wikidata|甲|Q1}}、{{tsl|en|Foo}}", "来尔、甲、Foo"),
        ("{{nihongo|东京|東京|Tōkyō}}、{{zh|s=汉字|p=hànzì}}", "东京（日语：東京，Tōkyō）、简体：汉字；拼音：hànzì"),
        (
            "{{start date|2010|1|2}}、{{date|2010-01-02}}、{{as of|2010|5}}、{{circa|1900}}年",
            "2010年1月2日、2010年1月2日、截至2010年5月、约1900年",
        ),
        ("{{hlist|甲|乙}}{{ubl|丙|丁}}", "甲、乙丙\n丁"),
        (
            "{{quote box|quote=话。|source=人}}{{USA}}、{{US$|100}}、{{sort|x|甲}}、{{stl|捷运|西门}}",
            "话。美国、100美元、甲、西门站",
        ),
        # a note that was never closed does not swallow what follows it; a table in a table goes with it
        ("甲<ref name=a>乙。丙<ref>注</ref>丁", "甲乙。丙丁"),
        ("甲<table><tr><td><table><tr><td>x</td></tr></table>y</td></tr></table>乙", "甲乙"),
        (
            "== 注释 ==\n* 本文所说的年份都是公历的年份，不是农历。\n* 王某：《某书》（北京：某出版社，2001）。",
            "注释\n\n- 本文所说的年份都是公历的年份，不是农历。",
        ),
    ],
)
def test_markup(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("-{zh-hans:计算机; zh-hant:電腦}-", "计算机"),
        ("-{zh-tw:賽局理論;zh-cn:博弈论}-", "博弈论"),
        ("-{zh-cn:域}-與-{zh-tw:體;zh-hk:域}-", "域与體"),  # where the page has no simplified spelling, its own stays
        ("-{zh-tw:甲;zh-hk:乙;}-", "甲"),
        ("-{乾}-隆與李-{乾}-順", "乾隆与李乾顺"),
        ("-{R|張學良}-", "張學良"),
        ("-{H|zh-cn:软件;zh-tw:軟體}-軟體開發", "软件开发"),
        ("-{A|zh-cn:信息;zh-tw:資訊}-，資訊時代", "信息，信息时代"),
        ("-{T|zh-cn:标题;zh-tw:標題}-文", "文"),
        ("-{zh-hans;zh-hant|甲}-", "甲"),
        ("-{H|巨集=>zh-cn:宏;}-巨集病毒", "宏病毒"),
        ("{{NoteTA|G1=IT|1=zh-cn:软件;zh-tw:軟體;}}軟體與硬體", "软件与硬体"),
        ("-{zh-cn:[[计算机|机器]];zh-tw:[[電腦]]}-", "机器"),
        ("-{zh-cn:甲-{乙}-;zh-tw:丙}-", "甲乙"),
        ("文-{zh-hans:&nbsp;甲;zh-hant:乙}-", "文\xa0甲"),
        ("-{{lang|en|x}}-", "-x-"),
        ("-{zh-hans:甲;zh-hant:乙", "zh-hans:甲;zh-hant:乙"),
        ("-{D|zh-cn:甲;zh-tw:乙}--{N|zh-cn}--{}-文", "文"),
        ("-{+|zh-cn:信息;zh-tw:資訊}-，資訊", "信息，信息"),
        ("-{H|巨集=>zh-cn:宏;巨量=>zh-cn:大量}-巨集與巨量", "宏与大量"),
        ("-{巨集=>zh-tw:宏;}-", "宏"),
        ("-{H|zh-cn:软件;zh-tw:軟體}--{-|zh-cn:软件;zh-tw:軟體}-軟體", "软体"),
        ("{{Infobox x|a=-{H|zh-cn:软件;zh-tw:軟體}-}}軟體", "软件"),
        ("{{NoteTA|1=zh-hans:[[甲]]书;zh-hant:乙書|T=zh-cn:丙}}乙書", "甲书"),
        ("-{zh-Hans:计算机;zh-Hant:電腦}-、-{zh-cn：域；}-", "计算机、域；"),
        ("-{zh-hans:甲-{zh-hans:乙-{丙}-;zh-hant:丁}-;zh-hant:戊}-", "甲乙丙"),
    ],
)
def test_variants(wikitext: str, text: str) -> None:
    assert plain_text(wikitext, script.simplify) == text


def test_without_conversion_the_page_keeps_its_characters() -> None:
    assert plain_text("軟體-{H|zh-cn:软件;zh-tw:軟體}-與-{zh-hans:台;zh-hant:臺}-") == "軟體與台"


def test_markup_escaped_twice_is_markup_and_escaped_once_is_text() -> None:
    assert plain_text("甲&lt;br&gt;乙&lt;ref&gt;x&lt;/ref&gt;&lt;!-- y --&gt;") == "甲\n乙"
    assert plain_text("<b>标签</b>&lt;br&gt;换行") == "标签<br>换行"


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("甲{{未关闭\n乙", "甲 未关闭\n乙"),
        ("甲[[未关闭 乙", "甲未关闭 乙"),
        ("甲}}乙]]丙", "甲乙丙"),
        ("{| 未关闭\n| 格\n正文", "未关闭\n\n正文"),
        ("甲<math>未关闭", "甲未关闭"),
        ("甲<!-- 未关闭", "甲"),
        ("{{a|[[b}}c", "c"),
    ],
)
def test_broken_markup_loses_no_text_after_it(wikitext: str, text: str) -> None:
    assert re.sub(" +", "", plain_text(wikitext)) == text.replace(" ", "")


SOUP = (
    "{{ }} {{{ }}} { } [[ ]] [ ] -{ }- {| |} | |- <ref> </ref> <ref/> <br> ''' a 文 == * <!-- --> &lt;ref&gt; &#91; zh-cn: zh-tw: ; H| "
    "（ ） ， <b> </b> {{Infobox || |+ ! rowspan=2 "
    " <sup> </sup> <sub> lang|en| NoteTA|1= <math> </math> <nowiki> </nowiki> ! {{!}} &lt; - File: Category: # <table> </table>"
).split(" ")


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*SOUP, "\n", " ", "http://a.b "]), max_size=20).map("".join), st.booleans())
def test_no_markup_survives_whatever_it_is_mixed_with(wikitext: str, convert: bool) -> None:
    text = plain_text(
        wikitext, (lambda same: same) if convert else None, WikitextOptions("text", "facts") if convert else WikitextOptions()
    )
    assert not [mark for mark in MARKS if mark in text]
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)


@pytest.mark.parametrize(
    "hostile",
    [
        "{{{{[[[[",
        "{{",
        "[[",
        "-{",
        "{|",
        "<ref>",
        "<!--",
        "<math>",
        "}}",
        "[[a|",
        "{{{",
        "'",
        "[",
        "[http://",
        "，",
        "（，",
        "<a<b",
        "=",
        "\n==",
        "-{H|",
        "（  ",
        "*",
        "<sup>",
        "<b ",
        "__",
        "  ",
        "<ref><ref/>",
        "<table>",
        "&#9999999999;",
        "[[File:",
        "{{x|",
        "{{Infobox ",
        "{|\n|",
        "|-\n",
        "||",
        "-{A|zh-cn:甲;",
        ";zh-cn:",
        "=>",
        "\n a",
        "\n a ",
        " a",
        "== 来源 ==\n* [[a]]",
        "（{{a}}",
        "，{{a}}",
        "<abc>",
        "<code>",
        "<code>[[",
        "</abc>\n",
        "\n<abc>",
        "{{#if:",
        "{{#expr:(",
        "{{convert|5|",
    ],
)
def test_hostile_pages_take_linear_time(hostile: str) -> None:
    """200 kB each: anything quadratic would take minutes here."""
    text = plain_text(hostile * (200_000 // len(hostile)) + "</ref></table>|}", script.simplify, WikitextOptions("text", "facts"))
    assert not [mark for mark in MARKS if mark in text]


@pytest.mark.parametrize("around", ["{{|\n|{}\n|}}", "{{{{Infobox x\n|甲={}\n}}}}"])
@pytest.mark.parametrize(
    "hostile", ["{{{{[[", "{|\n|", "||", "|-\n|", "[[a|", "''", "<b", "|rowspan=99 colspan=99|a\n", "{{x|", "-{", "=", "&", "* "]
)
def test_hostile_tables_take_little_time(around: str, hostile: str) -> None:
    text = plain_text(around.format(hostile * (60_000 // len(hostile))) + "尾", None, WikitextOptions("text", "facts"))
    assert not [mark for mark in MARKS if mark in text]


TABLE = """前
{| class="wikitable"
|+ 产量
! 名称 !! 年份
! 产量
|-
| rowspan=2 | [[甲|甲厂]] || {{nowrap|1990}} || 5<ref>x</ref>
|-
| style="x" | 1991
|
* 六
* 七
|-
! colspan=3 | 合计
|-
| 乙
|
{|
| 里 || 外
|}
| -{zh-cn:八;zh-tw:九}-<br>多
|}
后"""


def test_tables_as_text() -> None:
    assert plain_text(TABLE) == "前\n\n后"
    assert plain_text(TABLE, None, WikitextOptions(tables="text")).split("\n") == [
        "前", "", "产量",
        "名称：甲厂；年份：1990；产量：5", "名称：甲厂；年份：1991；产量：六、七", "合计", "名称：乙；年份：里；外；产量：八、多", "", "后"
    ]  # fmt: skip
    assert plain_text("{|\n|}文", None, WikitextOptions(tables="text")) == "文"
    assert plain_text("{|\n| 一 || 二\n正文没有完", None, WikitextOptions(tables="text")) == plain_text(
        "{|\n| 一 || 二\n正文没有完"
    )
    large = "{|\n" + "|-\n| 格 || 格\n" * 10_000 + "|}文"
    assert plain_text(large, None, WikitextOptions(tables="text")) == "文"


def test_infoboxes_as_facts() -> None:
    box = "{{Infobox 人物\n|姓名=[[甲|甲某]]\n|image=a.png\n|出生={{bd|1900年|1月}}\n|作品=\n* 一\n* -{zh-cn:二;zh-tw:三}-\n|空=\n|图像说明=x\n}}正文"
    assert plain_text(box) == "正文"
    assert plain_text(box, None, WikitextOptions(infoboxes="facts")) == "姓名：甲某\n出生：1900年1月\n作品：一、二\n正文"
    assert plain_text("{{cite web|title=x}}{{navbox|title=y}}文", None, WikitextOptions(infoboxes="facts")) == "文"


def test_a_page_of_rules_takes_linear_time() -> None:
    rules = "".join(f"-{{H|zh-cn:甲{number};zh-tw:乙{number}}}--{{丙}}-丁" for number in range(5000))
    assert plain_text(rules + "乙7", script.simplify).endswith("丁甲7")


def test_deep_nesting_is_bounded() -> None:
    assert plain_text("{{a|" * 50_000 + "甲" + "}}" * 50_000 + "乙") == "乙"
    assert "甲" in plain_text("{{nowrap|" * 20 + "甲" + "}}" * 20)


def test_real_articles(real_data) -> None:
    rows = [row for row in wiki.read(real_data / "wiki/zhwiki-2018-pages1-24.xml.bz2") if not isinstance(row, Drop)]
    assert len(rows) == 14
    texts = {row["title"]: plain_text(row["text"], script.simplify) for row in rows}
    for title, text in texts.items():
        assert not [mark for mark in MARKS if mark in text], title
        assert "'''" not in text and "NoteTA" not in text and "</" not in text, title
        assert len(text) > 500, title
        assert script.traditional_share(text) < 0.003, title
    assert texts["数学"].startswith("数学是利用符号语言研究数量、结构、变化以及空间等概念的一门学科")
    assert "西方语言中“数学”（希腊语：μαθηματικά）一词源自于古希腊语的μάθημα" in texts["数学"].replace("\n", "")
    assert "参考文献" not in texts["经济学"].splitlines()
