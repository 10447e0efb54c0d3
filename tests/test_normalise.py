"""Normalisation: what changes, what must not, and that a second pass changes nothing."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text.fold import folded
from tasks.text.ledger import Account, Ledger, difference
from tasks.text.normalise import normalise, storable
from tasks.text.script import HAN


def letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", folded(text))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("你好,世界!真的?", "你好，世界！真的？"),
        ("步骤如下:\n第一步;第二步.", "步骤如下：\n第一步；第二步。"),
        ("北京(首都)很大,(见图)", "北京（首都）很大,(见图)"),
        ("中(文(文)文)与f(变量)", "中（文（文）文）与f(变量)"),
        ("Ａ１２．５元", "A12.5元"),
        ("　　段首缩进　一　二", "段首缩进 一 二"),
        ("a\u00a0b\u2003c   d \t\n", "a b c d"),
        ("零\u200b宽\ufeff与\u00ad控\x07制\u202e符", "零宽与控制符"),
        ("一\r\n二\r三\u2028四", "一\n二\n三\n四"),
        ("一\n\n\n\n二\n \n\t\n三", "一\n\n二\n\n三"),
        ("e\u0301\u212b", "éÅ"),
        ("👨\u200d👩\u200d👧与a\u200db", "👨\u200d👩\u200d👧与ab"),
        ("\ud800坏", "坏"),
        ("\ue000图\uf8ff标\ufdd0", "图标"),
        ("你好 , 世界 ! 真的 ?好", "你好，世界！真的？好"),
        ("５０％，１２：３０", "50%，12:30"),
        ("半角｢引号｣､句号｡", "半角「引号」、句号。"),
        ("太好了！！！！！！真的????", "太好了！！！真的？？？"),
        ("等等…………好。。。。。", "等等……好。。。"),
        ("a\U000e0067b", "ab"),
    ],
)
def test_what_changes(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


@pytest.mark.parametrize(
    "text",
    [
        'Class access is a "pass" in http://a.b/c?d=1,2',
        "圆周率是3.14，时间10:30，比分3:2，共1,000人",
        "他说：“你好”。『引』与「号」",
        "访问https://zh.wikipedia.org/wiki/中国(国家),谢谢",
        "def f(a, b):\n    if a:\n        return b\n\n    return a",
        "```py\nx  = '你,好'   # 两  格\n\n\n\ny = １\n```",
        "用`a  ,b`与``x,`y`,z``表示",
        "~~~\n未关闭,的围栏　里\n",
        "第一段。\n\n第二段。",
        "好...对吗?!",
        "| 甲 | 乙 |\n| --- | --- |",
        "x² + y² = z²，H₂O，①",
        "名字\t年龄",
        "比分3：2，C++与C#，a==b，U.S.与e.g.，A:B，x<y,且y>z，2019-2020",
        "《甲》、《乙》……——～「丙」·丁",
        "设$x,y$，$\\text{若,则}$，\\(甲,乙\\)，\\[甲;乙\\]",
        "$$\n若,则\n$$",
        'print("你好,世界")，s = \'甲,乙\'，{"键": "值,值"}',
        "邮箱:a.b@c.com,电话：010-1234",
        "👨\u200d👩\u200d👧\u200d👦 ❤️\u200d🔥 1️⃣ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "𠀀𪚥，葛\U000e0100城，é，ﬁ，①②ⅣH₂O",
        "列夫.托尔斯泰，第1.2节，$5和$6",
    ],
)
def test_what_stays(text: str) -> None:
    assert normalise(text) == text.strip().replace("吗?!", "吗？！")


MACHINE_READ = [
    # rows and lists
    "姓名,班级,城市\n小甲,3,演示市",
    "编号;姓名;城市\n1;小甲;演示市\n2;小乙;样例市",
    "品名,产地,价格\n苹果,山东,5.5\n香蕉,海南,4",
    "小甲,男,3,演示市",
    "编号:1,姓名:小甲",
    "Tags: [demo, 测试, 测试标签, test]",
    "标签: [演示, 测试, 测试标签]",
    "{姓名: 小甲, 年龄: 3, 城市: 演示市}",
    "x = [甲,乙,3]",
    "[\n  苹果,\n  香蕉,\n  3\n]",
    '[\n  "甲,乙",\n  "丙"\n]',
    '[{"名": "甲,乙"}, {"名": "丙"}]',
    "keywords: Java,集合,面试,容器",
    # keys and values
    "姓名: 小甲\n年龄: 3\n城市: 演示市",
    "姓名:小甲\n年龄:3\n城市:演示市",
    "name: 小甲,乙\nage: 3",
    "server:\n  端口: 80\n  名称: 演示,测试",
    "姓名=小甲,小乙\n年龄=3",
    "---\ntitle: 学习笔记(上)\ntags: 甲,乙\n---",
    # queries
    "SELECT 姓名,年龄 FROM 学生;",
    "SELECT 姓名,年龄\nFROM 学生\nWHERE 班级 = '三班';",
    "INSERT INTO 学生 (姓名,年龄) VALUES ('小甲',3);",
    "CREATE TABLE 学生 (姓名 TEXT, 年龄 INT);",
    "update 学生 set 年龄 = 4 where 姓名 = '小甲';",
    # code
    "def 函数(参数):",
    "def 函数(参数):\n    # 返回结果,再打印\n    return 参数,1",
    "class 学生:\n    def 打印(自己):\n        pass",
    "for 名 in 名单:\n    print(名)",
    "int 求和(int 甲, int 乙) {\n    return 甲 + 乙; // 相加,返回\n}",
    "public class 学生 {\n    String 姓名; // 名字,全名\n}",
    "print(姓名,年龄)",
    "=SUM(甲,乙,丙)",
    "f(甲,乙) = 甲 + 乙",
    'MsgBox "你好,世界"',
    'RUN echo "你好,世界"',
    "a = 1\n# 注释,说明\n打印(姓名,3)\nb = 2",
    "if (年龄 > 18) {\n  打印(姓名,年龄);\n}",
    'const 名单 = ["小甲", "小乙"];',
    # shells
    'echo "你好,世界"',
    "git commit -m 修复:标题,正文",
    "$ python 主程序.py 甲,乙",
]


@pytest.mark.parametrize("text", MACHINE_READ)
def test_what_machines_read_keeps_its_marks(text: str) -> None:
    assert normalise(text) == text
    assert normalise(f"你好,世界.\n\n{text}\n\n再见,世界.") == f"你好，世界。\n\n{text}\n\n再见，世界。"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("他今年18岁,身高1.8米,喜欢篮球.", "他今年18岁，身高1.8米，喜欢篮球。"),
        ("床前明月光,\n疑是地上霜.", "床前明月光，\n疑是地上霜。"),
        ("红豆生南国,春来发几枝\n愿君多采撷,此物最相思", "红豆生南国，春来发几枝\n愿君多采撷，此物最相思"),
        ("小明: 你好,今天怎么样?\n小红: 我很好.", "小明：你好，今天怎么样？\n小红：我很好。"),
        ("优点: 便宜\n缺点: 太慢", "优点：便宜\n缺点：太慢"),
        ("苹果,香蕉,橘子都是水果", "苹果，香蕉，橘子都是水果"),
        ("[注:本文写于2019年,后有修改]", "[注：本文写于2019年，后有修改]"),
        ("[甲,乙两地](https://a.b/c)", "[甲，乙两地](https://a.b/c)"),
        ("Python是一种语言,很好用;", "Python是一种语言，很好用；"),
        ("git 常用命令:", "git 常用命令："),
        ("for 循环:\n- 很简单,也常用", "for 循环：\n- 很简单，也常用"),
        ("SELECT 语句用于查询,返回结果", "SELECT 语句用于查询，返回结果"),
        ("第一条:甲方(公司)应当付款;\n第二条:乙方应当交货;", "第一条：甲方（公司）应当付款；\n第二条：乙方应当交货；"),
        ("代码如下:\nprint(姓名,年龄)\n然后,我们看结果:", "代码如下：\nprint(姓名,年龄)\n然后，我们看结果："),
        ("请看下表:\n姓名,班级,城市\n小甲,3,演示市", "请看下表：\n姓名,班级,城市\n小甲,3,演示市"),
        ("请回答以下问题:\n1. 你好,世界?\n2. 再见!", "请回答以下问题：\n1. 你好，世界？\n2. 再见！"),
        ("请看(图一).", "请看（图一）。"),
        ("> 学而时习之,不亦说乎?", "> 学而时习之，不亦说乎？"),
    ],
)
def test_what_people_say_beside_it_is_prose(raw: str, clean: str) -> None:
    assert normalise(raw) == clean


NASTY = st.lists(
    st.sampled_from([
        *"你好中,;:!?.()（），。“”`~$ \t\n\r\u3000\u00a0ａＢ１2b\u200d\u200b\u0301😀Å\u212a\u037e\u1fef\u2028．\x02\x030\u3099かﾟ\ud83d",
        *"\"'=[\\％…！｡ﾞ\ue000\U000e0067\U0001f3f4", "！！！！", "……", '="你,好"', "$a,b$", "$$",
        "姓名: ", "k=", "甲,3,乙", "\nprint(", ");", "[甲,3]", "{a: 乙,", "我", "\n  ", "# 注", "SELECT ", "return ",
        "```", "~~~", "\n```\n", "\n\n\n", "https://x.y/", "``", "e\u0301",
    ]),
    max_size=16,
).map("".join)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(NASTY | st.text(max_size=60))
def test_a_second_pass_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once


@settings(max_examples=500, deadline=None)
@given(NASTY)
def test_every_character_is_in_the_ledger(text: str) -> None:
    account = Account()
    ledger = account.ledger()
    clean = normalise(text, ledger)
    assert clean == normalise(text)
    account.settle(ledger, len(text), len(clean))
    assert difference(account.stats()) == 0
    assert (clean == text) == (not ledger.entries)
    assert not any("\x02" in part for excerpt in ledger.excerpts for part in excerpt) or "\x02" in text


def test_rules_of_the_ledger() -> None:
    ledger = Ledger()
    normalise("你好,世界.  \r\n\r\n\r\n\r\nＡ\u200b好！！！！！", ledger)
    sums: dict[str, list[int]] = {}
    for rule, _, *counts in ledger.entries:
        sums[rule] = [one + more for one, more in zip(sums.get(rule, [0, 0, 0]), counts, strict=True)]
    assert sums == {
        "white space": [8, 0, 0],
        "control characters": [1, 0, 0],
        "width": [0, 0, 1],
        "punctuation": [0, 0, 2],
        "repeated marks": [2, 0, 0],
    }


@settings(max_examples=800, deadline=None)
@given(
    st.lists(
        st.characters(exclude_categories=["Mn", "Mc", "Me", "Cs"]) | st.sampled_from([*"你好,;:!?.() １Ａ\n`", "```\n"])
    ).map("".join)
)
def test_every_letter_and_digit_survives(text: str) -> None:
    assert letters(normalise(text)) == letters(text)


@settings(max_examples=300, deadline=None)
@given(
    st.from_regex(r"[0-9]{1,6}\.[0-9]{1,6}|https?://[a-z]{1,9}\.[a-z]{2,3}/[a-z0-9/._?=&,;:!-]{0,20}[a-z0-9]", fullmatch=True),
    st.from_regex(f"[{HAN}]{{1,5}}", fullmatch=True),
)
def test_numbers_and_addresses_survive_between_ideographs(thing: str, words: str) -> None:
    words = unicodedata.normalize("NFC", words)
    assert normalise(f"{words} {thing} {words}") == f"{words} {thing} {words}"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["你,好", "x  = 1", "", "  y", "（１）", "a\u3000b", "# 注  释"]), min_size=1, max_size=8))
def test_fenced_code_survives(lines: list[str]) -> None:
    code = "```\n" + "\n".join(lines) + "\n```"
    assert code in normalise(f"前,文\n\n\n\n{code}\n后,文")


@pytest.mark.parametrize(
    "hostile",
    [
        " ",
        "\n",
        "`",
        "```\n",
        "```a\n",
        "(",
        "中(",
        "，",
        "http://",
        "\u3000",
        ", ",
        "中,",
        "\u200d",
        "~~~\n",
        "甲,3,",
        "a: 乙,\n",
        "[甲,",
        "x(甲,\n",
        "{\n甲,",
        "k=甲,",
        "# 甲,\n",
        "甲,\t",
        "x(甲,).y",
        "甲,'",
    ],
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    text = hostile * (300_000 // len(hostile))
    once = normalise(f"a{text}b")
    assert once.startswith("a") and once.endswith("b")


def test_storable_text_can_be_written() -> None:
    assert storable("a\ud800b😀").encode() == "ab😀".encode()
