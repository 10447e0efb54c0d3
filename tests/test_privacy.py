"""Personal data: found by form and check digit, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.text import privacy


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("电话13812345678。", "phone"),
        ("+86 138-1234-5678", "phone"),
        ("手机：138 1234 5678", "phone"),
        ("总机010-12345678", "phone"),
        ("电话（0571）87654321", "phone"),
        ("１３８１２３４５６７８", "phone"),
        ("邮箱zhang.san+a@mail.example.com.cn，", "email"),
        ("身份证11010519491231002X", "id_number"),
        ("卡号6222 0212 3456 7894 后", "bank_card"),
        ("4111111111111111", "bank_card"),
        ("服务器8.8.8.8:53", "ip"),
        ("http://180.106.80.10:8082/a", "ip"),
        ("来自61.135.169.121的访问", "ip"),
        ("身份证号：110105491231002", "id_number"),
        ("车牌浙A88888", "plate"),
        ("京A·12345已停好", "plate"),
        ("新能源粤BD12345", "plate"),
        ("教练车沪A1234学", "plate"),
        ("QQ：12345678", "account"),
        ("加qq群926525970", "account"),
        ("微信号：abc_1234", "account"),
        ("微信: jxmt678 版权", "account"),
        ("VX：zhang-san88", "account"),
        ("vx: zhang88", "account"),
        ("phone=13812345678&x=1", "phone"),
        ("13812345678，约好了", "phone"),
        ("IP是1.2.3.4", "ip"),
        ("请求发往138.76.29.7:5001", "ip"),
        ("电话：85512345", "phone"),
        ("联系电话是8551234", "phone"),
        ("Tel: 8551-2345", "phone"),
        ("mail a@b.com: please", "email"),
        ("ssh登录失败请写信给a@b.com", "email"),
    ],
)
def test_found(text: str, kind: str) -> None:
    masked, counts = privacy.mask(text)
    assert counts == {kind: 1}
    assert privacy.mask(masked) == (masked, {})


@pytest.mark.parametrize(
    "text",
    [
        "圆周率3.1415926535897932384",
        "订单20191381234567812",
        "110105194912310021",  # a wrong check digit
        "110105194913310024",  # no such month
        "6222021234567890",  # fails the Luhn check
        "127.0.0.1与192.168.1.1",
        "v1.2.3.4，版本 1.2.3.4，1.2.3.4.5",
        "999.1.1.1",
        "12812345678",
        "a@b，@某人，a@b.c",
        "2019-2020年，1,000,000元",
        "哈希3f13812345678ab",
        "1.2.3.1 总则\n3.3.2.2 重建",
        "软件2.30.8.4新版本",
        "ISBN 978-7-111-12345-6，ISBN 9787111123453",
        "型号云JXY691G，粤B2-20080118，京ICP备12345678号",
        "编号110105491231002",
        "身份证号110105499931002",
        "QQ2013正式版，QQ用户12亿，QQ在线20000人",
        "微信支付，微信号称用户10亿，微信公众平台api",
        "售价12999元，人口1380013800万",
        "白细胞5.64.52.9",
        "血压120.80，血糖5.6.7.8，心率76.82.90.71",
        "第1.12.13.4条",
        "参见11.12.13.14节",
        "固件 12.34.56.78，版本号：10.15.17.12，升级到110.115.120.12",
        "git@github.com",
        "git clone git@gitlab.example.com:a/b.git",
        "ssh -p 22 deploy@host.example.com",
        "scp a.txt user@host.example.com:/tmp",
        "deploy@host.example.com:~/app",
        "https://user:pass@host.example.com/x",
        "[root@web1.example.com ~]# ls",
        "icon@2x.png",
        "手机销量8551234台，电话用户8551234户",
        "热线：400-820-8820",
        "他打电话8次，共85512345人次",
        "123456×123456=15241383936",
        "123456的平方等于15241383936。",
        "2的34次方是17179869184，答案是15241383936",
        "15000000000+1",
        "总额13812345678元，共15241383936字节，13812345678.50元",
        "订单号：13812345678",
        "Chrome 112.0.115.138",
        "y = w@x.mean() + a@b.sum(0)",
        '<view wx:for-items="{{list}}" wx:key="id">',
        "vx: boolean, wx:request, 微信：Android、iOS",
        "",
    ],
)
def test_left_alone(text: str) -> None:
    assert privacy.mask(text) == (text, {})


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("电话：029-85512345、85512346", "电话：[电话]、[电话]"),
        ("电话：029-85512345、029-85512346、13812345678", "电话：[电话]、[电话]、[电话]"),
        ("联系电话：(029)85512345，85512347；邮编：710000", "联系电话：[电话]，[电话]；邮编：710000"),
        ("联系方式：张老师 85512345、李老师85512346", "联系方式：张老师 [电话]、李老师[电话]"),
        ("热线：400-820-8820、85512345", "热线：400-820-8820、[电话]"),
        ("电话：029-85512345-801、85512346转12，85512399", "电话：[电话]-801、[电话]转12，[电话]"),
        ("电话/传真：2251361", "电话/传真：[电话]"),
        ("QQ：12345678、87654321", "QQ：[账号]、[账号]"),
    ],
)
def test_lists_of_numbers(text: str, masked: str) -> None:
    assert privacy.mask(text)[0] == masked
    assert privacy.mask(masked) == (masked, {})


def test_mask_says_what_was_there() -> None:
    text, counts = privacy.mask("甲13812345678，乙13912345678，a@b.com")
    assert text == "甲[电话]，乙[电话]，[邮箱]"
    assert counts == {"phone": 2, "email": 1}


WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # as GB 11643-1999 prints them


@settings(max_examples=200, deadline=None)
@given(st.integers(110000, 659999), st.dates(), st.integers(0, 999))
def test_identity_numbers(region: int, born: object, order: int) -> None:
    body = f"{region}{born:%Y%m%d}{order:03d}".replace(" ", "0")
    valid = 1900 <= int(f"{born:%Y}") <= 2100 and len(body) == 17
    right = "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, WEIGHTS, strict=False)) % 11]
    for last in "0123456789X":
        assert privacy.is_id_number(body + last) == (valid and last == right)


@given(st.text("0123456789", min_size=12, max_size=18))
def test_a_card_number_has_one_check_digit(body: str) -> None:
    assert sum(privacy.is_card_number(body + last) for last in "0123456789") == 1


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789１@.-ab电话 [](Xv版本"), max_size=60))
def test_a_second_pass_finds_nothing(text: str) -> None:
    masked, counts = privacy.mask(text)
    found = privacy.find_personal_data(text)
    assert sum(counts.values()) == len(found)
    assert all(one.end <= other.start for one, other in itertools.pairwise(found))
    assert privacy.mask(masked)[0].count("[") >= masked.count("[")


@pytest.mark.parametrize(
    "hostile", ["1", "13812345678 ", "a@", "a.", "1.", "(0571", "4111 ", "电话：85512345、", "ssh a/ ", "QQ12345678、"]
)
def test_hostile_text_takes_linear_time(hostile: str) -> None:
    text = hostile * (200_000 // len(hostile))
    assert privacy.mask(text)[1].get("phone", 0) == text.count("13812345678") + text.count("85512345")


def test_only_the_kinds_asked_for_are_masked() -> None:
    text = "甲13812345678，乙a@b.com，微信号：zhang_san1"
    assert privacy.mask(text, {"email"}) == (
        "甲13812345678，乙[邮箱]，微信号：zhang_san1",
        {"phone": 1, "email": 1, "account": 1},
    )
    assert privacy.mask(text, set()) == (text, {"phone": 1, "email": 1, "account": 1})
    assert privacy.mask(text)[0] == "甲[电话]，乙[邮箱]，微信号：[账号]"


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789１@.-aA电话 [](Xv版本京微信号QQ：·"), max_size=60))
def test_the_quick_look_misses_nothing(text: str) -> None:
    """What the patterns find, they find with the hint: text around it changes nothing."""
    everything = "\n@ 1.1.1.1 0000000000000000 京A 微信"
    kinds = [one.kind for one in privacy.find_personal_data(text)]
    assert [one.kind for one in privacy.find_personal_data(text + everything) if one.start < len(text)] == kinds
