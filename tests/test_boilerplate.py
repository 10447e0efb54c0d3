"""Calls to readers and notices of sites, and all that only speaks of them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text.boilerplate import found, has_boilerplate, sentences, without_boilerplate
from tasks.text.ledger import Ledger

BEFORE, AFTER = "长江发源于青藏高原。", "它最后注入东海。"

CALLS = """
扫码领取资料
关注我们的微信公众号
公众号：某某
加我微信详聊
长按识别下方二维码
编辑于 2019-01-01
著作权归作者所有
未经授权禁止转载
点击上方蓝字
编辑于 2021-05-01
更多内容请关注微信公众号“澜洲见闻”，扫码加群。
长按识别二维码关注公众号，领取更多干货资料。
关注公众号！
关注公众号。
转载请注明出处。
欢迎关注我的公众号：甲乙
请点击下方“阅读原文”查看详情
点击“阅读原文”进入报名页面
如有侵权，请联系我们删除。
版权所有，侵权必究。
© 2020 某某网 版权所有
免责声明：本文内容来源于网络，仅供参考。
本公众号所发布文章版权归原作者所有。
扫描二维码关注我们！
添加小编微信：abc12345
感兴趣的朋友可以加我微信，拉你进群。
微信扫一扫，关注我们
最后编辑于 2022年9月21日 (周三) 22:43
编辑于 2021-05-01 12:30・IP 属地北京
在公众号“甲乙”后台回复“资料”即可获取。
（关注公众号甲乙，了解更多）
求点赞求关注
本文转载自公众号“甲乙”。
【关注我们，了解更多】
欢迎扫码关注我们的公众号。
扫描下方二维码，加入读者交流群。
请长按二维码添加客服微信咨询。
更多精彩内容，请关注微信公众号：青山夜话。
想了解更多，欢迎关注我的公众号“青山夜话”。
喜欢本文的朋友请点赞、转发，并关注我们！
点击文末阅读原文，领取学习资料。
点击上方蓝字，关注我们不迷路。
戳下方链接，立即报名！
加小编微信：qingshan88，备注“资料”。
添加老师微信，免费领取试听课。
扫码进群，和大家一起讨论。
扫码咨询，名额有限！
关注公众号，后台回复“数学”，即可领取电子书。
回复关键词“简历”获取模板，请关注公众号“青山夜话”。
求关注！求点赞！
本文首发于微信公众号“青山夜话”。
本文转载自微信公众号：青山夜话（ID：qingshan）。
转载请联系授权，并注明出处。
转载请注明来自青山网。
未经本站允许，不得转载。
未经授权，严禁转载！
版权声明：本文版权归作者所有，转载请注明出处。
版权所有 © 2015-2020 青山网
版权所有，未经许可不得转载。
免责声明：以上内容转自网络，版权归原作者所有。
【免责声明】本文仅代表作者观点，与本站立场无关。
文章来源于网络，如有侵权，请联系删除。
图片来源网络，侵权请联系删除。
若有侵权，请及时联系我们处理。
编辑于 2020-03-15 21:08
发布于 2020-03-15
发布于 2021-06-01 20:13・IP 属地上海
最后编辑于：2019年3月2日
作者：青山 链接：https://example.com 来源：知乎 著作权归作者所有。商业转载请联系作者获得授权，非商业转载请注明出处。
欢迎加我的个人微信：qingshan_88
商务合作请加微信：qingshan88
微信公众号：青山夜话
↓↓↓点击阅读原文查看更多
长按上图识别二维码，关注我们
记得关注我们的视频号哦～
点击关注，每天学一点历史。
感兴趣的同学可以扫码报名。
欢迎大家扫描二维码加群交流。
用微信扫描二维码，分享至好友和朋友圈
关注我，带你了解更多育儿知识！
""".strip().split("\n")

PROSE = """
演示操作系统发布于2009年10月22日，是一款操作系统。
《甲史》共三卷，它编辑于1984年。
也许是为了寻求关注，他哭了。
太迷恋本命了，弄了个微信号设置成我本命。
后来他加我微信聊了几句。
人们只要扫码即可付款。
免责声明是指一种声明。
他说：“先关注我们的公众号。”客人点点头。
微信公众号是一种自媒体平台。
二维码由黑白方块组成。
我关注环境问题。
扫码支付在中国很流行。
版权所有者可以授权他人使用。
网络平台应当提供禁止转载的选项。
1. 打开微信，点击右上角的加号。
2. 扫描对方的二维码，添加好友。
顾客扫描二维码下单，再到前台取餐。
进入公共场所请扫码测温。
点击链接右键下载就好。
小心点击链接。
她关注了那家店的公众号，领到一张优惠券。
我们还要更加关注我们的废物。
建议阅读原文自行了解。
关注公众号的人越来越多。
System.out.println("公众号：Hollis");
首次发布于 1996 年（SSL 3.0）。
未经著作权人许可，任何人不得转载其作品。
职务作品的著作权归作者享有。
把他加为微信好友。
你可以加微信好友，也可以打电话。
微信：腾讯推出的社交软件。
公众号：一种自媒体平台
她给我发来一句“关注我们”，就下线了。
法律规定转载他人作品应当注明出处。
“点击下方链接，领取红包。”骗子这样说。
编辑于1984年的《甲史》共三卷。
用户扫一扫即可打开小程序。
诗人最后编辑于2005年的选集很畅销。
请扫描二维码登录系统。
为什么要关注公众号？
文末写着“转载请注明出处”几个字。
老师让我们扫码进群。
他每天求关注、求点赞，像个孩子。
这款手机发布于2018年，当年卖出三百万台。
该标准最初发布于1999-10-22，后来修订过两次。
这部词典编辑于明代万历年间。
本书编辑于1921年，出版于1923年。
他发布于网上的照片引来许多点赞。
孩子哭闹往往是在寻求关注。
她一心求关注，反而没有人理她。
许多博主为了求点赞，什么都肯拍。
我扫码付了款，拿着咖啡走了。
乘客扫码进站，几秒钟就能通过闸机。
商家在桌上贴了二维码，客人扫码点餐。
扫码登录比输入密码更安全。
只要扫描二维码就可以骑走一辆单车。
老人不会扫码，志愿者就一个个地教。
二维码的原理是把信息编成黑白方块。
小王加了她的微信，两个人聊到半夜。
他想加我的微信，我没有同意。
妈妈让我加老师的微信，问一问作业。
添加好友的方法是打开微信，点击右上角的加号。
打开微信，点击“发现”，再点击“扫一扫”。
如何关注公众号？
关注公众号之后，用户可以收到文章推送。
公众号分为订阅号和服务号两种。
我们的公众号一共有三万名读者。
她的公众号每周更新两次。
这家报社的公众号发布了一则消息。
学校在公众号上公布了录取名单。
我关注了很多公众号，却很少看。
我们应当关注我们身边的老人。
请大家关注天气变化，注意安全。
请关注孩子的心理健康。
请持续关注病情变化，必要时复诊。
欢迎关注本次展览的人都来看看。
点击链接可能会下载病毒。
点击右上角的按钮，即可保存文件。
不要随便点击陌生人发来的链接。
点击“关注”按钮后，按钮会变成灰色。
如果点击蓝色的字，页面会跳转到词条。
请阅读原文后回答问题。
阅读原文比看译本更有味道。
学生先阅读原文，再讨论。
未经许可不得转载是著作权法的一项规定。
未经他人许可，不得使用其肖像。
网站转载文章，应当支付报酬。
这篇文章被多家媒体转载。
版权所有人死亡后，版权由继承人享有。
版权属于作者，出版社只有使用权。
这首歌的版权归唱片公司所有。
法院认定该软件的著作权归原告所有。
免责声明常见于保险合同。
免责声明：一种限制责任的法律文书。
合同里的免责声明不一定有效。
如果侵权，应当承担赔偿责任。
商标侵权的认定有三个要件。
发现侵权行为，可以联系律师。
微信是腾讯公司推出的聊天软件。
微信号可以修改一次。
微信群里每天都有上百条消息。
骗子说：“加我微信，我带你赚钱。”
店员笑着说：“扫码关注公众号，可以打九折。”
海报上写着“扫码领取礼品”，围观的人不少。
他在朋友圈里写道：“求点赞！”
“点击上方蓝字关注我们”是公众号文章里常见的一句话。
他回复“收到”，就挂了电话。
后台回复的留言很多，她看了一夜。
关注我们的未来，就是关注教育。
居民打开手机，关注社区公众号，就能预约挂号。
记者扫描二维码，看到了商品的产地信息。
第一步，扫描屏幕上的二维码；第二步，在手机上确认。
用手机扫一扫，就能知道这是什么花。
长按电源键三秒即可关机。
长按图片可以保存到相册。
编辑于是把稿子退了回去。
他负责转载请求的审批。
老师要求转载时注明出处，大家都照做了。
我在公众号后台回复读者的问题。
她每天在后台回复几百条私信。
请把二维码贴在门口。
请出示健康码，并扫码登记。
进入医院请扫码，并佩戴口罩。
请先扫码付款，再取货。
您可以扫码查看药品的生产日期。
公众号名称：不超过三十个字。
微信：绿色图标；QQ：企鹅图标。
QQ群是多人聊天的地方。
欢迎来到我的家乡，这里有山有水。
更多的人开始关注公众号上的文章。
更多人选择关注我们身边的小事。
为了让更多人关注我们的工作，他拍了一部短片。
他希望大家关注我们，支持我们。
可以关注我们学校的动态。
""".strip().split("\n")


@pytest.mark.parametrize("text", CALLS)
def test_calls_and_notices_go(text: str) -> None:
    assert has_boilerplate(text)
    after, cut = without_boilerplate(f"{BEFORE}\n{text}\n{AFTER}")
    assert (after, "".join(cut)) == (f"{BEFORE}\n\n{AFTER}", text)


@pytest.mark.parametrize("text", PROSE)
def test_what_only_speaks_of_them_stays(text: str) -> None:
    """On a line of its own, within a paragraph, and as a quotation."""
    for whole in (text, f"{BEFORE}\n{text}\n{AFTER}", f"{BEFORE}{text}{AFTER}"):
        assert without_boilerplate(whole) == (whole, [])


@pytest.mark.parametrize("text", CALLS)
def test_what_somebody_says_stays(text: str) -> None:
    if "”" not in text:
        for said in (
            f"他笑着说：“{text}”客人点点头。",
            f"“{text}”他说。",
            f"他说：“你好。{text}再见。”",
            f"他说：“你好。\n{text}\n再见。”",
        ):
            assert without_boilerplate(said) == (said, []), said


def test_the_date_of_an_edit_is_a_notice_on_a_line_of_its_own() -> None:
    assert without_boilerplate(f"{BEFORE}\n\n编辑于 2021-05-01\n") == (BEFORE, ["编辑于 2021-05-01"])
    for prose in (
        "《甲史》共三卷，它编辑于1984年。",
        "演示操作系统发布于2009年10月22日，是一款操作系统。",
        "这份稿子编辑于 2021-05-01，后来又改过。",
    ):
        assert not has_boilerplate(prose)
        assert not has_boilerplate(f"{BEFORE}\n{prose}\n{AFTER}")


def test_no_half_pair_is_left() -> None:
    for text, kept in (
        (f"{BEFORE}（关注公众号“甲乙”，了解更多。）{AFTER}", f"{BEFORE}{AFTER}"),
        (f"{BEFORE}【更多精彩，请关注我们！】{AFTER}", f"{BEFORE}{AFTER}"),
        (f"{BEFORE}**欢迎关注我们的公众号！**{AFTER}", f"{BEFORE}{AFTER}"),
        (f"{BEFORE}“好。”欢迎关注我们的公众号！{AFTER}", f"{BEFORE}“好。”{AFTER}"),
        ("三相电缆（微信公众号：水电知识）用于输电。", "三相电缆用于输电。"),
        ("三相电缆（公众号是一种媒体）用于输电。", "三相电缆（公众号是一种媒体）用于输电。"),
        (f"他说：“先关注我们的公众号。”客人点点头。{AFTER}", f"他说：“先关注我们的公众号。”客人点点头。{AFTER}"),
    ):
        assert without_boilerplate(text)[0] == kept


def test_a_sentence_that_says_something_else_stays() -> None:
    for text in (
        "客运站今天恢复了大部分线路，发往南山和北河的班车暂时停开，请乘坐其他班车出行，关注“客运发布”公众号。",
        "点击关注，了解更多内容颈椎病多是因为长期低头造成的，平时要多活动，少看手机，睡觉时枕头不要太高。",
    ):
        assert without_boilerplate(text) == (text, [])


def test_code_and_tables_hold_none() -> None:
    for text in (
        "```\n关注我们的公众号！\n```",
        "| 名称 | 说明 |\n|---|---|\n| 甲 | 欢迎关注我们 |",
        'print("公众号：甲乙")',
        "f(关注我们的公众号)",
    ):
        assert without_boilerplate(text) == (text, [])


def test_every_cut_is_in_the_ledger() -> None:
    text = f"{BEFORE}欢迎关注我们的公众号！\n\n\n{AFTER}\n\n转载请注明出处。\n"
    ledger = Ledger()
    after, cut = without_boilerplate(text, ledger)
    assert after == f"{BEFORE}\n\n{AFTER}"
    told = [(detail, less) for rule, detail, less, _, _ in ledger.entries if rule == "advertising"]
    assert told == [("call", len(cut[0])), ("notice", len(cut[1]))]
    assert len(text) - len(after) == sum(less - more for _, _, less, more, _ in ledger.entries)


MARKS = st.lists(
    st.sampled_from([*'“”「」（）()【】"。！？*，\n', "关注我们", "他说", "扫码领取", "转载请注明出处"]), max_size=30
).map("".join)


@given(MARKS)
def test_sentences_are_the_line(line: str) -> None:
    line = line.replace("\n", "")
    assert "".join(line[start:end] for start, end in sentences(line)) == line


@given(MARKS)
def test_cuts_leave_pairs_whole(text: str) -> None:
    """What is cut has as many brackets and quotes that open as close, unless the line itself has halves."""
    places = list(found(text))
    assert all(start < end for start, end, _ in places)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(places))
    for start, end, _ in places:
        for opener, closer in ("“”", "「」"):
            assert text[start:end].count(opener) == text[start:end].count(closer)


@pytest.mark.parametrize(
    "hostile", ["更多", "快来", "点击", "扫码", "关注", "转载", "图文", "“", "（", "微信：", "本站", "版权", "长按识别二维码"]
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    has_boilerplate(hostile * (20_000 // len(hostile)))
    has_boilerplate(f"{hostile}，" * 6_000)
    has_boilerplate(f"（“{hostile}】" * 6_000)
    has_boilerplate(f"扫码。（{hostile}）" * 4_000)
