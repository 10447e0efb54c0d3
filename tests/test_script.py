"""Scripts, languages, traditional → simplified."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import script


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [
        ("餅乾與乾燥的麵條", "饼干与干燥的面条"),
        ("乾隆皇帝扭轉乾坤", "乾隆皇帝扭转乾坤"),
        ("李乾順居乾清宮，終日乾乾", "李乾顺居乾清宫，终日乾乾"),
        ("乾清宫", "乾清宫"),
        ("著名作家的著作顯著", "著名作家的著作显著"),
        ("他看著書，隨著音樂睡著了", "他看着书，随着音乐睡着了"),
        ("意味著沉著、執著於著手", "意味着沉着、执着于着手"),
        ("她穿著衣服，有著夢想", "她穿着衣服，有着梦想"),
        ("看著作者發表著作", "看着作者发表著作"),
        ("名著重新出版，重在著重", "名著重新出版，重在着重"),
        ("期待著「舊歲」", "期待着“旧岁”"),
        ("登高瞭望，瞭解情況，一目瞭然", "登高瞭望，了解情况，一目了然"),
        ("祇有神祇", "只有神祇"),
        ("藉口與慰藉，藉著", "借口与慰藉，借着"),
        ("宮商角徵羽，象徵與徵求", "宫商角徵羽，象征与征求"),
        ("皇后在后面，以後再說", "皇后在后面，以后再说"),
        ("畢昇與洪昇", "毕昇与洪昇"),
        ("『史記』", "‘史记’"),
        ("乾瞭解", "干了解"),
    ],
)
def test_simplify(traditional: str, simplified: str) -> None:
    assert script.simplify(traditional) == simplified
    assert script.simplify(simplified) == simplified


# Words that a naive conversion gets wrong, or that are one character in one script and two in the other
WORDS = """
乾隆→乾隆 乾坤→乾坤 乾卦→乾卦 康乾盛世→康乾盛世 乾清宮→乾清宫 乾陵→乾陵 乾縣→乾县 乾道→乾道 乾德→乾德
乾嘉學派→乾嘉学派 乾為天→乾为天 乾元→乾元 乾寧→乾宁 李乾順→李乾顺 顧乾→顾乾 孫乾→孙乾 乾淨→干净 乾燥→干燥
餅乾→饼干 乾杯→干杯 乾脆→干脆 乾涸→干涸 曬乾→晒干 乾糧→干粮 乾媽→干妈 口乾舌燥→口干舌燥 豆腐乾→豆腐干
乾旱→干旱 風乾→风干 乾洗→干洗 乾草→干草 乾瞪眼→干瞪眼 擦乾→擦干 乾枯→干枯 幹部→干部 幹活→干活 能幹→能干
樹幹→树干 骨幹→骨干 幹什麼→干什么 干涉→干涉 若干→若干 干戈→干戈 天干地支→天干地支 著名→著名 顯著→显著
名著→名著 著作→著作 著者→著者 著述→著述 卓著→卓著 編著→编著 原著→原著 土著→土著 著書立說→著书立说
昭著→昭著 專著→专著 巨著→巨著 論著→论著 合著→合著 著稱→著称 著有→著有 著錄→著录 遺著→遗著 看著→看着
隨著→随着 著急→着急 著陸→着陆 沉著→沉着 接著→接着 跟著→跟着 向著→向着 朝著→朝着 沿著→沿着 意味著→意味着
著手→着手 著重→着重 著火→着火 著涼→着凉 著想→着想 著眼→着眼 著落→着落 著迷→着迷 執著→执着 附著→附着
穿著打扮→穿着打扮 衣著→衣着 睡著了→睡着了 有著→有着 帶著→带着 拿著→拿着 走著走著→走着走着 存在著→存在着
笑著說→笑着说 活著→活着 圍繞著→围绕着 面對著→面对着 象徵著→象征着 躺著→躺着 住著→住着 著色→着色 著力→着力
著實→着实 不著邊際→不着边际 歪打正著→歪打正着 用不著→用不着 犯不著→犯不着 找不著→找不着 沒著落→没着落
瞭解→了解 明瞭→明了 一目瞭然→一目了然 瞭望→瞭望 瞭望塔→瞭望塔 瞭如指掌→了如指掌 慰藉→慰藉 狼藉→狼藉
藉口→借口 藉由→借由 藉此→借此 憑藉→凭借 蘊藉→蕴藉 枕藉→枕藉 杯盤狼藉→杯盘狼藉 藉機→借机 藉助→借助
聲名狼藉→声名狼藉 宮商角徵羽→宫商角徵羽 徵求→征求 象徵→象征 特徵→特征 徵兵→征兵 徵收→征收 文徵明→文征明
變徵之聲→变徵之声 夥伴→伙伴 合夥→合伙 傢伙→家伙 一夥→一伙 夥計→伙计 於是→于是 關於→关于 於菟→於菟
樊於期→樊於期 由於→由于 淳于→淳于 剩餘→剩余 其餘→其余 業餘→业余 年年有餘→年年有余 以後→以后 皇后→皇后
皇太后→皇太后 后羿→后羿 王后→王后 后土→后土 然後→然后 西太后→西太后 影后→影后 這裡→这里 裡面→里面
心裡→心里 公里→公里 里程→里程 故里→故里 哪裏→哪里 麵包→面包 麵條→面条 方便麵→方便面 表面→表面 麵粉→面粉
鬥爭→斗争 戰鬥→战斗 北斗→北斗 奮鬥→奋斗 斗笠→斗笠 時鐘→时钟 分鐘→分钟 鍾情→钟情 鍾馗→钟馗 鍾愛→钟爱
錢鍾書→钱锺书 鐘錶→钟表 範圍→范围 模範→模范 范仲淹→范仲淹 規範→规范 嚐試→尝试 品嚐→品尝 嘗試→尝试
未嘗→未尝 甚麼→什么 什麼→什么 怎麼→怎么 甚至→甚至 這麼→这么 要麼→要么 那麼→那么 頭髮→头发 發現→发现
理髮→理发 出發→出发 髮型→发型 白髮→白发 覆蓋→覆盖 答覆→答复 回覆→回复 反覆→反复 復興→复兴 複雜→复杂
重複→重复 顛覆→颠覆 覆沒→覆没 恢復→恢复 翻來覆去→翻来覆去 覆水難收→覆水难收 沈從文→沈从文 沈陽→沈阳
沈沒→沉没 沈默→沉默 沈重→沉重 沈括→沈括 瀋陽→沈阳 沉沒→沉没 深沈→深沉 沈浸→沉浸 沈氏→沈氏 沈著→沉着
生薑→生姜 姜子牙→姜子牙 薑黃→姜黄 憂鬱→忧郁 鬱悶→郁闷 濃郁→浓郁 郁達夫→郁达夫 鬱金香→郁金香 週末→周末
每週→每周 周恩來→周恩来 周圍→周围 週期→周期 一週→一周 迴避→回避 巡迴→巡回 輪迴→轮回 回家→回家 迴響→回响
儘管→尽管 儘量→尽量 盡力→尽力 無盡→无尽 儘快→尽快 臺灣→台湾 台灣→台湾 舞臺→舞台 颱風→台风 天台→天台
櫃檯→柜台 平臺→平台 只有→只有 一隻→一只 祇有→只有 衹要→只要 神祇→神祇 船隻→船只 祇園→祇园 地祇→地祇
不祇→不只 公佈→公布 散佈→散布 布料→布料 佈置→布置 發佈→发布 復甦→复苏 甦醒→苏醒 蘇州→苏州 稻穀→稻谷
山谷→山谷 五穀→五谷 穀物→谷物 慾望→欲望 食慾→食欲 欲速則不達→欲速则不达 治癒→治愈 痊癒→痊愈 癒合→愈合
愈來愈→愈来愈 雜誌→杂志 標誌→标志 志願→志愿 日誌→日志 同志→同志 製造→制造 制度→制度 複製→复制 控制→控制
製作→制作 捨棄→舍弃 宿舍→宿舍 取捨→取舍 施捨→施舍 叮噹→叮当 噹啷→当啷 當然→当然 酒麴→酒曲 歌曲→歌曲
大麯→大曲 曲折→曲折 下雨後→下雨后 後天→后天 天后宮→天后宫 武后→武后 后妃→后妃 秋千→秋千 鞦韆→秋千
秋天→秋天 計畫→计划 計劃→计划 圖畫→图画 刻畫→刻画 衝突→冲突 沖洗→冲洗 緩衝→缓冲 衝擊→冲击 讚美→赞美
贊成→赞成 稱讚→称赞 繫鞋帶→系鞋带 關係→关系 系統→系统 聯繫→联系 維繫→维系 歷史→历史 日曆→日历 經歷→经历
農曆→农历 發卷→发卷 捲起→卷起 試卷→试卷 席捲→席卷 鹹菜→咸菜 咸豐→咸丰 老少咸宜→老少咸宜 鬆開→松开
松樹→松树 輕鬆→轻松 放鬆→放松 遊戲→游戏 游泳→游泳 旅遊→旅游 上游→上游 朴素→朴素 樸素→朴素 朴正熙→朴正熙
采訪→采访 採訪→采访 風采→风采 採用→采用 占領→占领 佔領→占领 占卜→占卜 岳飛→岳飞 山嶽→山岳 五嶽→五岳
唯一→唯一 惟一→惟一 維持→维持 畢昇→毕昇 上昇→上升 晉昇→晋升 洪昇→洪昇 傑出→杰出 周杰倫→周杰伦 姓名→姓名
妳好→你好 牠們→它们 祂→祂 您→您 裏面→里面 裡應外合→里应外合 裏海→里海 线→线 嘆息→叹息 歎息→叹息
喫飯→吃饭 燻魚→熏鱼 韆→千 髒亂→脏乱 內臟→内脏 西藏→西藏 骯髒→肮脏 葉公好龍→叶公好龙 叶韻→叶韵 紅葉→红叶
划船→划船 刮風→刮风 颳風→刮风 向導→向导 嚮導→向导 嚮往→向往 矇騙→蒙骗 濛濛細雨→蒙蒙细雨 蒙古→蒙古
彷彿→仿佛 彷徨→彷徨 徬徨→彷徨 徵信→征信 佈告→布告 瀰漫→弥漫 彌補→弥补 兇手→凶手 吉凶→吉凶 兇猛→凶猛
託付→托付 委託→委托 托盤→托盘 鉅大→巨大 艱鉅→艰巨 傢具→家具 籤名→签名 抽籤→抽签 簽名→签名 牆壁→墙壁
併購→并购 並且→并且 合併→合并 幷→并 污染→污染 汙染→污染 洩漏→泄漏 宣洩→宣泄 洩露→泄露 階段→阶段 慄→栗
戰慄→战栗 栗子→栗子 昏闇→昏暗 闇→暗 菸草→烟草 香菸→香烟 煙火→烟火 偽造→伪造 僞造→伪造 爲了→为了
為了→为了 羣眾→群众 峯會→峰会 牀→床 啓發→启发 啟發→启发 衞生→卫生 粧→妆 鏽→锈 嘯→啸 綫→线 裡→里
纔→才 剛纔→刚才 祕密→秘密 稅務→税务 說話→说话 産品→产品 產品→产品 真實→真实 眞實→真实 戶口→户口
户口→户口 教育→教育 敎育→教育 強烈→强烈 强烈→强烈 緑色→绿色 綠色→绿色 溫度→温度 温度→温度 曏→向
鷄蛋→鸡蛋 雞蛋→鸡蛋 舖→铺 店舖→店铺 麽→么 囉嗦→啰嗦 嘍囉→喽啰 摺疊→折叠 奏摺→奏折 存摺→存折 彆扭→别扭
鼕鼕→冬冬 佔據→占据 遊覽→游览 慼→戚 親戚→亲戚 蔘→参 人蔘→人参 人參→人参 穫→获 收穫→收获 獲得→获得
範→范 滷味→卤味 鹵素→卤素 鬚→须 鬍鬚→胡须 必須→必须 胡適→胡适 鬍子→胡子 胡說→胡说 籲→吁 呼籲→呼吁
長籲短歎→长吁短叹 澱粉→淀粉 白洋淀→白洋淀 醜陋→丑陋 子丑寅卯→子丑寅卯 小丑→小丑 術語→术语 白朮→白术 朮→术
塗改→涂改 涂姓→涂姓 僕人→仆人 前仆後繼→前仆后继 臘肉→腊肉 蠟燭→蜡烛 捲→卷 鬧鐘→闹钟 準備→准备 批准→批准
標準→标准 冬→冬 几案→几案 幾何→几何 茶几→茶几 机→机 機器→机器 合→合 闔家→阖家 合家→合家 盒→盒 吁→吁
據→据 拮据→拮据 證據→证据 適合→适合 余光中→余光中 余→余 稜→棱 稜角→棱角 沓→沓 雲→云 云云→云云
人云亦云→人云亦云 子曰詩云→子曰诗云 雲南→云南 傳說→传说 丰采→丰采 豐富→丰富 丰→丰 姓於→姓於 鍾先生→钟先生
甚麽→什么 牠的→它的 妳們→你们 藉機會→借机会 藉觀察→借观察 典藉→典藉 衞星→卫星 顯著→显著 走著瞧→走着瞧
"""


@pytest.mark.parametrize("line", WORDS.strip().split("\n"))
def test_words_that_naive_conversion_gets_wrong(line: str) -> None:
    for word in line.split():
        traditional, simplified = word.split("→")
        for text in (traditional, simplified):
            assert script.simplify(text) == simplified, word


def test_names_in_simplified_text_keep_their_characters() -> None:
    text = "萧乾的散文集出版了，乾初律师事务所与乾唐墅项目签约，这本书的作者是孙乾。"
    assert script.simplify(text) == text
    assert script.simplify("他把衣服晾乾了，又吃了饼乾和豆腐乾，皮肤乾燥。") == "他把衣服晾干了，又吃了饼干和豆腐干，皮肤干燥。"


def test_the_particle_before_a_mark_and_the_author_before_it() -> None:
    assert script.simplify("他每天鍛鍊著。她深深地愛著！事情仍在不斷變化著…") == "他每天锻炼着。她深深地爱着！事情仍在不断变化着…"
    assert (
        script.simplify("《哲學史》，羅素著，何兆武譯；《漢書》，班固著。") == "《哲学史》，罗素著，何兆武译；《汉书》，班固著。"
    )


@given(st.text(alphabet="他看著名書乾隆慰藉於是甚麼沈默鍾馗宮商角徵羽祇有「」a1，。瞭解", max_size=30))
def test_a_second_conversion_changes_nothing(text: str) -> None:
    once = script.simplify(text)
    assert script.simplify(once) == once


def test_what_stands_twice_is_one_word() -> None:
    assert script.simplify("人言藉藉著實令他不安") == "人言藉藉着实令他不安"
    assert script.simplify("他藉著燈光讀書") == "他借着灯光读书"
    assert script.simplify("她得到慰藉藉著音樂而來") == "她得到慰藉借着音乐而来"


def test_simplified_text_and_other_scripts_stay() -> None:
    for text in ("这本巨著著于明代，作者著述颇丰，著有三卷。", "他的论著目录", "Hello, world 123", "", "カタカナ"):
        assert script.simplify(text) == text


def test_shares_sum_to_one() -> None:
    found = script.script_shares("中国 ab1。か한д𠀀")
    assert found == {"han": 0.3, "kana": 0.1, "hangul": 0.1, "latin": 0.2, "cyrillic": 0.1, "digit": 0.1, "other": 0.1}
    assert script.han_share("中国 ab") == 0.5
    assert script.han_share(" \n") == 0.0
    assert script.script_counts("𠀀😀　") == {
        "space": 1,
        "han": 1,
        "kana": 0,
        "hangul": 0,
        "latin": 0,
        "cyrillic": 0,
        "digit": 0,
        "other": 1,
    }


@given(st.text())
def test_every_character_is_counted_once(text: str) -> None:
    assert sum(script.script_counts(text).values()) == len(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("数学是研究数量的学科", "zh"),
        ("使用 Python 的 list 来做这件事情", "zh"),
        ("数学は数量を研究する学問です", "ja"),
        (
            "日本動畫《ONE PIECE》（ワンピース）是尾田榮一郎創作的少年漫畫作品，講述了草帽海賊團的冒險故事，銷量超過五億冊。",
            "zh",
        ),
        ("《デリシャスパーティ♥プリキュア》是東映動畫製作的電視動畫，也是系列的第十九部作品，由她們三人擔任主角。", "zh"),
        ("歌曲〈となりのトトロ〉〈さんぽ〉〈ねこバス〉是這部電影的插曲，都為孩子們所喜愛，也是他的代表作。", "zh"),
        ("目的は完了することである。東京タワーは日本の高さ三百三十三メートルの電波塔。", "ja"),
        ("Mathematics is the study of 数", "en"),
        ("수학은 학문이다", "ko"),
        ("Математика", "ru"),
        ("123 …", "other"),
        ("", "other"),
    ],
)
def test_language(text: str, language: str) -> None:
    assert script.main_language(text) == language
    assert script.is_japanese(text) == (language == "ja")


def test_a_quick_look_at_the_language_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    alphabets = ["中国數學的", "かカｶァー・", "abÀZ１２", "한국", "Россия", "，。「」！ \n\u3000", "𠀀😀\ud800䷀㐀"]
    texts = [
        "".join(draw.choices("".join(draw.sample(alphabets, 3)), k=draw.randrange(30))) + "中国" * draw.randrange(9)
        for _ in range(5000)
    ]
    quick = [script.main_language(text) for text in texts]
    seen = [script._plainly_chinese(text) for text in texts]
    monkeypatch.setattr(script, "_plainly_chinese", lambda text: False)
    assert quick == [script.main_language(text) for text in texts]
    assert 500 < sum(seen) < quick.count("zh") < 4500


def test_traditional_share() -> None:
    assert script.traditional_share("这是简体中文，乾隆") == 0.0
    assert script.traditional_share("這是繁體中文") == pytest.approx(2 / 6)
    assert script.traditional_share("no ideographs") == 0.0


def test_real_articles_are_told_by_language(real_data: Path) -> None:
    import bz2
    import html
    import lzma

    from tasks.text.wikitext import plain_text

    def languages(path: str, unpack: Any) -> Counter[str]:
        with unpack.open(real_data / "wiki" / path, "rt", encoding="utf-8") as dump:
            pages = re.findall(r"<page>.*?</page>", dump.read(4_000_000), re.DOTALL)
        texts = [
            html.unescape(found[-1])
            for page in pages
            if "<ns>0" in page and (found := re.findall(r"<text[^>]*>(.*?)</text>", page, re.DOTALL))
        ]
        articles = [plain_text(text) for text in texts if not text.startswith("#")]
        return Counter(script.main_language(text) for text in articles if len(text) > 100)

    japanese = languages("jawiki-20230501-truncated-100k-lines.xml.xz", lzma)
    chinese = languages("komica-zh-hant-assembled-621-articles.xml.bz2", bz2)
    assert set(japanese) == {"ja"}
    assert chinese["ja"] <= 0.01 * chinese.total()


def test_real_traditional_text_is_converted(real_data: Path) -> None:
    lines = (real_data / "sft" / "chinese-vicuna_chat_sample.jsonl").read_text("utf-8").split("\n")
    poems = json.loads((real_data / "pretrain" / "chinese-poetry" / "poet.tang.0.json").read_text("utf-8"))
    texts = [*lines, *("\n".join(poem["paragraphs"]) for poem in poems)]
    simple = [script.simplify(text) for text in texts]
    assert all(script.simplify(text) == text for text in simple)
    assert sum(map(script.traditional_share, simple)) < 0.001 * len(texts)  # 乾乾, 神祇
    assert sum(map(script.traditional_share, texts)) > 0.15 * len(texts)
