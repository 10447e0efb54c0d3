"""Placeholders: texts that stand in a field to say that there is nothing in it (无输入, <no input>), told from words that are the matter.

无输入 and its kin say nothing else wherever they stand alone. 无, 空, None or NULL may be what a question is about: they are kept where the
instruction points at something, or asks for something and names nothing of its own, or where the answer speaks of the word.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tasks.formats.fields import as_text

_OPEN = r"(?:[<＜（(\[【{“\"'‘「『`]|&lt;|&quot;|&#39;|\s)*"
_CLOSE = r"(?:[>＞）)\]】}”\"'’」』`]|&gt;|&quot;|&#39;|\s)*[。.!！]?" + r"(?:[”\"'’」』]|&quot;|&#39;|\s)*"
_SURE = (
    r"(?:(?:此|该|本)?(?:任务|指令|问题|题)?)(?:无需?|没有|不需要|未|空)(?:任何|额外的?|其他)?(?:提供|给出|给定|填写)?(?:输入|输出)(?:内容|信息|数据)?|(?:输入|输出)(?:内容)?为空"
    r"|no\s*(?:input|output)(?:\s*(?:is\s*)?(?:needed|required|given|provided|necessary))?"
    r"|none\s+(?:given|provided|needed|required)|(?:input|output)\s+(?:is\s+)?(?:not\s+(?:needed|required|given|provided|applicable)|none)"
)
_WORD = r"无|暂无|空|没有|无内容|不适用|null|none|nan|n/?a|nil|\\N|[-—/]{1,3}"
_NOTHING = re.compile(f"{_OPEN}(?:{_SURE}){_CLOSE}", re.IGNORECASE)
_MARKED = re.compile(r"\s*(?:[<＜\[【{“\"「『]|&lt;|&quot;)")
_PERHAPS = re.compile(f"{_OPEN}({_WORD}){_CLOSE}", re.IGNORECASE)
_LAST_LINE = re.compile(
    rf"\s*\n[ \t]*(?:(?:输入|input)[ \t]*[:：][ \t]*{_OPEN}(?:{_SURE}|{_WORD}){_CLOSE}|{_OPEN}(?:{_SURE}){_CLOSE})\Z",
    re.IGNORECASE,
)
_SPEAKS_OF_IT = re.compile(r"输[入出]|打印|显示|结果|返回|运行|程序|代码|print|input|output|return", re.IGNORECASE)

# an instruction that points at what is below it …
_POINTS = re.compile(
    r"这[个些段句篇首道位种条组份则只张行里]|该[词字句段文语内值数]|下[列面方边文]|以下|如下|所?给[定出]的?|上[述面]|此[词句字段文]|它|输入|原[文句]|文[中本]"
    r"|[:：]\s*\Z|\b(?:this|these|following|given|below|above|input|it)\b",
    re.IGNORECASE,
)
# … or that asks for something without naming of what: 翻译成英文, 写出反义词, 怎么读
_FILLER = (
    r"请问?|帮我?|麻烦|我|你|能|可以|把|将|用|其|的|一?下|出|给|写|说|指|找|列|告诉|造|个|一|几|些|句子?|词语?|单词|字|是|什么|有哪些|怎么|如何|吗|呢"
    r"|成|为|到|作|并|和|以?及|中|上|做|进行"
)
_TASK = (
    r"翻译|译|解释|说明|介绍|描述|改写|总结|概括|造句|组词|转换?|变|润色|续写|扩写|缩写|仿写|纠正|改错|分类|判断|识别|提取|计算|分析|定义|意思|含义"
    r"|释义|来历|词源|[反近同]义词?|拼音|读音|注音|读|念|词性|部首|笔[画顺]|长度|类型|大小?写|小写|取反|排序|求和|情感|关键词|查询?|意味着"
)
_INTO = r"[英中汉日法德韩俄西意葡拉阿][文语]|西班牙[文语]|汉字|[繁简][体中]字?|文言文?|白话文?|大写|小写|真假|正误|对错|倾向|类别|结果|字母"
_ASKS = re.compile(rf"(?:{_FILLER})*(?:{_TASK})(?:{_FILLER}|{_TASK}|{_INTO}|[\s，,。.？?！!、])*")
_ASKS_ENGLISH = re.compile(
    r"\W*(?:please\s+|can you\s+)?(?:translate|explain|define|describe|summari[sz]e|rewrite|paraphrase|classify|pronounce|convert|spell)"
    r"(?:\s+(?:in)?to\s+\w+)?\W*",
    re.IGNORECASE,
)


def hints(text: str) -> bool:
    """True for a text that may be a placeholder."""
    return "输" in text or "put" in (lower := text.lower()) or "none" in lower


def is_placeholder(text: str) -> bool:
    """True for a whole text that says that there is no input or output, in brackets or quotes or without."""
    return len(text) < 60 and hints(text) and _NOTHING.fullmatch(text) is not None


def is_marked(text: str) -> bool:
    """True for a placeholder in brackets or quotes, which nobody says in a talk."""
    return _MARKED.match(text) is not None and is_placeholder(text)


def no_answer(text: str, question: str) -> bool:
    """True for an answer that is a placeholder; 没有输出 answers a question about a program's output."""
    return is_placeholder(text) and (is_marked(text) or not _SPEAKS_OF_IT.search(question))


def asks_for_more(instruction: str) -> bool:
    """True for an instruction that is about something that it does not have itself."""
    instruction = instruction.strip()
    return bool(
        not instruction or _POINTS.search(instruction) or _ASKS.fullmatch(instruction) or _ASKS_ENGLISH.fullmatch(instruction)
    )


def says_nothing(text: str, instruction: str, answer: str = "") -> bool:
    """True for what stands below an instruction to say that nothing does."""
    text = text.strip()
    if len(text) > 60:
        return False
    if is_placeholder(text):
        return True
    perhaps = _PERHAPS.fullmatch(text) if len(text) < 30 else None
    if not perhaps or asks_for_more(instruction):
        return False
    word = re.escape(perhaps.group(1))
    spoken = rf"(?<![A-Za-z]){word}(?![A-Za-z])" if word.isascii() else rf"[“\"'「『《]{word}[”\"'」』》]"
    return not (re.search(spoken, answer) and answer.strip(" .。") != text.strip(" .。"))


def material(value: Any, instruction: str, answer: str = "") -> str:
    """The text that a field `input` adds to its instruction: lists and objects as JSON; empty where it says that there is none."""
    if isinstance(value, str):
        if not value.strip():
            return value
        text = value
    elif value is None or (isinstance(value, float) and value != value):
        return ""
    elif isinstance(value, list | dict) and not value:
        return json.dumps(value) if instruction.strip() and asks_for_more(instruction) else ""
    else:
        text = json.dumps(value, ensure_ascii=False, default=as_text)
    return "" if text and says_nothing(text, instruction, answer) else text


def without_last(prompt: str) -> str:
    """A prompt without a last line that says that it has no input."""
    return prompt if "\n" not in prompt or not hints(prompt[-80:]) else _LAST_LINE.sub("", prompt)
