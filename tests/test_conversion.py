"""Traditional and simplified text side by side: simplified text stays, traditional is converted, and what is mentioned stays as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import conversion
from tasks.text.ledger import Ledger
from tasks.text.script import simplify

STAYS = """
他打坏了玻璃，不要破坏土壤。
捏坏
毛坏
坏子
这块坏布不要了
把拉坏的拉链换掉
沈默是一位演员
沈醉写了回忆录，沈浮和沈重是他的学生。
沈括和魏徵
魏徵是唐太宗时期的谏臣
李昇建立南唐，於陵子仲说他住在於陵。
後藤在东京读书
林珮瑜与载濬是他们的同学
我爱妳
他揹着书包上学
磺胺甲噁唑片说明书
细雨濛濛，飞絮无声
他说「你好」，又说『再见』。
“发”对应的繁体字有哪些？
出发的“發”和头发的“髮”
台湾的引号写作「」和『』
日语中写作“図書館”
日语中写作図書館
“龙”的繁体字是龍，“龟”的繁体字是龜。
他用“龍”字做标题。
冬日烈烈，飘风发发。民莫不穀，我独何害？
国（國）、发（發、髮）都要记住
图书馆（圖書館）是藏书的地方
泪—淚，这是一对异体字
请把下面的繁体字转换成简体字：我愛中國
请把下面的繁体字转换成简体字：⏎我愛中國⏎你們好
台湾叫做“計程車”
《進撃の巨人》是一部动画
门口的匾额上题字“積善之家”，笔力很足
详见 https://example.org/wiki/圖書館 这一页
「」里的内容
"""

CONVERTED = """
這是繁體中文。这是简体中文，魏徵、沈醉都是人名。→这是繁体中文。这是简体中文，魏徵、沈醉都是人名。
他位於台北。這是第二句。→他位于台北。这是第二句。
他說「你好」，又說『再見』。→他说“你好”，又说‘再见’。
他说：“我愛中國。”→他说：“我爱中国。”
「發」和「髮」的簡體都寫作「发」。→“發”和“髮”的简体都写作“发”。
引號寫作「」和『』→引号写作「」和『』
第一段是简体。⏎第二段是繁體，寫於台北，後來再版。→第一段是简体。⏎第二段是繁体，写于台北，后来再版。
陶工把土坏放進窯裡→陶工把土坯放进窑里
他把電腦打坏了→他把电脑打坏了
孫悟空駕著觔斗雲，翻了個觔斗→孙悟空驾着筋斗云，翻了个筋斗
鎔化的鐵與朱鎔基→熔化的铁与朱镕基
敵軍用砲轟城，士兵放下鎗→敌军用炮轰城，士兵放下枪
姪子揹著書包，瞇起眼睛→侄子背着书包，眯起眼睛
踫到隄防，籐椅賸下兩把→碰到堤防，藤椅剩下两把
傚法古人，勦滅匪徒，模糢糊糊→效法古人，剿灭匪徒，模模糊糊
瓖嵌寶石的餽贈，暱稱，搆想，伕役，慇懃→镶嵌宝石的馈赠，昵称，构想，夫役，殷勤
痲疹疫苗，雞毛撢子，嘍儸，玉珮，疏濬→麻疹疫苗，鸡毛掸子，喽啰，玉佩，疏浚
「乾」字讀作「ㄍㄢ」，「體」字的筆畫很多→“乾”字读作“ㄍㄢ”，“體”字的笔画很多
請將下列繁體字轉換成簡體字：龍飛鳳舞→请将下列繁体字转换成简体字：龍飛鳳舞
請把這些話改寫成簡體中文：⏎今天天氣很好。⏎我們去公園。→请把这些话改写成简体中文：⏎今天天氣很好。⏎我們去公園。
請把「學習」改寫成簡體字，再造句→请把“學習”改写成简体字，再造句
「台灣」的繁體寫法是「臺灣」→“台灣”的繁体写法是“臺灣”
這本書有繁體版，書名是「學習」→这本书有繁体版，书名是“学习”
么兒問：為什麼么女那麼小？→幺儿问：为什么幺女那么小？
消息石沈大海，夕陽西沈，沈先生說→消息石沉大海，夕阳西沉，沈先生说
慰藉著受傷的心靈→慰藉着受伤的心灵
這塊噁唑很噁心→这块噁唑很恶心
"""

# characters of Big5's common level that 通用规范汉字表 has (kTGH in Unihan 15), though GB 2312 has not: they stay, or are what OpenCC says
PRINTED = (
    "伋沘佺泜玥芣昤洸疢祇耑郃堉崁晅浬浥珪砠祐訏軏迺偭惇敔晞訢棻湣湲焜琯甦絰詖鈇僇勣暘硿鄗雊僎槃鄘墦奭嶔潟瞋褕頫澦澴璘璟錡鴒濩瞭縯鍚檮"
    "儸穠鎔颺儳醱巉躂騵矓囉籥臢鑪"
)
# and those for which none of the sources has another form
WITHOUT = (
    "汍呎抆杗劻姅沬帟屘栘涊訑偯屝梱梡梂脰脤釭愒湩塭暍楛煆詻詨跦僩嘐塽榣箄裯誧鉼儅潠踡鴃穋豭擭歜毚縿褽燸霤韹鯈蘗鶸觼欐籣釆橾吋"
)

# what conversion changes in sentences of the real files that are simplified, each with how many times it may: stray characters of the other script
LISTED = """
卻却62 稅税22 復复18 鄴邺17 黃黄12 硃朱10 恆恒10 齧啮9 査查8 闇暗8 於于7 汙污7 蟲虫6 麼么6 」”6 攝摄6 閒闲6 見见5 沒没5 駉𬳶5 踰逾5 綈绨5 貍狸5 縲缧5
蹠跖5 鍼针5 峯峰5 遼辽5 別别4 啟启4 選选4 鬚须4 著着4 旂旗4 讎雠4 暢畅4 燬毁4 蘭兰4 涼凉4 機机4 槓杠4 會会4 裡里3 現现3 殢𣨼3 瀰弥3 彊强3 後后3 燉炖3
霑沾3 羋芈3 輓挽3 幹干3 懟怼3 洩泄3 準准3 唸念3 岡冈3 長长2 爲为2 無无2 餓饿2 鏡镜2 噁恶2 給给2 況况2 勻匀2 顯显2 變变2 強强2 脹胀2 內内2 衆众2 烏乌2
鴉鸦2 沈沉2 藉借2 餱糇2 櫱蘖2 脣唇2 譁哗2 獫猃2 犛牦2 甕瓮2 韝鞲2 駔驵2 氂牦2 剷铲2 蝟猬2 園园2 鉤钩2 潛潜2 澮浍2 榦干2 陽阳2 過过2 泝溯2 殺杀2 釦扣2
幾几2 絛绦2 淩凌2 姦奸2 喲哟2 習习2 還还2 維维2 滬沪2 湊凑2 書书2 儲储2 時时2 來来2 搖摇2 滾滚2 這这2 館馆2 細细2 務务2 淺浅2 異异2 衛卫2 鍋锅2 敗败1
讀读1 張张1 災灾1 節节1 則则1 築筑1 賸剩1 襲袭1 禮礼1 問问1 蝕蚀1 錦锦1 鋰锂1 載载1 臟脏1 飲饮1 應应1 針针1 對对1 請请1 擇择1 靜静1 冑胄1 語语1 麽么1
稜棱1 拚拼1 嚬颦1 锺钟1 珮佩1 蝀𬟽1 靦腼1 頍𫠆1 鞦秋1 輳辏1 穫获1 佔占1 灝灏1 鸕鸬1 櫧槠1 蔘参1 嫺娴1 菴庵1 齲龋1 搧扇1 譾谫1 匭匦1 韜韬1 濰潍1 鯱𩾇1
彫雕1 壙圹1 廕荫1 塊块1 槨椁1 錟锬1 鮐鲐1 皁皂1 廢废1 鹵卤1 覈核1 塗涂1 迴回1 齮𬺈1 複复1 臚胪1 廡庑1 繢缋1 齶腭1 崑昆1 塵尘1 汎泛1 寀采1 闞阚1 監监1
軨𫐉1 諮咨1 報报1 丟丢1 灣湾1 橫横1 痠酸1 雲云1 豐丰1 紅红1 樁桩1 檭𣘴1 馬马1 貴贵1 鴟鸱1 癢痒1 溫温1 讓让1 頻频1 葉叶1 隸隶1 錄录1 論论1 換换1 龍龙1
順顺1 計计1 眾众1 義义1 倫伦1 記记1 創创1 極极1 師师1 隨随1 揮挥1 發发1 揚扬1 專专1 業业1 醫医1 療疗1 奧奥1 裝装1 約约1 瑪玛1 牆墙1 興兴1 頭头1 誇夸1
嚇吓1 濆𣸣1 數数1 據据1 國国1 響响1 歡欢1 導导1 覽览1 達达1 種种1 學学1 遠远1 龐庞1 』’1 殻壳1 樹树1 戶户1 動动1 漁渔1 軒轩1 擁拥1 認认1 劍剑1 餃饺1
婦妇1 蒔莳1 徹彻1 愛爱1 鮎鲇1 諏诹1 訪访1
"""


@pytest.mark.parametrize("text", STAYS.strip().split("\n"))
def test_simplified_text_stays(text: str) -> None:
    text = text.replace("⏎", "\n")
    assert simplify(text) == text


@pytest.mark.parametrize("line", CONVERTED.strip().split("\n"))
def test_traditional_clauses_are_converted(line: str) -> None:
    traditional, simplified = line.replace("⏎", "\n").split("→")
    assert simplify(traditional) == simplified
    assert simplify(simplified) == simplified
    assert simplify(traditional + "\n" + "这句话是简体的，没有别的。" * 40).startswith(simplified + "\n")


def test_variants_in_a_text_of_both_scripts_are_no_slips() -> None:
    both = "這個學說與軍隊有關，後來又變了。军事学与甚多範畴有关，主要與战争有关。"
    assert simplify(both) == "这个学说与军队有关，后来又变了。军事学与甚多范畴有关，主要与战争有关。"
    assert simplify("这位老师叫张雨濛，住在城北。") == "这位老师叫张雨濛，住在城北。"


def test_measures_have_their_names_of_two_characters() -> None:
    assert simplify("8吋晶圓與5英呎的鋼管") == "8英寸晶圆与5英尺的钢管"
    assert simplify("時速五十哩，還有 3 哩，別急哩！") == "时速五十英里，还有 3英里，别急哩！"


def test_every_character_of_big5s_common_level_is_printed_in_simplified_text() -> None:
    codes = [bytes([high, low]) for high in range(0xA4, 0xC7) for low in (*range(0x40, 0x7F), *range(0xA1, 0xFF))]
    common = [code.decode("big5") for code in codes if code <= b"\xc6\x7e"]
    assert len(common) == 5401
    left = {character for character in common if not conversion.is_printed(simplify(character))}
    assert left == {*PRINTED, *WITHOUT} - {"瓖"}


def test_the_ledger_counts_changed_characters() -> None:
    ledger = Ledger()
    assert simplify("這是書。这是书。", ledger) == "这是书。这是书。"
    assert ledger.entries == [("conversion", "", 0, 0, 2)]
    assert simplify("这是书。", ledger) and len(ledger.entries) == 1


@given(st.text(alphabet="他看著名書乾隆慰藉於是這这們国國「」“”（）發发写寫繁体簡體坏。，\n:/の", max_size=40))
def test_length_stays_and_a_second_pass_changes_little(text: str) -> None:
    once = simplify(text)
    assert len(once) == len(text)
    assert simplify(simplify(once)) == simplify(once)


@pytest.mark.slow
def test_a_million_simplified_sentences_stay_but_for_those_listed(real_data: Path) -> None:
    sentences, _, changed = conversion.changes(real_data)
    listed = Counter({word[:2]: int(word[2:]) for word in LISTED.split()})
    assert sentences > 1_000_000
    assert not changed - listed


@pytest.mark.slow
def test_a_thousand_traditional_sentences_are_converted(real_data: Path) -> None:
    drawn, kept = conversion.left(real_data, 1000)
    assert drawn == 1000
    assert kept.total() <= 10  # quoted Japanese
