"""Sentences of a page that say nothing of its matter: calls to its readers (scan this, follow us), and notices of its site.

A sentence is judged by what it is, never by a word in it. A call begins like one (请关注…, 扫码领取…, 更多内容，点击…), speaks to whoever reads,
and points at the page (下方二维码, 阅读原文), at its owner (我们, 小编的微信) or at what there is to be had (领取, 咨询, 进群). A notice is a whole
sentence of its kind (转载请注明出处, 编辑于 2021-05-01). So a text about 公众号, a story in which somebody is followed, a step of a manual and quoted
speech stay, and so does a sentence that says something else beside its call.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tasks.text import batch
from tasks.text.ledger import NO_LEDGER, Ledger

# one of these is in all that is found
_HINT = re.compile(
    "扫码|扫一扫|扫描|二维码|长按|长摁|众号|公号|微信|QQ|qq|知识星球|视频号|阅读原文|蓝字|蓝色|关注我|关注小编|关注“|关注【|关注《|点击关注|求关注|点赞|戳|点击下方"
    "|点击以下|转载|著作权归|版权|免责声明|免责条款|侵权|侵犯|侵删|编辑于|发布于|发表于|更新于|后台回复"
)
_CALL, _NOTICE = "call", "notice"
_LONGEST = {_CALL: 90, _NOTICE: 250}  # characters: what is longer has other things to say, too
_BESIDE = 24  # characters before or behind a call that need not be of it

# -- what a sentence is -------------------------------------------------------------------------------------------------

_START = r"(?:(?<=[，,、。；;：:！!？?)）\]】~～—\- ])|^[（(【\[]{0,2})"
_OPENING = (  # what an imperative begins with; atomic, since some of it can be read in two ways
    "(?>请|敬请|欢迎|诚邀|快来?|赶紧|赶快|抓紧|立即|立刻|马上|现在就?|记得|别忘了|不妨|建议|即刻"
    "|更多(?:(?!请|关注|点击?|扫|长按|戳|欢迎)[^，。 ]){0,10}"
    "|(?:大家|您|你|小?伙伴们?|朋友们?|同学们?|家长们?|考生|有意者|亲们?|各位(?:朋友|读者|考生|家长|同学)?|感兴趣的?(?:朋友|同学|小?伙伴|人)?)"
    "|都|还|就|可以?|来|能|一键|直接|用?微信|手机|或者?|也|并且?|再|详情|持续|免费|同时|添加并|点击?|猛?戳|搜索|打开微信|进群|长按|积极)*"
)
_HERE = "(?:上方|下方|左侧|右侧|左边|右边|上面|下面|文末|文章末尾|底部|顶部|左下角?|右下角?|左下方|图片?中|以下|如下|海报|下图|上图|页面|标题下)"
_GAIN = (
    r"(?:关注|加(?:我|群|好友|微|入|小)|[进入]群|领|获取|免费|咨询|报名|添加|联系|下载|购买|抢|了解|试听|订阅|围观|解锁|更多|预约|参与|投稿|福利|优惠"
    r"|资料|观看|申请|测试|合作|洽谈|答题|参保|进入|填写|互动|查[看询](?:更多|详情|完整|最新|是否)|立即测试|分享至)"
)
_OWN = r"(?:我们?|本人|小编|客服|老师|助理|助手|作者|博主|群主|管理员|学[姐长]|店主|群助手|特助|\w[姐哥])"
_CHANNEL = "(?:公众号|公号|微信号|订阅号|视频号|服务号|抖音号|官微|官方微[信博]|微信平台|知识星球)"
_ACCOUNT = "(?:微信|QQ|qq|V信|vx|VX)"
_NAME = r"[“「【《\[]{1,2}[^”」】》\]\n]{1,20}[”」】》\]]{1,2}"
_END = r"(?=$|[，,。！!~～；;）)】”\" \-|…]|吧|哦|呀|啦|哟|喔|噢)"
_VERB = r"(?!的|了|过|着|度|点|者|是|会|支付|付款|登[录陆]|认证)"  # after a verb of a call: not 扫码支付, 关注的人, 关注了
_SCAN = "(?:扫描|识别|长[按摁]|扫一扫|扫)"
_AT_ONCE = "[，, ]?(?:即可|立即|免费|可以?|就能|就可以|马上|一键|直接)?"

_CALLS = {  # word → calls with it
    word: re.compile(f"{_START}{_OPENING}(?:{'|'.join(calls)})")
    for word, calls in {
        # a code on the page, or one that leads to something
        "二维码": (
            rf"{_SCAN}{_VERB}(?:或?(?:长按|识别|扫描))*(?:{_HERE}的?)+(?:海报|图片|小程序)?二维码",
            rf"{_SCAN}(?:或?(?:长按|识别|扫描))*二维码{_AT_ONCE}{_GAIN}",
            rf"(?:长按|扫描|识别)(?:{_HERE}|此|图片|左边|右边)*(?:的?图片)?[^，。]{{0,4}}识别二维码",
        ),
        "扫": (rf"扫(?:码|一扫){_VERB}{_AT_ONCE}{_GAIN}(?!\w?的)",),
        # follow a channel: ours, or one that is named
        "关注": (
            rf"长按(?:{_HERE}|此|图片|左边|右边)*(?:的?图片)?[^，。]{{0,4}}关注",
            rf"关注{_VERB}(?:一下|下)?(?:{_HERE}的?)?(?:{_OWN}|本\w{{0,2}}号|本站|此)的?\w{{0,6}}?{_CHANNEL}",
            rf"关注{_VERB}(?:我们?|小编|本号|本站)(?:{_END}|获取|了解|领)",
            rf"关注{_VERB}(?:一下|下)?\w{{0,10}}{_CHANNEL}?{_NAME}\w{{0,4}}{_CHANNEL}?(?:{_END}|回复|发送|后台|获取|了解|及)",
            rf"关注{_VERB}\w{{0,12}}?{_CHANNEL}[:：（(]",
            rf"关注{_VERB}\w{{0,12}}?{_CHANNEL}\w{{0,8}}?[，, ]?(?:并?在?后台)?(?:并?回复|发送|获取|了解|领|第一时间|及时|订阅|不迷路)",
            rf"(?:点击?|戳)(?:{_HERE}的?)+[“\"'「【《]*关注",
            rf"(?:点击?|戳)(?:{_HERE}的?)*{_NAME}[，, ]?加?关注",
            rf"点击关注{_END}",
            "(?:打滚|跪|卑微)?求关注(?!的|是)",
        ),
        # click what stands on the page
        "原文": (rf"(?:点击?|戳|猛戳|单击|轻触|查看)(?:{_HERE}|文章|这里|的)*[“\"'「【《‘’”]*(?:阅读原文|原文链接)",),
        "蓝": (
            rf"(?:点击?|戳)(?:{_HERE}|的)+[“\"'「【《]*蓝(?:色)?(?:字体?|文字|微字)(?!链接)",
            rf"(?:点击?|戳)[“\"'「【《]*蓝(?:色)?(?:字体?|文字|微字)(?:{_END}|[^，。]?\W{{0,2}}(?:关注|加|免费|订阅|领|一键|回顾))",
        ),
        "方": (rf"(?:点击?|戳)(?:{_HERE}的?)+[“\"'「【《]*(?:名片|卡片|公众号|链接[，, ]?\S{{0,6}}{_GAIN})",),
        "以下链接": (rf"(?:点击?|戳)以下的?链接[，, ]?\S{{0,6}}{_GAIN}",),
        # add an account: ours, or one with its number
        "加": (
            rf"(?:添加|加){_VERB}{_OWN}的?(?:个人|企业|推广)?(?:{_ACCOUNT}|微)(?:号|好友)?"
            rf"(?:{_END}|[:：（(A-Za-z0-9\[]|详|咨|进|领|了解|备注|拉)",
            rf"(?:添加|加)\w{{0,6}}{_ACCOUNT}(?:号|群)?[:：（( ]+\[?[A-Za-z0-9账电]",
        ),
        # ask for applause, or for a word behind the scenes
        "赞": ("(?:打滚|跪|卑微)?求个?(?:点赞|赞|三连)(?!的|是)",),
        "后台回复": (rf"(?:在|去|到)?(?:{_OWN}的|本)?(?:微信)?(?:公众号)?(?:{_NAME})?后台回复[^，。]{{1,16}}(?:即可|获取|领)",),
    }.items()
}

_SELF = (
    r"(?:本(?:网站?|站|人|公众号|微信|平台|刊|报|号|文|微|书|社)\w{0,6}|原?作者\w{0,4}|版权方|书面|正式|明确|合法|我们|我方"
    r"|\w{2,12}(?:网|报|社|频道|公众号))"
)
_LEAVE = "(?:授权|许可|允许|同意)"
_WEEKDAY = "(?: ?[（(]?(?:星期|周)[一二三四五六日天][）)]?)?"
_TIME = r"\d{1,2}[:：]\d{2}"
_DATE = rf"[12]\d{{3}}[-年/.] ?\d{{1,2}}(?:[-月/.] ?\d{{1,2}}[日号]?)?(?:[ T]*{_TIME}(?:[:：]\d{{2}})?)?{_WEEKDAY}(?: ?{_TIME})?"
_MATTER = "(?:文章|图片|图文|视频|文字|内容|素材|资料|本文|图|文|原创)"
_OUR_SITE = (
    "(?<![版样文课基根日剧书原资成标副译脚读绘抄话唱底])"  # 日本网站, 剧本网
    "本(?:微信)?(?:公众号|公号|平台|网(?![讯友络民红店])站?|站|号(?![称召码])|微信)"
)
_DELETE = (  # what the reader may do: tell us
    "(?:或\\w{1,6}|行为|问题|之处|内容|嫌疑|[到了]?(?:您|他人|原?作者)\\w{0,8})?[，, ]?(?:敬?请|可以?|麻烦|烦请|欢迎|还请|务必)?"
    "(?:您|原?作者|版权方|权利人|权益人)?(?:及时|立即|立刻|尽快|马上|随时|第一时间|速|来信|留言|私信|邮件|后台)?(?:与|和|跟|向|在|于)?"
    "(?:我们?|本[站网号人]\\w{0,3}|小编|原?作者|编辑|站长|博主|后台|微信|公众号)?\\w{0,4}?(?:联系|告知|通知|删除|处理)"
    "(?!.{0,6}(?:律师|法院|警方|公安|保险|当事人))"
)

_NOTICES = {  # word → notices with it
    word: re.compile("|".join(notices))
    for word, notices in {
        # of rights
        "转载": (
            rf"{_START}(?:如需|若需|如|欢迎|商业|非商业)?(?:请(?:您|务必)*)?(?:在公众号或网络|在)?转载(?:时|本文|必须)?(?:务必)?请?(?:务必)?"
            "(?:注明|联系|标明|告知)(?!了|过|的)",
            rf"{_START}(?:谢绝|禁止|严禁|请勿|拒绝)\w{{0,6}}转载(?:抄袭|搬运|二改)?(?:$|[。！!，,；])(?!.*(?:功能|选项|权限|设置))",
            "商业转载请联系作者获得授权",
            rf"{_OUR_SITE}\S{{0,30}}转载",
        ),
        "未经": (
            rf"{_START}(?:任何\w{{2,6}})?未经{_SELF}?{_LEAVE}{{1,2}}[，,]?\w{{0,6}}?(?:不得|禁止|严禁|请勿|谢绝|勿)(?:以任何\w{{2,6}})?"
            r"(?:转载|抄袭|(?:复制|使用|引用)(?=.*(?:转载|抄袭|盗用))|(?<=以任何..)(?:复制|使用|引用)|(?<=以任何....)(?:复制|使用|引用))"
            r"\w{0,4}(?:[，,。！!;；>）) ]|或|及|、|$)",
        ),
        "著作权归作者": (
            r"^(?:作者[:：]\S{1,30}\s*)?(?:[，,]?链接[:：]\S*\s*)?(?:[，,]?来源[:：]\S{1,20}[\s，,]*)?著作权归作者所有[。，,]?(?:商业转载.*)?$",
        ),
        "版权所有": (r"版权所有(?!者|人|权|方)[\s，,。！!©]*(?:[12]\d{3}|侵权|翻[印版]|违者|盗版|不得|禁止|严禁|未经|请勿|$)",),
        "免责": (
            r"^\W*(?:\S{0,6}及)?免责(?:声明|条款)[\W]*[:：】\]]\W*"
            "(?=.*(?:本[网站文平公微号]|文[章中]|以上|图[文片]|转载|来源|侵权|版权|解释权|立场|投资建议|仅供参考|网络))",
        ),
        # of what stands where, and whose it is
        "版权": (
            rf"{_START}\W*(?:[^，。！？；]{{0,30}}?{_MATTER}(?:[的之等均]|部分|版权)?版权|版权(?=[^，。]{{0,8}}(?:原|本[站网])))"
            r"(?:[、和及]文责)?(?:均|皆|都|仍)?(?:归|属于?)(?!.*(?:合同|约定|法人|甲方|乙方|论文|投稿|学校|单位|原告|被告|国家|谁))\S{1,30}?(?:所有|作者)(?!权|者)",
            rf"{_START}(?:如|若)(?:有|涉|果)?(?:及|到)?版权等?问题\S{{0,20}}(?:联系|告知|通知|删除|处理)",
            rf"{_OUR_SITE}\S{{0,30}}版权",
        ),
        "侵": (
            rf"{_START}(?:如|若)(?:有|涉|果)?(?:任何)?(?:涉?及?侵权|侵犯)(?!责任){_DELETE}",
            rf"{_START}侵权?(?:请?联系?)?(?:我们|本号|小编)?必?删",
        ),
        "立场": (rf"{_OUR_SITE}\S{{0,30}}立场", rf"不代表{_OUR_SITE}\S{{0,10}}立场"),
        "不代表": (rf"{_OUR_SITE}\S{{0,30}}不代表", rf"不代表{_OUR_SITE}"),
        "不对": (rf"{_OUR_SITE}\S{{0,30}}不对",),
        "文": (
            r"^[（(\W]*(?:本文|文章|本篇)(?:章)?(?:经授权)?(?:转载|转|首发|原载|摘|整理|来源|源|来|系)(?:自|于)?[^，。]{0,12}"
            rf"(?:公众号|公号|微信(?!群|聊天|好友|对话|朋友)|{_NAME})",
        ),
        # of when it was written
        "于": (
            rf"^\W*(?:最[后近]|首次(?!.*年)|本文|文章)?(?:编辑|发布|发表|更新)于[:： ]*{_DATE}(?:[・· ]*IP ?属地\S{{2,8}})?\W*$",
        ),
        # of how to reach its owner
        "微信": (
            r"^\W*(?:\S{0,12}(?:合作|投稿|商务|爆料|咨询|广告|推广)\S{0,10})?微信(?:号|公众号)?(?:ID|id)? ?[:：] ?"
            r"(?:[A-Za-z][\w-]{4,19}|\[(?:账号|电话|phone number)\])\W*$",
        ),
        "公众号": (
            r"^\W*(?:我的|我们的|本人|作者|\w{0,4}官方)?(?:个人|微信)?公众号(?:名称|ID|id)? ?[:：]\W*(?<![\"'])[^\W是的和种或号不为可]{2,12}\W*"
            r"(?:[（(]?(?:ID|id|微信号)[:：]?\W*[\w-]+[）)]?)?\W*$",
        ),
    }.items()
}
# a whole sentence that is nothing else
_WHOLE = re.compile(
    rf"\W*(?:{_OPENING}(?:(?:微信)?扫(?:一扫|码|描)?{_HERE}?的?(?:二维码)?(?:关注|添加|加入|下载)\w{{0,6}}"
    rf"|关注(?:{_CHANNEL}|微信公众号|我们?)|阅读原文|点击{_HERE}蓝\w{{1,3}})|(?:加|添加){_OWN}微信\w{{0,4}})\W*"
)
_NONE = re.compile(  # speaks about such sentences, or warns of them
    "是指|指的是|所谓|的意思|例如|比如|字样|这句话|几个字|口号|标语|谎称|声称|诈骗|骗子|骗取|谨防|不法|嫌疑|冒充|警惕|钓鱼|恶意|不要|小心|为什么|什么是|怎[么样]|如何"
    "|做法|手段|引流|叫做|称为|被称|意思是|用语|术语|步骤|流程"
)
# before a call or notice: somebody else's, or a rule; behind it: what it is
_REPORTED = re.compile(
    "写[着明道有上]|印[着有]|标[着有]|贴[着有]|刻[着有]|[末尾页书中]注明|规定|约定|认定|判决|裁定|主张|法院|原告|被告|法律|著作权法|合同|报道[，,说称]"
    "|签名[是为]|一行.?字|弹出|跳出"
)
_EXPLAINED = re.compile("[^，,。！!？?：:我此本该]{0,6}[，,]?[也都就便这]?是(?!否|不是)")
_ACTOR = re.compile(
    "[他她]|人们|用户|顾客|居民|消费者|市民|游客|乘客|网友|粉丝(?!福利)|群众|商家|车主|老人|志愿者|工作人员|记者|学生(?!家长)|告诉|表示|介绍[，,说]"
    "|然后|后来|于是|随后|接着|只要"
)
_DONE = re.compile("了(?!解)|过(?!程|去)")
_DECORATION = re.compile("[>~|_`▼▲△▽\u2190-\u2bff\u3030\ufe0f\U0001f000-\U0001faff\u200d]+")
_STEP = re.compile(
    r"\W{0,3}(?:\d{1,2}[.、)）](?!\d)|[（(]?[\d一二三四五六七八九十]{1,3}[)）、]|[①-⑳]|第[\d一二三四五六七八九十]+步|[Ss][Tt][Ee][Pp])"
)
_CLAUSE = re.compile("[，。！？；,!?;]")
_SPEECH = re.compile('“[^“”]*”|「[^「」]*」|『[^『』]*』|"[^"]*"')


_TO_READERS = re.compile(
    "[您你]|大家|伙伴|朋友|家长|考生|更多|欢迎|如需|如有|想要|有意|感兴趣|福利|免费|限时|名额|公众号|微信|获取|编辑|来源|以上"
)
_OFFERS = re.compile(
    "二维码|公众号|微信|电话|热线|邮箱|回复|领取|咨询|报名|购买|点击|分享|优惠|免费|加?群|更多|资料|关注|获取|下载|特价|套餐|预约"
)


def kind_of(sentence: str) -> str:
    """`call` or `notice` for a sentence that says nothing of the matter; else nothing."""
    if not _HINT.search(sentence) or len(sentence) > 2 * _LONGEST[_NOTICE]:
        return ""
    plain = " ".join(_DECORATION.sub(" ", sentence.replace("*", "")).split())
    plain = _SPEECH.sub(lambda match: match.group().replace(" ", "") if _is_name(match.group()) else "“”", plain)
    if _NONE.search(plain):
        return ""
    if len(plain) <= _LONGEST[_NOTICE] and any(map(_is_own, _matches(_NOTICES, plain))):
        return _NOTICE
    if len(plain) > _LONGEST[_CALL]:
        return ""
    if _WHOLE.fullmatch(plain):
        return _CALL
    return _CALL if not _STEP.match(plain) and sentence.count("→") < 2 and any(map(_is_call, _matches(_CALLS, plain))) else ""


def _matches(patterns: dict[str, re.Pattern[str]], plain: str) -> Iterator[re.Match[str]]:
    for word, pattern in patterns.items():
        if word in plain and (match := pattern.search(plain)):
            yield match


def _is_own(match: re.Match[str]) -> bool:
    """True for a match that is the page's: nobody is said to have written it, and it is not explained."""
    return not (_REPORTED.search(match.string, 0, match.start()) or _EXPLAINED.match(match.string, match.end()))


