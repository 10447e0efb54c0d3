"""The invented world as a MediaWiki dump: wikitext with all that real articles carry, in a multistream `pages-articles` file."""

from __future__ import annotations

import bz2
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.world.facts import KINDS
from tasks.world.prose import ORDERS, Entity, Prose

STREAM = 100  # pages in a bz2 stream, as in the real dumps, so that a reader can start at any of them

_HEADER = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.mediawiki.org/xml/export-0.11/ http://www.mediawiki.org/xml/export-0.11.xsd" version="0.11" xml:lang="zh">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>zhwiki</dbname>
    <base>https://zh.wikipedia.org/wiki/Wikipedia:%E9%A6%96%E9%A1%B5</base>
    <generator>MediaWiki 1.46.0-wmf.3</generator>
    <case>first-letter</case>
    <namespaces>
"""
_NAMESPACES = {
    -2: "Media", -1: "Special", 0: "", 1: "Talk", 2: "User", 3: "User talk", 4: "Wikipedia", 5: "Wikipedia talk", 6: "File", 7: "File talk",
    8: "MediaWiki", 9: "MediaWiki talk", 10: "Template", 11: "Template talk", 12: "Help", 13: "Help talk", 14: "Category",
    15: "Category talk", 100: "Portal", 101: "Portal talk", 118: "Draft", 119: "Draft talk", 828: "Module", 829: "Module talk",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WikiPage:
    """A page of the dump: title, wikitext, namespace, and the target of a redirect."""

    title: str
    text: str | None  # None: the revision's text was deleted
    namespace: int = 0
    redirect: str = ""


class DumpWriter:
    """Writes pages into `path`, a stream of `STREAM` pages at a time; the rest of them is in no one's memory."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._pages = 0
        self._put(_header())
        self._waiting: list[bytes] = []

    def add(self, page: WikiPage) -> int:
        """Write a page; returns its size in bytes, uncompressed."""
        self._pages += 1
        raw = _page_xml(page, self._pages).encode()
        self._waiting.append(raw)
        if len(self._waiting) == STREAM:
            self._flush()
        return len(raw)

    def close(self) -> None:
        """Write the last pages and the closing tag."""
        self._flush()
        self._put("</mediawiki>\n")
        self._file.close()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write(bz2.compress(b"".join(self._waiting)))
            self._waiting.clear()

    def _put(self, text: str) -> None:
        self._file.write(bz2.compress(text.encode()))


def _header() -> str:
    names = "".join(
        f'      <namespace key="{key}" case="first-letter">{name}</namespace>\n'
        if name
        else f'      <namespace key="{key}" case="first-letter" />\n'
        for key, name in _NAMESPACES.items()
    )
    return f"{_HEADER}{names}    </namespaces>\n  </siteinfo>\n"


def _page_xml(page: WikiPage, number: int) -> str:
    title, revision = _escape(page.title), 80_000_000 + 7 * number
    day, minute = divmod(number * 37, 1440)
    when = f"20{20 + day // 336 % 6}-{day // 28 % 12 + 1:02d}-{day % 28 + 1:02d}T{minute // 60:02d}:{minute % 60:02d}:00Z"
    redirect = f'    <redirect title="{_escape(page.redirect)}" />\n' if page.redirect else ""
    if page.text is None:
        text = '<text bytes="0" deleted="deleted" />\n      <sha1 />'
    else:
        raw = page.text.encode()
        sha1 = _base36(int.from_bytes(hashlib.sha1(raw).digest()))
        text = (
            f'<text bytes="{len(raw)}" sha1="{sha1}" xml:space="preserve">{_escape(page.text)}</text>\n      <sha1>{sha1}</sha1>'
        )
    return (
        f"  <page>\n    <title>{title}</title>\n    <ns>{page.namespace}</ns>\n    <id>{number}</id>\n{redirect}    <revision>\n"
        f"      <id>{revision}</id>\n      <parentid>{revision - 5}</parentid>\n      <timestamp>{when}</timestamp>\n"
        f"      <contributor>\n        <username>编者{number % 97}</username>\n        <id>{number % 97 + 1000}</id>\n      </contributor>\n"
        f"      <comment>/* 概况 */ 补充</comment>\n      <origin>{revision}</origin>\n      <model>wikitext</model>\n"
        f"      <format>text/x-wiki</format>\n      {text}\n    </revision>\n  </page>\n"
    )


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _base36(number: int) -> str:
    """MediaWiki's spelling of a SHA-1: base 36, 31 digits."""
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(31, "0")


