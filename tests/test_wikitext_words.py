"""Templates of wikitext that stand for words, measures or what a page knows of itself."""

from __future__ import annotations

import pytest

from tasks.text import functions
from tasks.text.functions import PageFacts
from tasks.text.wikitext import plain_text

FACTS = PageFacts("某国/历史", "2019-03-05T07:08:09Z")


def text(wikitext: str) -> str:
    return plain_text(wikitext, facts=FACTS)


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("5|ft|6|in|m", "5英尺6英寸"),
        ("5|feet|6|inches|m", "5英尺6英寸"),
        ("6|ft|2+1/2|in|cm", "6英尺2 1/2英寸"),
        ("2|or|3|km|mi", "2或3公里"),
        ("2|and|3|km", "2和3公里"),
        ("2|to|3|km", "2至3公里"),
        ("2|to(-)|3|km", "2至3公里"),
        ("2|-|3|km", "2-3公里"),
        ("2|–|3|km", "2–3公里"),
        ("2|&ndash;|3|km", "2–3公里"),
        ("10|±|2|km", "10±2公里"),
        ("10|+/-|2|km", "10±2公里"),
        ("3|x|4|x|5|m", "3×4×5米"),
        ("3|×|4|m|ft", "3×4米"),
        ("3|by|4|m", "3×4米"),
        ("3|+|4|km", "3+4公里"),
        ("3|,|4|and|5|km", "3，4和5公里"),
        ("3|至|4|km", "3至4公里"),
        ("10|lb|4|oz", "10磅4盎司"),
        ("9|st|7|lb|kg", "9英石7磅"),
        ("1|mi|20|yd|2|ft|km", "1英里20码2英尺"),
        ("1|h|30|min", "1小时30分钟"),
        ("5|km|and|10|km", "5公里和10公里"),
        ("5|km|mi|1", "5公里"),  # how exactly it is converted is no part of the measure
        ("1.75|m|ftin|0", "1.75米"),
        ("5+1/2|in", "5 1/2英寸"),
        ("1/2|mi", "1/2英里"),
        ("2.5e6|km", "2.5×10⁶公里"),
        ("−40|°C|°F", "−40°C"),
        ("60|km/h|mph", "60公里/小时"),
        ("30|m2|sqft", "30平方米"),
        ("30|sqmi|km2", "30平方英里"),
        ("7|MW", "7兆瓦"),
        ("7|mW", "7毫瓦"),
        ("12|nmi|km", "12海里"),
        ("4|acre.ft", "4 acre.ft"),  # a unit that the table lacks stays as it is written
        ("4|zorkmid|6|grot|m", "4 zorkmid 6 grot"),
        ("4|thru|6|km|mi", "4 thru 6公里"),  # and so does a word between two values
        ("4|约至|6|km", "4约至6公里"),
    ],
)
def test_measures(measure: str, words: str) -> None:
    for name in ("convert", "Cvt"):
        assert text(f"长{{{{{name}|{measure}|abbr=on}}}}。") == f"长{words}。"


@pytest.mark.parametrize(
    ("wikitext", "words"),
    [
        ("{{langx|en|harbour}}，{{langx|fr|port|label=none}}", "英语：harbour，port"),
        ("{{native name|de|Hafenstadt}}", "Hafenstadt"),
        ("{{lj|港町}}的{{專名|蘇州}}，见{{書名|地方志}}和{{书名|县志}}、{{专名|杭州}}", "港町的蘇州，见地方志和县志、杭州"),
        ("{{linktext|火|車|站}}，{{linktext|steam|engine}}", "火車站，steam engine"),
        ("{{截至|2012年|3月}}、{{截至|2012年3月}}、{{截至|2012|3|4}}", "截至2012年3月、截至2012年3月、截至2012年3月4日"),
        ("{{as of|2012|March|4}}、{{as of|2012|alt=那年}}、{{as of|2012|since=y}}", "截至2012年3月4日、那年、自2012年起"),
        ("{{start date|2012|Mar|4}}、{{date|2012-03}}、{{date|春天}}", "2012年3月4日、2012年3月、春天"),
        ("{{gaps|12|345|678}}、{{gaps|9.109|38|e=-31|u=kg}}", "12345678、9.10938×10⁻³¹ kg"),
        ("{{val|5.4|0.3|u=kg}}、{{val|2|e=6|u=m}}、{{val|1.674|8}}", "5.4±0.3 kg、2×10⁶ m、1.674(8)"),
        ("{{fb|BRA}}对{{fb|ENG}}和{{fb|XYZ}}，{{flag|JPN}}", "巴西对英格兰和XYZ，日本"),
        ("身高{{height|m=1.78}}，即{{height|ft=5|in=10}}", "身高1.78米，即5英尺10英寸"),
        ("{{not a typo|teh}}与{{sic|recieve}}", "teh与recieve"),
        ("词{{en|steam}}与{{la|vapor}}", "词steam与vapor"),
        ("[http://a.b 网站] {{en}}", "网站"),
        ("音{{IPAc-en|k|ə|ˈ|n|æ|l|audio=x.ogg}}、{{IPA-fr|kanal|lang}}", "音/kəˈnæl/、[kanal]"),
        ("他看了{{youtube|aB3dE6gH9jK|一段录像}}后走了", "他看了一段录像后走了"),
        ("{{読み仮名|運河|うんが}}は", "運河（うんが）は"),
        ("{{chem|SO|4|2-}}、{{chem|NH|4|+}}、{{chem2|Ca(OH)2}}、{{chem2|SO4(2-)}}、{{CO2}}", "SO₄²⁻、NH₄⁺、Ca(OH)₂、SO₄²⁻、CO₂"),
        ("{{nuclide|铀|235}}、{{link-interwiki|zh=甲城|lang=en|lang_title=A}}", "²³⁵铀、甲城"),
        ("{{illm|甲校|en|A}}、{{ilh|lang-code=en|甲校|A}}、{{ilh|en|A|甲校}}", "甲校、甲校、甲校"),
        (
            "{{出生日期及年龄|1990|2|3}}、{{死亡日期與年齡|1990|2|3|1900|1|1}}、{{asof|2015}}",
            "1990年2月3日、1990年2月3日、截至2015年",
        ),
        ("{{jpn|j=東京|hg=とうきょう}}、{{kor|hj=漢城}}、{{JPN}}", "日语：東京；假名：とうきょう、汉字：漢城、日本"),
        ("{{langwithname|ja|日語|さくら}}、{{ruby-zh-p|尴|gān}}尬、{{wikt-lang|en|cat}}", "日語：さくら、尴尬、cat"),
        ("{{lang-yue|食飯}}、{{langx|eu|bat}}、{{lang-sh|grad}}", "粤语：食飯、巴斯克语：bat、塞尔维亚-克罗地亚语：grad"),
        # a colour of the ground between the colour and the words; a number before the words of a message
        ("{{color|red|甲}}{{color|red||乙}}{{color|#fff|#000|丙}}{{color|red|丁|戊}}", "甲乙丙丁"),
        ("后来{{twitter|abc|123456|有人问起}}才知道{{twitter|abc|123456}}。", "后来有人问起才知道。"),
        ("见{{abbrlink|GDP|国内生产总值}}{{NumBlk|:|式|1}}，{{equationref|2}}", "见GDP式，2"),
        # a template nobody listed, in a sentence and with words for its only argument
        ("他姓{{某字|龘}}，住{{某链接|一}}楼", "他姓龘，住一楼"),
        ("他住在{{某镇链接|青石镇}}附近。", "他住在青石镇附近。"),
        ("他住在镇上{{rp|青石页}}，{{某镇图标|青石}}在{{未列出|a|b}}那里{{未列出|12}}。", "他住在镇上，在那里。"),
        ("{{某通告|此条目需要扩充}}\n正文", "正文"),
    ],
)
def test_templates_that_stand_for_words(wikitext: str, words: str) -> None:
    assert text(wikitext) == words