def _is_call(match: re.Match[str]) -> bool:
    """True for a match that is no story: nobody else does it, it has not been done, and there is little beside it."""
    plain, start, end = match.string, match.start(), match.end()
    if not _is_own(match) or _ACTOR.search(plain, 0, end) or _DONE.search(_CLAUSE.split(plain[end:], maxsplit=1)[0]):
        return False
    *_, offered = end, *(offer.end() for offer in _OFFERS.finditer(plain, end))
    return (start <= _BESIDE or _TO_READERS.search(plain, 0, start) is not None) and len(plain) - offered <= _BESIDE


def _is_name(quoted: str) -> bool:
    """True for a quotation that is a name or a keyword, not what somebody says."""
    return len(quoted) <= 16 and not _CLAUSE.search(quoted)


# -- the sentences of a text --------------------------------------------------------------------------------------------

_PAIRS = {"“": "”", "「": "」", "『": "』", "（": "）", "(": ")", "【": "】", "[": "]", "《": "》", "‘": "’"}
_CLOSERS = {closer: opener for opener, closer in _PAIRS.items()}
_QUOTES = "”」』"
_STOPS = "。！？!?"
_MARKS = re.compile("[" + re.escape("".join(_PAIRS) + "".join(_CLOSERS) + _STOPS) + '"]')


