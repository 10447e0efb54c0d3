"""Traditional → simplified Chinese characters: OpenCC's `t2s` to the letter, several times as fast.

OpenCC looks every character up in a tree, since it may begin a phrase that is converted as a whole. Few phrases matter: those that come out
otherwise than their characters do one by one (計畫 → 计划, 瞭望 → 瞭望), and each of them has one of some forty characters in it. So a text goes
through a table of characters, and OpenCC itself gets the clauses in which such a phrase may stand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SHORT = 300  # characters, from which the table is the faster way

# What OpenCC leaves outside the characters that mainland China prints, and Hong Kong, Taiwan and old editions print. Of Big5's common level it is
# all that 通用规范汉字表 does not have, with the form that the first of three sources gives: 第一批异体字整理表 (1955, as the table `dypytz` of
# cjkvi-variants), CC-CEDICT's simplified column and its "variant of", Unihan's kSemanticVariant and kSpecializedSemanticVariant.
_FIRST_LIST = (
    "牠阬姪炤觔倣砲衹偺啣啗勗毬琍傚揹隄勦搾搆瑯痳覜铇慇瘉跼撚暱瞇箠蔆踫銲嬝彊燐篛濬賸櫂繙鎗餽𫉄𫍻籐鑤鼇",
    "它坑侄照斤仿炮只咱衔啖勖球璃效背堤剿榨构琅淋眺刨殷愈局拈昵眯棰菱碰焊袅强磷箬浚剩棹翻枪馈薯嘻藤刨鳌",
)
_CEDICT = ("伕迆枓玨玆珮痲睪遝糢㑩櫺瓖", "夫迤斗珏兹佩麻睾沓模啰棂镶")
_UNIHAN = ("沍甽徬撢筿𫄶", "冱畎彷掸筱襁")
_RARER = (  # of the first list too, and of other levels
    "敍枱粧糭衞簷痺劒鬬鬪鴈疎慙猨飜徧媿顦顇壻嗁緜燄檝鸎覩嬾懽皐竝筯輭煖蕚巵畧蘂蠭崐崘羇椀嚬擕妳暸懃",
    "叙台妆粽卫檐痹剑斗斗雁疏惭猿翻遍愧憔悴婿啼绵焰楫莺睹懒欢皋并箸软暖萼卮略蕊蜂昆仑羁碗颦携你了勤",
)
_QUOTES = ("「」『』｢｣", "“”‘’“”")
FURTHER = {
    before: after for table in (_FIRST_LIST, _CEDICT, _UNIHAN, _RARER, _QUOTES) for before, after in zip(*table, strict=True)
}
_FURTHER = re.compile(f"[{''.join(FURTHER)}]")

# In each of OpenCC's phrases that matter stands one of these characters (the first of each word) beside one of those that follow it here
PIVOTS = {
    word[0]: word[1:]
    for word in (
        "藉代以凌助卉口喻寇憑手據故方條槁機此滑甚由着端箸素茵草虎詞讀資躪醞顧 "
        "沈下不住冤厚吟寂得思悶戟擊昏沈沒浮浸消淪深湎溺滯澱濁甸痛痼痾睡砂積筒耳船落載迷醉重釜降陰陷靜香鬱魚默 釐年懷春祝逆 剋挨架毒 "
        "坏一土子布戶打拉捏毛磚脫製鋼鑿陶麪 鍾千繇萬郁重錢鍛馗黃 於世乎仲倫其則勇呼單坦崇忠惟戲敖梨樊清潛琳穆竹菟邑陵 脩敬束段炳肉脡脯腶金 "
        "昇張彥志李梁烏申畢育胤蔣象豪金陳韓鶴龔 徵弦流絃羽聲角調變音魏 祕丕允吳彭李瓊胤袁辛 哩海英 谿工 逕七上南口山水沙河烏石社聯頭 "
        "瞭如明然若解門 乾佑元卦嘉圖坤子宅安尼州康斷旦曜朝李法清盛竺綱縣蕭象轉造連道闥陵隆顛 "
        "覆信函反呈命回墓帳批拜按文明校申示稟答覆見重金鈞電 鍊上墜子形手拉條福金鉸銀錘鎖鐵項頸 吒哪木金 噁英 麼么些幺篤 畫籌計 "
        "氾勝南國東水 扞格 鉅子澤甚章萬防 陞聯 薹蒜蕓 衹得見 袷袢 蒐于多於春狩獮獵田畋苗茅 甦復生醒 濛山 俱傢 彷彿 劄目 么麼麽 "
        "麽么 計貲 "
    ).split()
}
_BLOCKS = ((0x2E80, 0xD800), (0xF900, 0xFB00), (0xFE30, 0xFE50))  # where OpenCC changes characters, of the basic plane
_OPENCCS = ((0xF900, 0xFB00), (0xD840, 0xD8C0))  # compatibility forms, unified before phrases are looked for, and further planes
# where the characters of phrases stand: two ranges and all beyond
_PHRASES = ("\u3400", "\ua000", "\uf900", "\ufb00", "\U00020000")

# The script of a text is told by characters that the other has not: 這 and 这. A variant, 裡, is in no simplified text either, but what it becomes
# is in traditional text too. 於, 後 and 著 tell nothing, since GB 2312 has them for names; these, names and terms have in 通用规范汉字表
_KEPT = "剋劄扞昇氾爇祕脩苧蒐薳谿釐陞"
_LEFT = "著祇藉於沈锺徵甚"  # characters that `script` looks at, of those that OpenCC leaves

# what the table knows of a UTF-16 code unit
_ALONE, _PIVOT, _NEAR, _CHANGED, TOUCHED, HAN, TRADITIONAL, VARIANT, SIMPLIFIED, STOP, OPENING, KANA, HINT, NAMED, LINE = (
    1 << bit for bit in range(15)
)
_STOPS = "\n。！？；"
_NAMES = "濛穀兒閤癥璿儁適昇徵甯"  # variants, in names and terms (兒寬, 癥瘕) that keep them
_HINTS = "繁簡简異异讀筆偏"  # begin the words for scripts and variants, and for how a character is read and written:
HINTED = tuple("繁體 繁体 繁簡 繁简 簡體 簡化 簡繁 简体 简化 简繁 異體 异体 讀作 讀音 讀成 筆畫 筆劃 筆順 偏旁".split())
_AFTER_HINTS = frozenset(ord(word[1]) for word in HINTED)
PAIRS = dict(zip('“‘「『《（([【"`', '”’」』》）)]】"`', strict=True))


@functools.cache
def opencc() -> Callable[[str], str]:
    """OpenCC's own converter, loaded once."""
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert


