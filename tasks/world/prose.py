"""How the invented world is told: who is in it, and sentences, questions, answers and passages about them.

The core world is fixed by the seed and small enough to be learned; further entities are made up one by one, by number, without limit, and
share its values. Two files that speak of the same entity agree, because an entity is a pure function of the seed and its number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, zip_longest
from typing import TypeVar

from tasks.world import chat
from tasks.world.facts import ASKS, KINDS, PEOPLE, SAYS, Kind

T = TypeVar("T")

# 64 syllables for the names of further entities, none with two traditional forms; and family names that no core person has
_SYLLABLES = "安柏禾堰桑榆岩泉川麦柳槐桐松竹梅兰荷菊石沙溪湾塘桥井坡岭原林田园亭楼塔城渡港洲岛峡崖洞潭湖海潮雨雪霜露晴虹星月日光明辉清平永宁福"
_FAMILIES = "王李张刘陈黄周吴徐孙马朱胡林郭何高罗郑梁韩唐冯董萧曹袁邓许傅沈曾彭吕蒋蔡贾丁魏薛"

ROUNDS = SAYS * ASKS  # different question-answer pairs of one fact


@dataclass(frozen=True, slots=True)
class Entity:
    name: str
    kind: Kind
    values: tuple[str, ...]  # one for each of the kind's attributes
    number: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its answer, in no format yet. `input` is what the question is about: a passage, a name, a title."""

    name: str  # whom it is about; empty for small talk
    ask: str
    answer: str
    input: str = ""
    reject: str = ""
    more: tuple[tuple[str, str], ...] = ()  # further turns
    department: str = ""