def _pairs(line: str) -> dict[int, int]:
    """The place of each quotation mark and bracket that opens → the place where it closes, in a line. Half pairs are none."""
    opened: list[tuple[str, int]] = []
    waiting: Counter[str] = Counter()  # for a closer
    pairs: dict[int, int] = {}
    straight = line.count('"') % 2 == 0
    for match in _MARKS.finditer(line):
        mark, at = match.group(), match.start()
        closes = mark in _CLOSERS or (mark == '"' and waiting[mark] > 0)
        opener = _CLOSERS.get(mark, mark)
        if mark in _STOPS or (mark == '"' and not straight):
            continue
        if not closes:
            opened.append((mark, at))
            waiting[mark] += 1
        while closes and waiting[opener]:
            each, start = opened.pop()
            waiting[each] -= 1
            if each == opener:
                pairs[start] = at
                break
    return dict(sorted(pairs.items()))


def sentences(line: str) -> Iterator[tuple[int, int]]:
    """The places of a line's sentences, which are all of it. What is quoted or in brackets ends none, but a quotation that ends with a full
    stop does (他说：“好。”), and what closes behind a full stop belongs to its sentence."""
    pairs = _pairs(line)
    closing = {end: start for start, end in pairs.items()}
    start = depth = 0
    for match in _MARKS.finditer(line):
        at = match.start()
        if at in pairs:
            depth += 1
        elif at in closing:
            depth -= 1
        if depth or at + 1 < start or not (line[at] in _STOPS or (at in closing and line[at] != "》" and line[at - 1] in _STOPS)):
            continue
        end = at + 1
        while end < len(line) and (line[end] in _STOPS[1:] or line[end] in _QUOTES):
            end += 1
        if line.startswith("**", end) and line.count("**", start, end) % 2:  # bold that ends with its sentence
            end += 2
        yield start, end
        start = end
    if start < len(line):
        yield start, len(line)


