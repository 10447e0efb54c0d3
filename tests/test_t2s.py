"""OpenCC's conversion by a table: the same as OpenCC's, to the letter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import opencc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.text import t2s

BESIDE = "".join(t2s.PIVOTS) + "".join(t2s.PIVOTS.values())
ODD = "干后里，。「」『\n a1😀🇨🇳𠀀𫇭䯀豈神﹁カé"


@pytest.fixture(autouse=True)
def _always_by_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t2s, "_SHORT", 0)


def by_opencc(text: str) -> str:
    return "".join(t2s.FURTHER.get(character, character) for character in t2s.opencc()(text))


def test_every_phrase_of_opencc(tmp_path: Path) -> None:
    home = Path(opencc.__file__).parent / "clib"
    if not (home / "bin" / "opencc_dict").exists():
        pytest.skip("this build of OpenCC comes without opencc_dict, which lists its phrases")
    listed = tmp_path / "phrases.txt"
    command = [
        home / "bin" / "opencc_dict",
        "-i",
        home / "share" / "opencc" / "TSPhrases.ocd2",
        "-o",
        listed,
        "-f",
        "ocd2",
        "-t",
        "text",
    ]
    subprocess.run(list(map(str, command)), check=True, env={"LD_LIBRARY_PATH": str(home / "lib64")})
    phrases = [line.split("\t")[0] for line in listed.read_text("utf-8").splitlines()]
    assert len(phrases) > 400
    for phrase in phrases:
        assert t2s.convert(phrase) == by_opencc(phrase)
        assert t2s.convert(f"學{phrase}的，{phrase}") == by_opencc(f"學{phrase}的，{phrase}"), phrase


@given(st.text(st.sampled_from(BESIDE + ODD) | st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=60))
def test_any_text(text: str) -> None:
    assert t2s.convert(text) == by_opencc(text)


def test_every_character() -> None:
    text = "".join(chr(code) for code in range(0x20, 0x32000) if not 0xD800 <= code < 0xE000)
    assert t2s.convert(text) == by_opencc(text)


@pytest.mark.parametrize(("text", "share"), [("這是繁體中文", 2 / 6), ("这是简体中文，乾", 1 / 7), ("none", 0.0), ("", 0.0)])
def test_changed(text: str, share: float) -> None:
    assert t2s.changed(text) == pytest.approx(share)
