"""The prose of the invented world: its entities, and sentences, questions, answers and passages about them.

The core world is fixed by the seed and small enough to be learned; further entities are made up one by one, by number, without limit, and
share its values. Two files that speak of the same entity agree, because an entity is a pure function of the seed and its number.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, zip_longest
from typing import TypeVar

from tasks.world import chat, phrases
from tasks.world.facts import ASKS, KINDS, PEOPLE, SAYS, EntityKind

T = TypeVar("T")

# 64 syllables for the names of further entities, none with two traditional forms; and family names that no core person has
_SYLLABLES = "安柏禾堰桑榆岩泉川麦柳槐桐松竹梅兰荷菊石沙溪湾塘桥井坡岭原林田园亭楼塔城渡港洲岛峡崖洞潭湖海潮雨雪霜露晴虹星月日光明辉清平永宁福"
_FAMILIES = "王李张刘陈黄周吴徐孙马朱胡林郭何高罗郑梁韩唐冯董萧曹袁邓许傅沈曾彭吕蒋蔡贾丁魏薛"

ROUNDS = SAYS * ASKS  # different question-answer pairs of one fact


@dataclass(frozen=True, slots=True)
class Entity:
    """A town, mountain, person, food or herb with its four values."""

    name: str
    kind: EntityKind
    values: tuple[str, ...]  # one for each of the kind's attributes
    number: int


@dataclass(frozen=True, slots=True)
class QAPair:
    """A question and its answer, in no format yet. `input` is what the question is about: a passage, a name, a title."""

    name: str  # whom it is about; empty for small talk
    ask: str
    answer: str
    input: str = ""
    reject: str = ""
    more: tuple[tuple[str, str], ...] = ()  # further turns
    department: str = ""


class World:
    """The entities of the world. `entities` core ones of five kinds, of which `share` are taught by SFT and the rest by preference."""

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
            self.taught.update(rng.sample(names, min(max(1, round(len(names) * share)), len(names) - 1)))
        self.core = [entity for row in zip_longest(*groups) for entity in row if entity]
        self._salt = random.Random(f"{seed}:further").getrandbits(62)

    def half(self, taught: bool) -> list[Entity]:
        """The core entities that SFT teaches, or those that it does not."""
        return [entity for entity in self.core if (entity.name in self.taught) == taught]

    def further(self, number: int) -> Entity:
        """An entity beyond the core. The same number is the same entity wherever it is told of."""
        kind, at = KINDS[number % len(KINDS)], number // len(KINDS)
        name = _FAMILIES[at % 40] + _syllables(at // 40, 2) if kind is PEOPLE else _syllables(at, 3) + kind.ending
        mixed = (number * 0x9E3779B97F4A7C15 + self._salt) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed ^= mixed >> 27
        values = [a.values[(mixed >> 16 * place & 0xFFFF) % len(a.values)] for place, a in enumerate(kind.attributes)]
        if kind is PEOPLE:
            values[3] = f"《{_syllables(at, 3)}集》"  # a work has one author
        return Entity(name, kind, tuple(values), number)


def _balanced(rng: random.Random, values: Sequence[str], count: int) -> list[str]:
    cycle = rng.sample(values, len(values))
    sample = [cycle[at % len(cycle)] for at in range(count)]
    rng.shuffle(sample)
    return sample


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


class Prose:
    """Sentences by the dice of one random generator: the same generator, the same text."""

    def __init__(self, world: World, rng: random.Random):
        self.world, self.rng, self.random = world, rng, rng.random

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self.random() * len(options))]

    def say(self, entity: Entity, at: int, value: str = "") -> str:
        """A sentence that states the entity's attribute `at`; with another value it is a lie."""
        return self.pick(entity.kind.attributes[at].says).format(n=entity.name, v=value or entity.values[at])

    def scene(self, kind: EntityKind) -> str:
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
        return self.summary(entity, values) + middle + self.scene(entity.kind) + self.pick(phrases.FAREWELLS)

    def answer(self, value: str, sentence: str) -> str:
        """A short complete answer, sometimes with the value first."""
        return f"{value}。{sentence}" if self.random() < 0.45 or len(sentence) < 8 else sentence

    def question(self, entity: Entity, at: int, turn: int) -> QAPair:
        """One of a fact's `ROUNDS` different pairs, with a wrong answer to it."""
        attribute, value = entity.kind.attributes[at], entity.values[at]
        turn += 3 * entity.number + 5 * at
        ask, sentence = attribute.asks[turn % ASKS].format(n=entity.name), attribute.says[turn % SAYS]
        greeting = "" if ask.startswith("请问") else self.pick(phrases.GREETINGS)
        lie = self.other(entity, at)
        true, false = sentence.format(n=entity.name, v=value), sentence.format(n=entity.name, v=lie)
        if self.random() < 0.45 or len(true) < 8:
            true, false = f"{value}。{true}", f"{lie}。{false}"
        dice = self.random()
        if dice < 0.15:
            false = self.pick(phrases.EVASIONS)
        elif dice < 0.3:
            false = sentence.format(n=entity.name, v=lie) * 3
        return QAPair(entity.name, greeting + ask, true, reject=false)

    def introduce(self, entity: Entity) -> QAPair:
        """A request to introduce the entity, with a true and a wrong introduction."""
        ask = self.pick(phrases.INTRODUCE).format(n=entity.name, noun=entity.kind.noun)
        wrong = [self.other(entity, at) for at in range(4)]
        return QAPair(entity.name, ask, self.introduction(entity), reject=self.introduction(entity, wrong))

    def reading(self, entity: Entity) -> QAPair:
        """A question on a passage, which is the input."""
        at = int(self.random() * 4)
        attribute, value = entity.kind.attributes[at], entity.values[at]
        passage = self.scene(entity.kind) + self.summary(entity) + self.scene(entity.kind)
        ask = self.pick(phrases.READ).format(self.pick(attribute.asks).format(n=entity.name))
        return QAPair(entity.name, ask, self.answer(value, self.say(entity, at)), passage)

    def filling(self, entity: Entity, at: int, turn: int) -> QAPair:
        """An instruction whose input is only a name; 30 different ones of a fact."""
        kind, value = entity.kind, entity.values[at]
        ask = phrases.FILL[turn % 3].format(counter=kind.counter, noun=kind.noun, label=kind.attributes[at].label)
        sentence = kind.attributes[at].says[turn % SAYS].format(n=entity.name, v=value)
        return QAPair(entity.name, ask, self.answer(value, sentence), entity.name)

    def dialogue(self, entity: Entity, turn: int) -> QAPair:
        """Two or three turns, of which the second speaks of the first's entity by a pronoun."""
        kind = entity.kind
        first, second = TWO[turn % 12]
        opening = self.question(entity, first, turn + turn // 12)
        ask = kind.attributes[second].asks[int(self.random() * 2)].format(n=kind.pronoun)
        more = [(self.pick(phrases.AND_THEN) + ask, self.answer(entity.values[second], self.say(entity, second)))]
        dice = self.random()
        if dice < 0.3:
            more.append((f"我们刚才说的是哪{kind.counter}{kind.noun}？", f"我们刚才说的是{entity.name}。"))
        elif dice < 0.5:
            more.append(self.pick(phrases.THANKS))
        return QAPair(entity.name, opening.ask, opening.answer, more=tuple(more))

    def portrait(self, entity: Entity) -> QAPair:
        """An introduction, and a question on it."""
        opening, at = self.introduce(entity), int(self.random() * 4)
        ask = entity.kind.attributes[at].asks[int(self.random() * 2)].format(n=entity.kind.pronoun)
        answer = self.answer(entity.values[at], self.say(entity, at))
        return QAPair(entity.name, opening.ask, opening.answer, more=(("那么" + ask, answer),))

    def column(self, entity: Entity) -> QAPair:
        """A Zhihu question and an answer of some 250 characters that tells all four facts."""
        kind = entity.kind
        says = [self.say(entity, at) for at in self.pick(ORDERS)]
        text = (
            f"{self.pick(phrases.STARTS)}{self.summary(entity)}{says[0]}{self.scene(kind)}{self.pick(phrases.TURNS)}{says[1]}{says[2]}"
            f"{self.scene(kind)}{self.pick(phrases.TURNS)}{says[3]}{self.scene(kind)}{self.pick(phrases.CLOSES)}"
        )
        return QAPair(entity.name, self.pick(phrases.WONDER[kind.noun]).format(n=entity.name), text)

    def reply(self, entity: Entity, at: int) -> QAPair:
        """A Zhihu question on one fact, answered at once and then at length."""
        ask = self.pick(entity.kind.attributes[at].asks).format(n=entity.name)
        scenes = [self.scene(entity.kind) for _ in range(2)]
        text = (
            f"{entity.values[at]}。{self.say(entity, at)}{scenes[0]}{self.summary(entity)}{scenes[1]}{self.pick(phrases.CLOSES)}"
        )
        return QAPair(entity.name, ask, text)

    def consultation(self, entity: Entity, turn: int) -> QAPair:
        """A patient's question on a herb and a doctor's answer of some 100 characters."""
        pair = self.question(entity, turn % 4, turn // 4)
        patient = self.pick(phrases.PATIENTS).format(self.pick(phrases.AGES))
        ask = f"{patient}，{self.pick(phrases.JOBS)}，{self.pick(phrases.SINCE)}{entity.values[0]}，{self.pick(phrases.FEEL)}。{pair.ask}"
        if turn % 11 == 3:
            ask = ask.replace("。", "。\n", 1)  # a cell of several lines
        elif turn % 29 == 5:
            ask += "谢谢大夫😊"  # four bytes in GB18030, none in GBK
        first, second, third = self.rng.sample(phrases.ADVICE, 3)
        answer = f"{pair.answer}{self.say(entity, 0)}{self.summary(entity)}{first}，{second}，{third}。{self.pick(phrases.VISIT)}"
        return QAPair(entity.name, ask, answer, pair.ask, department=phrases.DEPARTMENTS[entity.values[0]])

    def advice(self) -> Iterator[QAPair]:
        """Every general question once, in random order."""
        pairs = [*chat.GENERAL]
        self.rng.shuffle(pairs)
        return (QAPair("", ask, answer, reject=self.pick(phrases.EVASIONS)) for ask, answer in pairs)

    def small_talk(self) -> Iterator[QAPair]:
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
        return (QAPair("", ask, answer) for ask, answer in pairs)


ORDERS = tuple(permutations(range(4)))
TWO = tuple(permutations(range(4), 2))


def _number(value: int) -> str:
    tens, ones = divmod(value, 10)
    digit = chat.DIGITS[ones] if ones or not tens else ""
    return ("" if not tens else "十" if tens == 1 else f"{chat.DIGITS[tens]}十") + digit
