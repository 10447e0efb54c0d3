"""Names that wiki templates stand for by a code: languages, countries and currencies."""

from __future__ import annotations

from tasks.text.measures import pairs

LANGUAGES = pairs(
    "en 英语, ja 日语, jp 日语, ko 韩语, de 德语, fr 法语, ru 俄语, es 西班牙语, it 意大利语, la 拉丁语, pt 葡萄牙语, el 希腊语, "
    "grc 古希腊语, ar 阿拉伯语, nl 荷兰语, vi 越南语, th 泰语, sv 瑞典语, pl 波兰语, cs 捷克语, hu 匈牙利语, fi 芬兰语, da 丹麦语, "
    "no 挪威语, zh 中文, hr 克罗地亚语, sr 塞尔维亚语, sk 斯洛伐克语, sl 斯洛文尼亚语, ca 加泰罗尼亚语, eo 世界语, hy 亚美尼亚语, "
    "ka 格鲁吉亚语, "
    "et 爱沙尼亚语, lv 拉脱维亚语, lt 立陶宛语, is 冰岛语, ga 爱尔兰语, ur 乌尔都语, bn 孟加拉语, ta 泰米尔语, kk 哈萨克语, ug 维吾尔语, "
    "tl 他加禄语, km 高棉语, "
    "lo 老挝语, sq 阿尔巴尼亚语, be 白俄罗斯语, cy 威尔士语, mnc 满语, tr 土耳其语, uk 乌克兰语, he 希伯来语, hi 印地语, fa 波斯语, "
    "mn 蒙古语, bo 藏语, sa 梵语, ms 马来语, id 印尼语, "
    "ro 罗马尼亚语, bg 保加利亚语, my 缅甸语"
)

COUNTRIES = pairs(
    "chn 中国, prc 中国, cn 中国, roc 中华民国, twn 台湾, hkg 香港, mac 澳门, usa 美国, us 美国, gbr 英国, uk 英国, fra 法国, deu 德国, "
    "ger 德国, "
    "ita 意大利, esp 西班牙, por 葡萄牙, ned 荷兰, nld 荷兰, bel 比利时, sui 瑞士, che 瑞士, aut 奥地利, rus 俄罗斯, urs 苏联, "
    "ussr 苏联, ukr 乌克兰, "
    "pol 波兰, cze 捷克, hun 匈牙利, rou 罗马尼亚, bul 保加利亚, gre 希腊, grc 希腊, tur 土耳其, swe 瑞典, nor 挪威, den 丹麦, fin 芬兰, "
    "irl 爱尔兰, "
    "jpn 日本, kor 韩国, prk 朝鲜, vnm 越南, vie 越南, tha 泰国, mys 马来西亚, mas 马来西亚, sgp 新加坡, idn 印度尼西亚, ina 印度尼西亚, "
    "phl 菲律宾, phi 菲律宾, "
    "ind 印度, pak 巴基斯坦, irn 伊朗, iri 伊朗, irq 伊拉克, isr 以色列, sau 沙特阿拉伯, egy 埃及, rsa 南非, zaf 南非, aus 澳大利亚, "
    "nzl 新西兰, "
    "can 加拿大, mex 墨西哥, bra 巴西, arg 阿根廷, chl 智利, chi 智利, col 哥伦比亚, per 秘鲁, cub 古巴"
)
# codes that stand for a country as the argument of a template alone, since templates of these names may be others
TEAMS = COUNTRIES | pairs(
    "eng 英格兰, sco 苏格兰, wal 威尔士, nir 北爱尔兰, cro 克罗地亚, srb 塞尔维亚, svn 斯洛文尼亚, svk 斯洛伐克, isl 冰岛, est 爱沙尼亚, "
    "lva 拉脱维亚, ltu 立陶宛, blr 白俄罗斯, mda 摩尔多瓦, geo 格鲁吉亚, arm 亚美尼亚, aze 阿塞拜疆, alb 阿尔巴尼亚, lux 卢森堡, "
    "bih 波黑, mkd 北马其顿, mne 黑山, mlt 马耳他, cyp 塞浦路斯, mar 摩洛哥, tun 突尼斯, alg 阿尔及利亚, nga 尼日利亚, gha 加纳, "
    "cmr 喀麦隆, civ 科特迪瓦, sen 塞内加尔, mli 马里, ken 肯尼亚, eth 埃塞俄比亚, uru 乌拉圭, par 巴拉圭, bol 玻利维亚, ven 委内瑞拉, "
    "ecu 厄瓜多尔, crc 哥斯达黎加, pan 巴拿马, hon 洪都拉斯, jam 牙买加, qat 卡塔尔, uae 阿联酋, syr 叙利亚, jor 约旦, lbn 黎巴嫩, "
    "kuw 科威特, bhr 巴林, oma 阿曼, uzb 乌兹别克斯坦, kaz 哈萨克斯坦, mgl 蒙古, tpe 中华台北, frg 西德, gdr 东德, tch 捷克斯洛伐克, "
    "yug 南斯拉夫, chi 智利, ksa 沙特阿拉伯, mya 缅甸, cam 柬埔寨, lao 老挝, ned 荷兰, por 葡萄牙, sui 瑞士, rsa 南非"
)

MONEY = pairs(
    "usd 美元, us$ 美元, hkd 港元, hk$ 港元, cny 元人民币, rmb 元人民币, ntd 新台币, nt$ 新台币, twd 新台币, jpy 日元, jp¥ 日元, "
    "eur 欧元, € 欧元, "
    "gbp 英镑, £ 英镑, krw 韩元, aud 澳元, cad 加元, sgd 新加坡元, inr 卢比"
)