@pytest.mark.parametrize(
    ("wikitext", "words"),
    [
        ("{{PAGENAME}}、{{FULLPAGENAME}}、{{BASEPAGENAME}}、{{SUBPAGENAME}}", "某国/历史、某国/历史、某国、历史"),
        ("{{CURRENTYEAR}}年{{CURRENTMONTH1}}月{{CURRENTDAY}}日，{{LOCALTIME}}，{{REVISIONMONTH}}", "2019年3月5日，07:08，03"),
        ("{{#if:|甲|乙}}{{#if: 有 |丙|丁}}{{#if:{{{1|}}}|戊|己}}", "乙丙己"),
        ("{{#ifeq:a|a|甲|乙}}{{#ifeq:1|1.0|丙|丁}}{{#ifeq:a|b|戊}}", "甲丙"),
        ("{{#switch:b|a=甲|b|c=乙|丙}}{{#switch:z|a=甲|丙}}{{#switch:z|a=甲|#default=丁}}", "乙丙丁"),
        ("{{#expr:2*(3+4)}}、{{#expr:10/4}}、{{#expr:10/3 round 2}}、{{#ifexpr:2>1|甲|乙}}", "14、2.5、3.33、甲"),
        (
            "{{#expr:floor(7/2)}}、{{#expr:trunc 3.9}}、{{#expr:ceil(2.1)+abs(-5)}}、{{#expr:-7 mod 3}}、{{#expr:2*pi round 2}}",
            "3、3、8、-1、6.28",
        ),
        ("{{#time:Y年n月j日|2010-01-02}}、{{#time:m/d|2010/3/4}}甲{{#time:Y年}}{{#time:H|2010-01-02}}", "2010年1月2日、03/04甲"),
        ("{{lc:ABC}}{{uc:def}}{{ucfirst:ghi}}{{lcfirst:JKL}}", "abcDEFGhijKL"),
        ("{{formatnum:1234567.5}}、{{formatnum:1,234|R}}、{{padleft:7|3}}", "1,234,567.5、1234、007"),
        ("甲{{#tag:span|乙|style=x}}{{#tag:ref|丙}}丁", "甲乙丁"),
        ("{{DEFAULTSORT:某国}}{{DISPLAYTITLE:某 国}}文", "文"),
        ("{{#if:|{{lang|fr|oui}}|{{lang|fr|non}}}}", "non"),
        # what only the wiki knows is left out
        ("甲{{#if:{{某事|1}}|乙|丙}}丁{{NUMBEROFARTICLES}}{{#invoke:某模块|某}}", "甲丁"),
    ],
)
def test_variables_and_parser_functions(wikitext: str, words: str) -> None:
    assert text(wikitext) == words


def test_what_is_not_known_of_a_page_is_left_out() -> None:
    assert plain_text("甲{{PAGENAME}}乙{{CURRENTYEAR}}") == "甲乙"


@pytest.mark.parametrize(
    "expression", ["1/0", "(" * 500 + "1", "9^9^9^9^9", "1+", "a", "-8^0.5^", "1 round 400", "5 mod 0", "2*" * 90]
)
def test_an_expression_that_has_no_value(expression: str) -> None:
    assert functions.function(f"#expr:{expression}") is None
