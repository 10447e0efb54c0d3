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

# those that stand before a word as its label alone, since templates with these names may be others
LABELS = LANGUAGES | pairs(
    "yue 粤语, wuu 吴语, nan 闽南语, hak 客家语, cmn 官话, lzh 文言文, gan 赣语, hsn 湘语, cdo 闽东语, ii 彝语, za 壮语, ami 阿美语, "
    "gl 加利西亚语, eu 巴斯克语, oc 奥克语, an 阿拉贡语, ast 阿斯图里亚斯语, mk 马其顿语, bs 波斯尼亚语, sh 塞尔维亚-克罗地亚语, cnr 黑山语, "
    "az 阿塞拜疆语, uz 乌兹别克语, ky 吉尔吉斯语, tg 塔吉克语, tk 土库曼语, tt 鞑靼语, ba 巴什基尔语, cv 楚瓦什语, sah 雅库特语, "
    "ne 尼泊尔语, si 僧伽罗语, te 泰卢固语, ml 马拉雅拉姆语, kn 卡纳达语, mr 马拉地语, gu 古吉拉特语, pa 旁遮普语, or 奥里亚语, as 阿萨姆语, "
    "ks 克什米尔语, sd 信德语, ps 普什图语, ku 库尔德语, dv 迪维希语, pi 巴利语, dz 宗喀语, sw 斯瓦希里语, am 阿姆哈拉语, so 索马里语, "
    "ha 豪萨语, yo 约鲁巴语, ig 伊博语, zu 祖鲁语, xh 科萨语, st 塞索托语, af 南非语, mg 马达加斯加语, rw 卢旺达语, lb 卢森堡语, mt 马耳他语, "
    "gd 苏格兰盖尔语, gv 马恩语, kw 康沃尔语, br 布列塔尼语, sco 低地苏格兰语, fy 弗里西语, nds 低地德语, nb 书面挪威语, nn 新挪威语, fo 法罗语, "
    "se 北萨米语, kl 格陵兰语, mi 毛利语, haw 夏威夷语, sm 萨摩亚语, to 汤加语, fj 斐济语, jv 爪哇语, su 巽他语, ceb 宿务语, fil 菲律宾语, "
    "yi 意第绪语, arc 亚拉姆语, syr 叙利亚语, cop 科普特语, akk 阿卡德语, ang 古英语, got 哥特语, non 古诺尔斯语, cu 教会斯拉夫语, qu 克丘亚语, "
    "gn 瓜拉尼语, nah 纳瓦特尔语, ht 海地克里奥尔语, ab 阿布哈兹语, os 奥塞梯语, ce 车臣语, ota 奥斯曼土耳其语, fro 古法语, tet 德顿语, rm 罗曼什语"
)

COUNTRIES = pairs(
    "chn 中国, prc 中国, cn 中国, roc 中华民国, roc-tw 中华民国, "
    " twn 台湾, hkg 香港, mac 澳门, usa 美国, us 美国, gbr 英国, uk 英国, fra 法国, deu 德国, "
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
