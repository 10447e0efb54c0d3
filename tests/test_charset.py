"""Older encodings, known by what a text would say in each; short files, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.data.rows import BrokenFile, Drop
from tasks.files.charset import charset, guess
from tasks.files.tables import csv_rows
from tasks.formats.registry import reader
from tasks.formats.sniff import sniff

TEXTS = [
    ("cp950", "今天天氣很好，我們去公園散步。\n小明帶了一本書。\n我們坐在樹下看書。\n"),
    ("cp950", "請問要怎麼做？\n先洗米，再煮飯。\n"),
    ("cp950", "謝謝\n再見\n"),
    ("big5hkscs", "佢哋喺度食嘢，唔該你等一等。\n啲嘢好好食㗎。\n"),
    ("cp932", "今日は天気がいいです。\n公園へ行きましょう。\n本を読みます。\n"),
    ("cp932", "お米を洗ってから炊きます。\n"),
    ("euc_jp", "今日は天気がいいです。\n公園へ行きましょう。\n"),
    ("cp949", "오늘은 날씨가 좋습니다.\n공원에 갑시다.\n책을 읽습니다.\n"),
    ("gb18030", "今天天气很好，我们去公园散步。\n"),
    ("gb18030", "陈国明,李建华,高德安\n"),
    ("gb18030", "朱祁镇,朱祐樘,朱翊钧\n王喆,李堃,张珺,刘昇\n"),
    ("gb18030", "子曰：學而時習之，不亦說乎？有朋自遠方來，不亦樂乎？\n"),
    ("gb18030", "髙峯氏，字㐱甫，號龘齋，有𠮷光片羽之譽。\n"),
    ("gb18030", "蠹鱼侵简，黼黻文章，饕餮魑魅，踽踽彳亍。\n"),
    ("gb18030", "䶮龘靐齉爩鱻麤㐂㑇㒓㓨𠀀\n"),
    ("gb18030", "這個問題很難，請說明。\n我們來看看。\n"),
    ("gb18030", "བོད་ཡིག། ᠮᠣᠩᠭᠣᠯ\n"),
    ("gb18030", "“引号”——￥100……\n"),
    ("gb18030", "好\n"),
    ("gb18030", "氵扌犭礻\n"),
]


@pytest.mark.parametrize(("encoding", "text"), TEXTS)
def test_text_files(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert (charset(path).name, guess(path.read_bytes()).name) == (encoding, encoding)
    (row,) = reader("text").read(path)
    assert isinstance(row, dict) and row["text"] == text


TABLES = [
    ("cp950", "title,ask,department,answer\n頭痛,頭痛怎麼辦,內科,多休息\n發燒,發燒怎麼辦,內科,多喝水\n"),
    ("cp932", "title,ask,department,answer\n頭痛,頭が痛いです,内科,よく休んでください\n"),
    ("cp949", "title,ask,department,answer\n두통,머리가 아파요,내과,푹 쉬세요\n"),
    ("gb18030", "title,ask,department,answer\n头痛,头痛怎么办,内科,多休息\n"),
    ("gb18030", "姓名,籍貫\n歐陽脩,廬陵\n"),
]


@pytest.mark.parametrize(("encoding", "table"), TABLES)
def test_tables(tmp_path: Path, encoding: str, table: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(table.encode(encoding))
    rows = [row for row in csv_rows(path) if not isinstance(row, Drop)]
    assert [list(row.values()) for row in rows] == [line.split(",") for line in table.splitlines()[1:]]
    assert table.split(",", 1)[0] in sniff(path).what


def test_a_file_in_two_encodings(tmp_path: Path) -> None:
    """Lines of Big5 behind lines of UTF-8."""
    path = tmp_path / "a.csv"
    path.write_bytes("題,文\n".encode() + "今天,天氣很好的一天\n".encode() * 5 + "昨天,我們去了公園散步\n".encode("cp950") * 3)
    assert [row["文"] for row in csv_rows(path) if isinstance(row, dict)] == ["天氣很好的一天"] * 5 + ["我們去了公園散步"] * 3


def test_a_damaged_byte_makes_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        "题,文\n".encode() + "今天,天气很好的一天\n".encode() * 9 + "昨天,我们去了\xa5公园".encode("latin-1", "replace") + b"\n"
    )
    assert charset(path).name == "utf-8"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Le café est très bon à Genève, où l'été dure.\nDéjà vu, garçon! Élève, forêt, hôtel.\n"),
        ("koi8-r", "Сегодня хорошая погода, и мы идём в парк гулять.\n"),
    ],
)
def test_what_is_in_no_encoding_we_know_is_refused(tmp_path: Path, encoding: str, text: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(BrokenFile, match=r"a\.txt: .*in no encoding we know.*convert it to UTF-8"):
        charset(path)
