"""著 that is 着 in simplified Chinese, and 著 that stays."""

from __future__ import annotations

import pytest

from tasks.text.script import simplify

WROTE = "李白著的詩集 魯迅著的小說 錢穆著的書 老舍著的劇本 馮友蘭著的哲學史 莎士比亞著的戲劇 陳立著的書 他著的書 他們著的書"
WROTE += " 由張愛玲著的小說 這本書由劉慈欣著。 曹雪芹著《紅樓夢》 李白著詩千首 羅素著，何兆武譯 班固著。"
WORK = "歐陽修著作等身 著名畫家 訪問著名作家 展示著名作品 閱讀著作 出版著作 顯著的變化 所著的書 見微知著 以美麗著稱 著書立說 編著的教材 著錄於書目"
WORK += " 經典著作 他的經典著作 筆名著作 原著者 所著作品 他所著作品 仰屋著書 皇皇巨著 臭名昭著 信譽卓著 鴻篇巨著 學術著作權 文學名著譯本"
PARTICLE = "帶著名片 看著作業 寫著名字 隨著名氣上升 跟著作者走 帶著作品參展 握著名片 遞著名單 翻著作業 有著名氣 看著書 讀著文章"
PARTICLE += " 抱著書 談論著作品 湊合著 他所著眼的 所著重的 廁所著火了 穿著者 沿著書架"
PARTICLE += " 他著了涼 燈亮著，這樣"
PARTICLE += (
    " 沉睡著的孩子 燃燒著的火 開放著的花 存在著的問題 站著的老人 學生看著的書 他讀著《論語》 他微笑著。這樣 她深深地愛著！真的"
)
PARTICLE += (
    " 為他著想 小明著急了 大著膽子說 靠近著他說話 議論著這件事 配合著音樂 硬著頭皮說 紅著臉說 睡著了嗎 用不著說 歪打正著了嗎"
)


@pytest.mark.parametrize("text", [*WROTE.split(), *WORK.split()])
def test_to_write_and_a_work_stay(text: str) -> None:
    assert "着" not in simplify(text + "，這樣說。").split("，这")[0]


@pytest.mark.parametrize("text", PARTICLE.split())
def test_the_particle_is_converted(text: str) -> None:
    assert "著" not in simplify(text + "，這樣說。")