def found(text: str) -> Iterator[tuple[int, int, str]]:
    """The places of calls and notices in a text, and which each is: whole sentences, and remarks in brackets within one that says something else.

    Code and tables hold none, nor does what somebody says in quotation marks.
    """
    position, code = 0, _fenced(text)
    while hint := _HINT.search(text, position):
        begin, end = text.rfind("\n", 0, hint.start()) + 1, text.find("\n", hint.end())
        position = end = end if end >= 0 else len(text)
        line = text[begin:end]
        if line.lstrip().startswith("|") or _spoken(text, begin) or any(first <= begin < last for first, last in code):
            continue
        yield from ((begin + start, begin + stop, kind) for start, stop, kind in _in_line(line))


def _spoken(text: str, begin: int) -> bool:
    """True for a line in the midst of a speech that began in a line before."""
    start = text.rfind("\n\n", max(0, begin - 500), begin) + 1 or max(0, begin - 500)
    return text.rfind("“", start, begin) > text.rfind("”", start, begin)


_FENCE = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


def _fenced(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in _FENCE.finditer(text)] if "```" in text or "~~~" in text else []


def _in_line(line: str) -> Iterator[tuple[int, int, str]]:
    pairs = _pairs(line)
    whole = {*pairs, *pairs.values()}
    halves = [match.start() for match in _MARKS.finditer(line) if match.start() not in whole]
    opened = next((at for at in halves if line[at] in "“「『"), len(line))  # a speech that goes on in the next line
    closed = max((at for at in halves if line[at] in _QUOTES), default=-1)  # or began in one before
    openings = list(pairs)
    for start, end in sentences(line):
        sentence = line[start:end]
        if start <= closed or end > opened or not _HINT.search(sentence):
            continue
        remarks = list(_remarks(line, pairs, openings[bisect_left(openings, start) : bisect_left(openings, end)]))
        beside = [line[one:other] for one, other in pairwise([start, *(at for remark in remarks for at in remark[:2]), end])][::2]
        if kind := kind_of("".join(beside)) or (kind_of(sentence) if not any(map(_SAYS.search, beside)) else ""):
            yield start, end, kind
        else:
            yield from remarks