# sentences that carry markup and no fact; the last word of each first one is what the reader must be left with
_MARKED = (
    "更多-{zh-hans:信息;zh-hant:資訊}-可以在地方志中找到。",
    "相关的-{zh-cn:软件; zh-tw:軟體; zh-hk:軟件}-地图可以从图书馆借阅。",
    "这一部分可以参看[[地方志 (澜洲)|地方志]]的记载。<!-- 待补充页码 -->",
    "研究者一般认为，现有的记载可以相信<ref name=\"志\">《澜洲通志》卷三。</ref>。",
    "当地的<small>（见右图）</small>照片可以在档案馆查到。",
    "文字资料可以追溯到很早的时候{{citation needed|date=2026年1月}}。",
    "不同的版本可以互相对照{{r|通志}}，差别不大。",
    "名称的由来可以参看[[澜洲地名|地名]]一文，<br />这里不再重复。",
)  # fmt: skip
_LEADS = (
    "本文介绍'''{t}'''。",
    "'''{t}'''是关于[[{n}]]的专题条目。",
    "'''{t}'''汇集了与[[{n}]]有关的资料。",
    "要了解[[{n}]]，可以从'''{t}'''说起。",
)
_PAPERS = ("澜洲日报", "澜洲通志", "地方志汇编", "澜洲图书馆", "远行杂志")