def convert(text: str) -> str:
    """The text as OpenCC's t2s converts it, with the characters of `FURTHER` converted too."""
    if len(text) < _SHORT:
        return _FURTHER.sub(_further, opencc()(text))
    units, kinds = _look(text)
    simple = _table()[0].take(units, mode="clip").tobytes().decode("utf-16-le", "surrogatepass")
    clauses = list(_clauses(text, units, kinds))
    if not clauses:
        return simple
    converted = opencc()("\n".join(text[start:end] for start, end in clauses))
    pieces: list[str] = []
    position = 0
    for (start, end), clause in zip(clauses, _FURTHER.sub(_further, converted).split("\n"), strict=True):
        pieces += simple[position:start], clause
        position = end
    return "".join([*pieces, simple[position:]])


def found(text: str) -> tuple[int, int, int, int]:
    """Numbers of characters that a conversion may change, that tell traditional text, that tell simplified text, and that may be about characters.

    Of a short text, 1 for some. Most simplified texts have nothing that a conversion may change, and this tells quickly.
    """
    import numpy as np

    kinds = TRADITIONAL | VARIANT, SIMPLIFIED, HINT
    if len(text) < _SHORT:
        if not _any_of(TOUCHED).search(text):
            return 0, 0, 0, 0
        old, new, hints = (int(_any_of(kind).search(text) is not None) for kind in kinds)
        return 1, old, new, hints
    units, known = _look(text)
    some = int(np.bitwise_or.reduce(known))
    if not some & TOUCHED:
        return 0, 0, 0, 0
    touched, old, new, hints = (int(np.count_nonzero(known & kind)) if some & kind else 0 for kind in (TOUCHED, *kinds))
    if hints:
        after = units[np.minimum(np.flatnonzero(known & HINT) + 1, len(units) - 1)]
        hints = sum(unit in _AFTER_HINTS for unit in after.tolist())
    return touched, old, new, hints


def kinds(text: str) -> np.ndarray:
    """The table's knowledge of each character of a text: `HAN`, and the script that it tells, if it does."""
    units, known = _look(text)
    return known if len(units) == len(text) else known[(units < 0xDC00) | (units >= 0xE000)]


def changed(text: str) -> float:
    """Share of the ideographs of a text that are others in simplified Chinese, 0 to 1; in a long one each is judged by itself."""
    import numpy as np

    _, kinds = _look(text)
    han = np.count_nonzero(kinds & HAN)
    if len(text) < _SHORT:
        differ = sum(before != after for before, after in zip(text, opencc()(text), strict=False))
    else:
        differ = int(np.count_nonzero(kinds & _CHANGED))
    return float(differ / han) if han else 0.0