def _remarks(line: str, pairs: dict[int, int], openings: list[int]) -> Iterator[tuple[int, int, str]]:
    """Calls and notices in round brackets that stand in no other pair."""
    position = 0
    for first in openings:
        if position <= first:
            position = pairs[first] + 1
            bracket = line[first] in "（(" and not _CODE.search(line[max(0, first - 1) : first])
            if bracket and (kind := kind_of(line[first + 1 : position - 1])):
                yield first, position, kind


def may_have_any(texts: Sequence[str]) -> list[bool]:
    """For each text, False where a quick look tells that there is no call or notice in it."""
    return batch.with_match(_HINT, texts)


def has_boilerplate(text: str) -> bool:
    """True for a text with a call to its readers (扫码领取…, 关注我们的公众号) or a notice of its site (转载请注明出处, 编辑于 2019-01-01)."""
    return next(found(text), None) is not None


_CODE = re.compile(r"[\]\w.]", re.ASCII)  # before a bracket: a call of a function, the place of a link
_SAYS = re.compile("[^\\W_]")
_BLANKS = re.compile(r"\n{3,}")


def without_boilerplate(text: str, ledger: Ledger = NO_LEDGER) -> tuple[str, list[str]]:
    """The text without its calls and notices, and these."""
    cut: list[str] = []
    pieces: list[str] = []
    position = 0
    for start, end, kind in found(text):
        ledger.note("advertising", text[start:end], detail=kind, around=(text, start, end))
        cut.append(text[start:end])
        pieces.append(text[position:start])
        position = end
    return (_tidy("".join([*pieces, text[position:]]), ledger) if cut else text), cut


def _tidy(text: str, ledger: Ledger) -> str:
    """At most one blank line in a row, and none at the ends."""
    tidy = _BLANKS.sub("\n\n", text).strip()
    ledger.note("white space", text, tidy)
    return tidy