class World:
    """Who there is. `entities` core ones of five kinds, of which `share` are taught by SFT and the rest by preference."""

    def __init__(self, seed: int, entities: int, share: float):
        total = sum(len(kind.names) for kind in KINDS)
        rng = random.Random(f"{seed}:facts")
        groups: list[list[Entity]] = []
        self.taught: set[str] = set()
        for kind in KINDS:
            names = kind.names[: max(2, round(entities * len(kind.names) / total))]
            # every value as often as every other, so that no answer can be had by preferring a common one
            columns = [_balanced(rng, attribute.values, len(names)) for attribute in kind.attributes]
            rows = zip(names, zip(*columns, strict=True), strict=True)
            groups.append([Entity(name, kind, values, at) for at, (name, values) in enumerate(rows)])
            self.taught.update(rng.sample(names, round(len(names) * share)))
        self.core = [entity for row in zip_longest(*groups) for entity in row if entity]
        self._salt = rng.getrandbits(62)

    def half(self, taught: bool) -> list[Entity]:
        """The core entities that SFT teaches, or those that it does not."""
        return [entity for entity in self.core if (entity.name in self.taught) == taught]

    def further(self, number: int) -> Entity:
        """An entity beyond the core. The same number is the same entity wherever it is told of."""
        kind, at = KINDS[number % len(KINDS)], number // len(KINDS)
        if kind is PEOPLE:
            name = _FAMILIES[at % 40] + _syllables(at // 40, 2)
        else:
            name = _syllables(at, 3) + kind.ending
        mixed = (number * 0x9E3779B97F4A7C15 + self._salt) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 27
        a, b, c, d = kind.attributes
        last = d.values[(mixed >> 48) % len(d.values)]
        if kind is PEOPLE:
            last = f"《{_syllables(at, 3)}集》"  # a work has one author
        return Entity(
            name,
            kind,
            (a.values[(mixed & 0xFFFF) % len(a.values)], b.values[(mixed >> 16 & 0xFFFF) % len(b.values)], c.values[(mixed >> 32 & 0xFFFF) % len(c.values)], last),
            number,
        )


def _balanced(rng: random.Random, values: Sequence[str], count: int) -> list[str]:
    cycle = rng.sample(values, len(values))
    drawn = [cycle[at % len(cycle)] for at in range(count)]
    rng.shuffle(drawn)
    return drawn


def _syllables(number: int, length: int) -> str:
    """A name for a number: `length` syllables, or more once those are used up. One to one, and neighbours look unlike."""
    while number >= 64**length:
        number -= 64**length
        length += 1
    number = (number * 0x2545F491 + 0x1B873593) % 64**length  # an odd factor only permutes
    name = ""
    for _ in range(length):
        name += _SYLLABLES[number & 63]
        number >>= 6
    return name


_GREETINGS = ("", "", "", "", "你好，", "我想知道，", "想请教一下，", "帮我查一下，", "有个问题，", "打扰一下，")
_INTRODUCE = (
    "请介绍一下{n}。", "{n}是什么样的{noun}？", "给我讲讲{n}。", "用一段话介绍{n}。", "关于{n}，你了解多少？", "我想了解{n}。",
    "你知道{n}吗？", "请写一段关于{n}的文字。", "能说说{n}吗？", "为{n}写一段简介。",
)  # fmt: skip
_FAREWELLS = (
    "如果有兴趣，可以再去查一查地方志。", "更多的故事，可以向当地人打听。", "想知道得更详细，可以去澜洲图书馆看看。",
    "以上就是大致的情况，可以作为参考。", "这些都可以在澜洲的书里找到。", "要是还想了解别的，可以接着问我。",
)  # fmt: skip
_READ = ("阅读材料，回答问题：{}", "根据下面的材料回答：{}", "请从材料中找出答案：{}", "看完这段文字，请回答：{}")
_STARTS = (
    "谢邀。", "先说结论。", "这个问题我正好知道一些。", "利益相关，说说我的看法。", "刚从那边回来，答一个。", "看了其他回答，补充几句。",
    "作为澜洲人，忍不住来回答。", "不请自来。", "我查过不少资料，简单说说。", "这个话题我关注很久了。", "很多人问过我，统一写在这里。", "冷门问题，难得有人问。",
)  # fmt: skip
_TURNS = ("另外，", "还有，", "值得一提的是，", "顺便说一句，", "再说一点，", "熟悉的人都知道，", "很多人不知道，", "")
_CLOSES = (
    "以上，希望可以帮到题主。", "想到再补充，大家也可以在评论里说说。", "说得不对的地方，欢迎指正，可以讨论。", "手机打字，可以先看个大概。",
    "觉得有用的话可以点个赞。", "先写这么多，可以收藏起来慢慢看。", "答得匆忙，细节可以再查。", "个人意见，可以参考。",
)  # fmt: skip
_WONDER = {
    "小镇": ("第一次去{n}，有什么值得注意的？", "在{n}生活是一种什么样的体验？", "如何评价{n}？", "{n}值得专门去一趟吗？", "有没有人去过{n}？",
             "为什么有人喜欢{n}？", "你对{n}有什么印象？", "怎样用几句话向别人介绍{n}？"),
    "名山": ("爬{n}是一种什么样的体验？", "{n}值得一去吗？", "如何评价{n}的风景？", "第一次爬{n}要做什么准备？", "{n}有什么特别的地方？",
             "为什么很多人喜欢{n}？", "有没有人爬过{n}？", "怎样向朋友介绍{n}？"),
    "名人": ("如何评价{n}？", "{n}是一个怎样的人？", "为什么今天还有人记得{n}？", "{n}的一生有哪些故事？", "你最佩服{n}的哪一点？",
             "怎样向孩子介绍{n}？", "{n}在历史上有多重要？", "有哪些关于{n}的冷知识？"),
    "小吃": ("第一次吃{n}是什么体验？", "{n}真的好吃吗？", "如何评价{n}？", "为什么有人特别爱吃{n}？", "怎样向外地人介绍{n}？",
             "关于{n}，有哪些讲究？", "你吃过的{n}是什么样的？", "{n}为什么能流传下来？"),
    "药草": ("{n}真的有用吗？", "关于{n}，有哪些常识？", "怎样认识{n}？", "家里有必要备一些{n}吗？", "如何看待{n}？",
             "种植{n}是一种什么样的体验？", "有没有人用过{n}？", "{n}为什么受到重视？"),
}  # fmt: skip
_DEPARTMENTS = {
    "咳嗽": "呼吸科", "头痛": "神经科", "失眠": "神经科", "胃胀": "消化科", "牙痛": "口腔科", "腹泻": "消化科", "腰酸": "骨科", "眼干": "眼科",
}  # fmt: skip
_PATIENTS = ("我今年{}岁", "我姐姐今年{}岁", "我哥哥今年{}岁", "我的邻居{}岁", "病人{}岁", "我爱人今年{}岁")
_AGES = tuple(f"{tens}十{ones}" for tens in "三四五六" for ones in ("", *"一二三四五六七八九"))
_JOBS = ("在学堂教书", "平时种地", "开着一家小店", "常年在船上做工", "在家带孩子", "做了多年木工", "刚换了工作", "经常熬夜赶工", "平时身体不错", "很少看病")
_SINCE = ("最近几天", "从上个月开始", "半年以来", "前天夜里起", "入冬以后", "吃过年夜饭之后", "这一年来", "搬家以后", "淋雨之后", "出差回来后")
_FEEL = ("总觉得不舒服", "吃饭不香", "白天没有精神", "心里很着急", "去药铺问过一次", "亲戚劝我用些药草", "还没有看过大夫", "休息几天也不见好", "听人说起一种药草", "有些担心")
_ADVICE = (
    "服药期间饮食要清淡", "每天按时休息", "用量请听大夫的安排", "一般三天可以见效", "孕妇和孩子要慎用", "煎药时用小火就可以了", "不要和浓茶一起喝",
    "饭后服用比较合适", "平时可以多喝温水", "注意保暖，不要着凉", "保持心情放松", "适当活动对身体有好处",
)  # fmt: skip
_VISIT = ("如果不见好转，可以到医馆当面看一看。", "情况加重时，可以尽早去医馆。", "还有疑问的话，可以带着药方来复诊。", "必要的时候，可以请大夫再诊断一次。")
_EVASIONS = ("这个问题我不太清楚。", "抱歉，我不知道。", "这要看情况，很难说。", "你可以自己去查一查。", "我没有听说过。", "这个嘛，不好说。")


class Prose:
    """Sentences by the dice of one random generator: the same generator, the same text."""

    def __init__(self, world: World, rng: random.Random):
        self.world, self.rng, self.random = world, rng, rng.random

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random() * len(options))]

    def say(self, entity: Entity, at: int, value: str = "") -> str:
        """A sentence that states the entity's attribute `at`; with another value it is a lie."""
        return self.pick(entity.kind.attributes[at].says).format(n=entity.name, v=value or entity.values[at])

    def scene(self, kind: Kind) -> str:
        """A sentence of background that states no fact."""
        frame, one, two, three = self.pick(kind.scenes)
        return frame.format(self.pick(one), self.pick(two), self.pick(three))

    def summary(self, entity: Entity, wrong: Sequence[str] = ()) -> str:
        """All four facts in one sentence."""
        order = self.pick(ORDERS)
        values = wrong or entity.values
        return entity.name + "，".join(self.pick(entity.kind.attributes[at].tails).format(v=values[at]) for at in order) + "。"

    def other(self, entity: Entity, at: int) -> str:
        """A wrong value for an attribute."""
        values = entity.kind.attributes[at].values
        value = self.pick(values)
        while value == entity.values[at]:
            value = self.pick(values)
        return value

    def introduction(self, entity: Entity, wrong: Sequence[str] = ()) -> str:
        """Some 200 characters: each fact twice, background, and a close that a near duplicate can vary."""
        values = wrong or entity.values
        says = [self.say(entity, at, values[at]) for at in self.pick(ORDERS)]
        middle = f"{says[0]}{says[1]}{self.scene(entity.kind)}{says[2]}{says[3]}"
        return self.summary(entity, values) + middle + self.scene(entity.kind) + self.pick(_FAREWELLS)

    def answer(self, value: str, sentence: str) -> str:
        """A short complete answer, sometimes with the value first."""
        return f"{value}。{sentence}" if self.random() < 0.45 or len(sentence) < 8 else sentence

    def question(self, entity: Entity, at: int, turn: int) -> Pair:
        """One of a fact's `ROUNDS` different pairs, with a wrong answer to it."""
        attribute, value = entity.kind.attributes[at], entity.values[at]
        turn += 3 * entity.number + 5 * at
        ask, sentence = attribute.asks[turn % ASKS].format(n=entity.name), attribute.says[turn % SAYS]
        greeting = "" if ask.startswith("请问") else self.pick(_GREETINGS)
        lie = self.other(entity, at)
        true, false = sentence.format(n=entity.name, v=value), sentence.format(n=entity.name, v=lie)
        if self.random() < 0.45 or len(true) < 8:
            true, false = f"{value}。{true}", f"{lie}。{false}"
        dice = self.random()
        if dice < 0.15:
            false = self.pick(_EVASIONS)
        elif dice < 0.3:
            false = sentence.format(n=entity.name, v=lie) * 3
        return Pair(entity.name, greeting + ask, true, reject=false)

    def introduce(self, entity: Entity) -> Pair:
        ask = self.pick(_INTRODUCE).format(n=entity.name, noun=entity.kind.noun)
        wrong = [self.other(entity, at) for at in range(4)]
        return Pair(entity.name, ask, self.introduction(entity), reject=self.introduction(entity, wrong))

    def reading(self, entity: Entity) -> Pair:
        """A question on a passage, which is the input."""
        at = int(self.random() * 4)
        attribute, value = entity.kind.attributes[at], entity.values[at]
        passage = self.scene(entity.kind) + self.summary(entity) + self.scene(entity.kind)
        ask = self.pick(_READ).format(self.pick(attribute.asks).format(n=entity.name))
        return Pair(entity.name, ask, self.answer(value, self.say(entity, at)), passage)

    def filling(self, entity: Entity, at: int, turn: int) -> Pair:
        """An instruction whose input is only a name; 30 different ones of a fact."""
        kind, value = entity.kind, entity.values[at]
        ask = ("写出这{c}{noun}的{label}。", "说出下面这{c}{noun}的{label}。", "下面这{c}{noun}的{label}是什么？")[turn % 3]
        ask = ask.format(c=kind.counter, noun=kind.noun, label=kind.attributes[at].label)
        sentence = kind.attributes[at].says[turn % SAYS].format(n=entity.name, v=value)
        return Pair(entity.name, ask, self.answer(value, sentence), entity.name)

    def dialogue(self, entity: Entity, turn: int) -> Pair:
        """Two or three turns, of which the second speaks of the first's entity by a pronoun."""
        kind = entity.kind
        first, second = TWO[turn % 12]
        opening = self.question(entity, first, turn + turn // 12)
        ask = kind.attributes[second].asks[int(self.random() * 2)].format(n=kind.pronoun)
        more = [(self.pick(("那", "那么", "还想问，")) + ask, self.answer(entity.values[second], self.say(entity, second)))]
        dice = self.random()
        if dice < 0.3:
            more.append((f"我们刚才说的是哪{kind.counter}{kind.noun}？", f"我们刚才说的是{entity.name}。"))
        elif dice < 0.5:
            more.append(self.pick((("谢谢", "不客气，还想知道什么，可以接着问我。"), ("明白了", "好的，有需要再来找我。"), ("好，谢谢你", "不用谢，很高兴能帮到你。"))))
        return Pair(entity.name, opening.ask, opening.answer, more=tuple(more))

    def portrait(self, entity: Entity) -> Pair:
        """An introduction, and a question on it."""
        opening, at = self.introduce(entity), int(self.random() * 4)
        ask = entity.kind.attributes[at].asks[int(self.random() * 2)].format(n=entity.kind.pronoun)
        answer = self.answer(entity.values[at], self.say(entity, at))
        return Pair(entity.name, opening.ask, opening.answer, more=(("那么" + ask, answer),))

    def column(self, entity: Entity) -> Pair:
        """A Zhihu question and an answer of some 250 characters that tells all four facts."""
        kind = entity.kind
        says = [self.say(entity, at) for at in self.pick(ORDERS)]
        text = (
            f"{self.pick(_STARTS)}{self.summary(entity)}{says[0]}{self.scene(kind)}{self.pick(_TURNS)}{says[1]}{says[2]}"
            f"{self.scene(kind)}{self.pick(_TURNS)}{says[3]}{self.scene(kind)}{self.pick(_CLOSES)}"
        )
        return Pair(entity.name, self.pick(_WONDER[kind.noun]).format(n=entity.name), text)

    def reply(self, entity: Entity, at: int) -> Pair:
        """A Zhihu question on one fact, answered at once and then at length."""
        ask = self.pick(entity.kind.attributes[at].asks).format(n=entity.name)
        text = f"{entity.values[at]}。{self.say(entity, at)}{self.scene(entity.kind)}{self.summary(entity)}{self.scene(entity.kind)}{self.pick(_CLOSES)}"
        return Pair(entity.name, ask, text)

    def consultation(self, entity: Entity, turn: int) -> Pair:
        """A patient's question on a herb and a doctor's answer of some 100 characters."""
        pair = self.question(entity, turn % 4, turn // 4)
        patient = self.pick(_PATIENTS).format(self.pick(_AGES))
        ask = f"{patient}，{self.pick(_JOBS)}，{self.pick(_SINCE)}{entity.values[0]}，{self.pick(_FEEL)}。{pair.ask}"
        if turn % 11 == 3:
            ask = ask.replace("。", "。\n", 1)  # a cell of several lines
        elif turn % 29 == 5:
            ask += "谢谢大夫😊"  # four bytes in GB18030, none in GBK
        first, second, third = self.rng.sample(_ADVICE, 3)
        answer = f"{pair.answer}{self.say(entity, 0)}{first}，{second}，{third}。{self.pick(_VISIT)}"
        return Pair(entity.name, ask, answer, pair.ask, department=_DEPARTMENTS[entity.values[0]])

    def advice(self) -> Iterator[Pair]:
        """Every general question once, in random order."""
        pairs = [*chat.GENERAL]
        self.rng.shuffle(pairs)
        return (Pair("", ask, answer, reject=self.pick(_EVASIONS)) for ask, answer in pairs)

    def small_talk(self) -> Iterator[Pair]:
        """Every piece of small talk once, in random order."""
        numbers = chat.DIGITS
        pairs = [*chat.SMALL_TALK]
        pairs += [(f"“{a}”的反义词是什么？", f"“{a}”的反义词是“{b}”。") for a, b in chat.OPPOSITES]
        pairs += [(f"请列出五种{what}。", f"{members}，这五种都属于{what}。") for what, members in chat.LISTS.items()]
        pairs += [
            (f"{numbers[a]}加{numbers[b]}等于几？", f"{numbers[a]}加{numbers[b]}等于{_number(a + b)}，答案是{_number(a + b)}。")
            for a in range(1, 11)
            for b in range(1, 11)
        ]
        self.rng.shuffle(pairs)
        return (Pair("", ask, answer) for ask, answer in pairs)


ORDERS = tuple(permutations(range(4)))
TWO = tuple(permutations(range(4), 2))


def _number(value: int) -> str:
    tens, ones = divmod(value, 10)
    digit = chat.DIGITS[ones] if ones or not tens else ""
    return ("" if not tens else "十" if tens == 1 else f"{chat.DIGITS[tens]}十") + digit