def _further(match: re.Match[str]) -> str:
    return FURTHER[match.group()]


@functools.lru_cache(maxsize=2)
def _look(text: str) -> tuple[np.ndarray, np.ndarray]:
    """The text's UTF-16 code units, and what the table knows of each."""
    import numpy as np

    units = np.frombuffer(text.encode("utf-16-le", "surrogatepass"), np.uint16)
    return units, _table()[1].take(units, mode="clip")


def _clauses(text: str, units: np.ndarray, kinds: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, end) of the runs of ideographs that are OpenCC's: a phrase may stand there, or what the table has no room for."""
    import numpy as np

    if not (kinds & (_ALONE | _PIVOT)).any():
        return
    mask, pivot, near = kinds & _ALONE > 0, kinds & _PIVOT > 0, kinds & _NEAR > 0
    mask[:-1] |= pivot[:-1] & near[1:]
    mask[1:] |= pivot[1:] & near[:-1]
    places = np.flatnonzero(mask)
    if len(places) and len(units) > len(text):  # characters of two units each
        places = places - np.cumsum((units >= 0xDC00) & (units < 0xE000))[places]
    first, last, second, end, beyond = _PHRASES

    def in_phrases(character: str) -> bool:
        return first <= character < last or second <= character < end or character >= beyond

    position = 0
    for place in places.tolist():
        neighbours = PIVOTS.get(text[place])
        if place < position or (neighbours and not any(each in neighbours for each in text[max(0, place - 1) : place + 2])):
            continue
        start = stop = place
        while start > position and in_phrases(text[start - 1]):
            start -= 1
        while stop < len(text) and in_phrases(text[stop]):
            stop += 1
        yield start, stop
        position = stop


@functools.cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    """UTF-16 code unit → the unit it becomes, and what it is."""
    import numpy as np

    table, kinds = np.arange(0x10000, dtype=np.uint16), np.zeros(0x10000, np.uint16)
    for first, last in ((0x3007, 0x3008), (0x3400, 0x4DC0), (0x4E00, 0xA000), *_OPENCCS):
        kinds[first:last] |= HAN
    for first, last in _OPENCCS:
        kinds[first:last] |= _ALONE
    characters = [chr(code) for first, last in _BLOCKS for code in range(first, last)]
    for before, after in zip(characters, opencc()("\n".join(characters)).split("\n"), strict=True):
        if before != after:
            kinds[ord(before)] |= _CHANGED | TOUCHED
            if len(after) == 1 and _is_in(after, "gb2312") and not _is_printed(before):
                kinds[ord(before)] |= VARIANT if _is_in(after, "big5") else TRADITIONAL
                kinds[ord(after)] |= 0 if _is_in(after, "big5") else SIMPLIFIED
            after = FURTHER.get(after, after)
            if len(after) == 1 and ord(after) < 0x10000:
                table[ord(before)] = ord(after)
            else:
                kinds[ord(before)] |= _ALONE
    for before, after in FURTHER.items():
        if ord(before) < 0x10000:
            table[ord(before)] = ord(after)
            kinds[ord(before)] |= TOUCHED
    kinds[list(map(ord, [*PIVOTS, *_LEFT]))] |= TOUCHED
    kinds[kinds & _ALONE > 0] |= TOUCHED
    kinds[list(map(ord, _STOPS))] |= STOP
    kinds[ord("\n")] |= LINE
    kinds[list(map(ord, _NAMES))] |= NAMED
    kinds[list(map(ord, PAIRS))] |= OPENING
    kinds[list(map(ord, _HINTS))] |= HINT
    kinds[ord("ぁ") : ord("ヺ") + 1] |= KANA
    for pivot, neighbours in PIVOTS.items():
        kinds[ord(pivot)] |= _PIVOT
        for neighbour in neighbours:
            kinds[ord(neighbour)] |= _NEAR
    return table, kinds


def _is_printed(character: str) -> bool:
    """True for a character that simplified text has of its own."""
    return character in _KEPT or _is_in(character, "gb2312")


def _is_in(character: str, charset: str) -> bool:
    try:
        character.encode(charset)
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def _any_of(kind: int) -> re.Pattern[str]:
    """Any character of a kind."""
    beyond = "\U00020000-\U000323af" if kind & TOUCHED else ""
    return re.compile(f"[{characters(kind)}{beyond}]")


def characters(kind: int) -> str:
    """All characters of a kind, of the basic plane."""
    import numpy as np

    return "".join(chr(code) for code in np.flatnonzero(_table()[1] & kind).tolist() if not 0xD800 <= code < 0xE000)