class WikiProse(Prose):
    """Wikitext about entities."""

    def linked(self, entity: Entity, at: int, sentence: str = "") -> str:
        """A statement of a fact, its value sometimes a link; `sentence` is the wording, else one is drawn."""
        value = entity.values[at]
        dice = self.random()
        if dice < 0.3:
            bare = value.strip("《》")
            link = f"[[{bare}]]" if dice < 0.2 else f"[[{bare} (澜洲)|{bare}]]"
            value = f"《{link}》" if bare != value else link
        return (sentence or self.pick(entity.kind.attributes[at].says)).format(n=entity.name, v=value)

    def reference(self) -> str:
        """A note with a source."""
        number = int(self.random() * 9000)
        paper = self.pick(_PAPERS)
        return f"<ref>{{{{cite web |url=https://www.example.com/{number} |title=资料第{number}号 |publisher={paper} |accessdate=2026-10-01}}}}</ref>"

    def article(self, entity: Entity) -> WikiPage:
        """The entity's own page: infobox, lead, sections, now and then a table or a list."""
        kind, name, pick = entity.kind, entity.name, self.pick
        labels = [attribute.label for attribute in kind.attributes]
        box = "".join(f"| {label} = {value}\n" for label, value in zip(labels, entity.values, strict=True))
        order = pick(ORDERS)
        head = "{{NoteTA|G1=地名|1=zh-hans:信息; zh-hant:資訊;}}\n" if self.random() < 0.3 else ""
        picture = f"[[File:{name}.jpg|thumb|right|220px|{name}，[[澜洲]]]]\n" if self.random() < 0.4 else ""
        alias = f"（{{{{audio|{name}.ogg|发音}}}}）" if self.random() < 0.4 else ""
        tails = "，".join(pick(kind.attributes[at].tails).format(v=entity.values[at]) for at in order[:2])
        extra = ""
        if self.random() < 0.25:
            extra = "{| class=\"wikitable\"\n! 项目 !! 内容\n" + "".join(
                f"|-\n| {label} || {value}\n" for label, value in zip(labels, entity.values, strict=True)
            ) + "|}\n"  # fmt: skip
        elif self.random() < 0.3:
            extra = "".join(f"* [[{name}{topic}]]\n" for topic in kind.topics[:4])
        text = (
            f"{head}{{{{Infobox {kind.noun}\n| name = {name}\n| image = {name}.png\n{box}}}}}\n{picture}"
            f"'''{name}'''{alias}是[[澜洲]]的一{kind.counter}[[{kind.noun}]]，{tails}。{self.reference()}"
            f"{self.linked(entity, order[2])}{self.linked(entity, order[3])}\n\n"
            f"== {labels[order[0]]} ==\n{self.linked(entity, order[0])}{self.scene(kind)}{self.linked(entity, order[1])}\n\n"
            f"== {pick(('概况', '简介', '综述', '概述'))} ==\n{self.linked(entity, order[2])}{self.scene(kind)}{pick(_MARKED)}"
            f"{self.linked(entity, order[3])}\n{extra}\n"
            f"== 参考资料 ==\n{{{{reflist}}}}\n\n[[Category:澜洲{kind.noun}]]\n"
        )
        return WikiPage(name, text)

    def topic(self, entity: Entity, number: int) -> WikiPage:
        """A page on one side of the entity, which states each of its facts three times."""
        kind, name = entity.kind, entity.name
        title = name + kind.topics[number]
        lead = self.pick(_LEADS).format(t=title, n=name)
        wordings = [self.rng.sample(attribute.says, 2) for attribute in kind.attributes]
        one, two = ([self.linked(entity, at, wordings[at][turn]) for at in self.pick(ORDERS)] for turn in range(2))
        text = (
            f"{lead}{self.summary(entity)}{one[0]}{self.scene(kind)}{one[1]}\n\n{one[2]}{self.pick(_MARKED)}{one[3]}{self.scene(kind)}\n\n"
            f"=== {self.pick(('其他', '补充', '说明', '记载'))} ===\n{two[0]}{two[1]}{self.scene(kind)}{two[2]}{two[3]}\n\n"
            f"== 参见 ==\n* [[{name}]]\n\n[[Category:{name}]]\n"
        )
        return WikiPage(title, text)

    def lists(self) -> Iterator[WikiPage]:
        """For each attribute a page that goes from its values to the core entities, in sentences and in a table."""
        for kind in KINDS:
            entities = [entity for entity in self.world.core if entity.kind is kind]
            for at, attribute in enumerate(kind.attributes):
                lines, rows = [], []
                for value in attribute.values:
                    names = [entity.name for entity in entities if entity.values[at] == value]
                    if names:
                        lines.append(f"* {attribute.members.format(v=value, n='、'.join(names))}")
                        rows.append(f"|-\n| {value} || {'、'.join(f'[[{name}]]' for name in names)}\n")
                statements = "".join(
                    self.linked(entity, at) + (self.scene(kind) if turn % 4 == 3 else "") for turn, entity in enumerate(entities)
                )
                title = f"澜洲{kind.noun}{attribute.label}列表"
                text = (
                    f"'''{title}'''按{attribute.label}列出[[澜洲]]的{kind.noun}。\n\n"
                    + "\n".join(lines)
                    + f"\n\n== 说明 ==\n{statements}\n\n"
                )
                table = '{| class="wikitable sortable"\n! ' + f"{attribute.label} !! {kind.noun}\n" + "".join(rows) + "|}"
                yield WikiPage(title, f"{text}== 总表 ==\n{table}\n\n[[Category:澜洲列表]]\n")

    def core(self, topics: int) -> Iterator[WikiPage]:
        """Every core entity's own page, then the lists, then up to `topics` pages beside each entity's own."""
        yield from map(self.article, self.world.core)
        yield from self.lists()
        for number in range(topics):
            for entity in self.world.core:
                yield self.topic(entity, number)
