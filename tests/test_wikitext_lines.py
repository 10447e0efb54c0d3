"""Lines, sections, tags and code of wikitext: what is markup goes, what only looks like it stays."""

from __future__ import annotations

import pytest

from tasks.text.wikitext import plain_text


@pytest.mark.parametrize(
    "lines",
    [
        (" #include <stdio.h>", " int main(void)", " {", "     return 0;", " }"),
        (" !x", " | y", " ; c", " * d", " : e", " = f", " # g"),
        (" mov ax, 1  ; 置一", " int 21h"),
        (" +---+", " | a |", " +---+"),
        (" def f(x):", "     return x"),
        (" （￣▽￣）／", " ＿＿＿"),
    ],
)
def test_lines_that_begin_with_a_space_stay_as_they_are(lines: tuple[str, ...]) -> None:
    assert plain_text("\n".join(["如下：", *lines, "完。"])).split("\n") == ["如下：", *lines, "完。"]


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("甲\n 这里的作者多打了一个空格。\n  这里是两个。\n乙", "甲\n这里的作者多打了一个空格。\n这里是两个。\n乙"),
        ("甲\n He left a space here.\n乙", "甲\nHe left a space here.\n乙"),
        ("甲\n （注意）这是散文。\n 「引文」也是。", "甲\n（注意）这是散文。\n「引文」也是。"),
        ("甲\n\u3000\u3000段首空两格。", "甲\n段首空两格。"),
        ("{{主条目|某}} 一段文字。\n[[File:a.png]] 又一段。", "一段文字。\n又一段。"),
        ("甲\n == 不是标题 ==x", "甲\n == 不是标题 ==x"),
        # a table or a template without an end leaves no rests
        ("{{Infobox 某\n | 名 = 甲\n | 年 = 乙\n正文", "Infobox 某\n\n\n正文"),
        ("!important 的意思\n|x| 是绝对值", "!important 的意思\n|x| 是绝对值"),
    ],
)
def test_prose_loses_the_space_before_it(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    "text",
    [
        "调用 main() 和 f( ) 函数",
        "减号（-）、间隔号（·）和句点(.)",
        "空括号（）也有人写",
        "宏__FILE__与__LINE__",
        "甲，，乙、、丙",
        "头文件<stdio.h>、List<String>、Map<String, Integer>、vector<int>与<某人>",
        "a <b> 之外的 x < y > z",
    ],
)
def test_marks_that_an_author_wrote_stay(text: str) -> None:
    assert plain_text(text) == text.replace("<b>", "")


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("甲（{{a}}，前1年），乙（{{b}}）。", "甲（前1年），乙。"),
        ("甲（英語：{{a}}）、乙（英語：{{a}}，某年）、丙（某年，{{a}}）", "甲、乙（某年）、丙（某年）"),
        ("甲（{{a}}；{{b}}）乙，{{c}}，丙", "甲乙，丙"),
        ("甲（<ref>x</ref>）乙（''{{a}}''）丙（[http://a.b]）丁（<!-- x -->）戊", "甲乙丙丁戊"),
        ("石（比：{{a}}%）", "石（比：%）"),
    ],
)
def test_gaps_that_elements_leave_are_closed(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        # a surname's origins, a city's galleries, a technique
        ("== 来源 ==\n* 出自子姓，以封地为氏\n* 源于官职\n* 外族改姓", "来源\n\n- 出自子姓，以封地为氏\n- 源于官职\n- 外族改姓"),
        (
            "==來源==\n* 源于[[某國]]國君之後，以[[國名|國]]為氏\n* 《某姓考》載：某公之後。",
            "來源\n\n- 源于某國國君之後，以國為氏\n- 《某姓考》載：某公之後。",
        ),
        ("== 画廊 ==\n* 东街画廊\n* 西街画廊", "画廊\n\n- 东街画廊\n- 西街画廊"),
        ("== 导航 ==\n汽车的导航依靠卫星", "导航\n\n汽车的导航依靠卫星"),
        ("== 引用 ==\n引用他人的话要加引号\n=== 直接引用 ===\n照录原文", "引用\n\n引用他人的话要加引号\n\n直接引用\n\n照录原文"),
        ("== 注释 ==\n* 甲：这里指旧城，不含后来并入的郊区", "注释\n\n- 甲：这里指旧城，不含后来并入的郊区"),
        # links, addresses, citations
        (
            "== 来源 ==\n* [http://a.b 某站]\n* 某站的说明 http://a.b/c\n* {{cite web|title=x}}\n* 某人：《某书》，某某出版社，1999年",
            "",
        ),
        ("== 来源 ==\n* [[某姓]]\n* [[另一姓]]、[[又一姓]]", ""),
        ("== 画廊 ==\n<gallery>\nFile:a.png|说明\n</gallery>", ""),
        ("== 导航 ==\n{{某地模板}}", ""),
        ("== 参见 ==\n* [[甲学]]\n* [[乙学]]——丙学的一支\n== 后 ==\n文", "后\n\n文"),
        ("== 注释及参考文献 ==\n* [http://a.b 某站]\n== 後 ==\n文", "後\n\n文"),
        ("== 參考資料與外部連結 ==\n* [http://a.b 某站]\n* [[甲]]\n", ""),
        ("== 来源与演变 ==\n* [[甲]]\n* [[乙]]", "来源与演变\n\n- 甲\n- 乙"),
        ("== 外部链接 ==\n* [//a.b 官方网站]\n* {{official|http://a.b}}", ""),
        ("== 参考书目 ==\n* 某人，某书，ISBN 7-000-00000-0\n* 某人《某书》（2001）\n* 第12页", ""),
        ("== 书目 ==\n* 某人《某书》，某某书局，2001\n* 某人《别书》（2002）\n* 又一本", ""),
    ],
)
def test_a_section_goes_by_what_is_in_it(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("文\n<comments />\n尾", "文\n\n尾"),
        ("文<comments/><youtube>aB3dE6gH9jK</youtube><youtube width=3>x</youtube>尾", "文尾"),
        ("<poll>\n哪个好？\n甲\n乙\n</poll>文", "文"),
        ("<verse>床前明月光</verse><spoiler>结局</spoiler>", "床前明月光结局"),
        ("<tabber>\n甲=一\n</tabber>", "甲=一"),
        ('文<sharebox kind="a" />尾，<vidplay>https://a.b/c</vidplay>', "文尾，"),
        ("<blockbox>\n盒中的话\n</blockbox>\n文", "盒中的话\n\n文"),
        ("<section begin=甲 />文<section end=甲 />", "文"),
        (" <note />\n <to>某人</to>", "<note />\n <to>某人</to>"),
        ("<nowiki><br></nowiki>换行，<nowiki><poll>x</poll></nowiki>", "<br>换行，<poll>x</poll>"),
    ],
)
def test_tags_of_extensions(wikitext: str, text: str) -> None:
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("''x''", "x"),
        ("'''if''' (''a'')", "if (a)"),
        ("[[列表|list]]()", "list()"),
        ("[[数组]]", "数组"),
        ("[http://a.b f()]", "f()"),
        ("a{{!}}b{{=}}c", "a|b=c"),
        ("{{tl|某}}", "{{某}}"),
        ("<var>n</var>+1", "n+1"),
        ("<nowiki>''[[x]]''</nowiki>", "''[[x]]''"),
        # what is no markup of a wiki's
        ("a[[0]]", "a[[0]]"),
        ("m[[1, 2]]", "m[[1, 2]]"),
        ("s = ''", "s = ''"),
        ("f('', '')", "f('', '')"),
        ("{{1}, {2}}", "{{1}, {2}}"),
        ("{{ name }}", "{{ name }}"),
    ],
)
def test_code_shows_the_effect_of_markup(code: str, shown: str) -> None:
    assert plain_text(f"写<code>{code}</code>。") == f"写`{shown}`。"
    if "nowiki" not in code:
        assert plain_text(f"<syntaxhighlight>{code}</syntaxhighlight>") == f"```\n{code}\n```"


def test_a_page_of_html_in_pre_is_prose_where_it_says_something() -> None:
    page = "<!DOCTYPE html><html><head><title>x</title><script>var a = 1;</script></head><body><p>{}</p></body></html>"
    said = "这一天下着小雨，街上没有人。他走进茶馆坐了下来。"
    assert plain_text(f"<pre>{page.format(said)}</pre>") == said
    assert plain_text(f"<pre>{page.format('你好')}</pre>") == f"```\n{page.format('你好')}\n```"
