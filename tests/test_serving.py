"""`hanlin serve`: refusals before anything is loaded, names and places, and the command itself, once, from start to drained end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows import serving
from models.serve.server import address_of, listen
from tasks.artifacts.lease import lease
from tasks.artifacts.store import Store
from tests import tiny
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("serving")
    return tiny.llama(home / "made", tiny.make_tokenizer(home / "tokenizer", tiny.split(home / "world")))


@pytest.fixture
def home(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with two models, to which the tag prod can point."""
    monkeypatch.setenv("HANLIN_STORE", str(tmp_path / "store"))
    monkeypatch.delenv(serving.TOKEN, raising=False)
    store = Store(tmp_path / "store")
    for key in ("a" * 64, "b" * 64):
        out = store.work(key)
        shutil.copytree(made, out)
        facts: dict[str, Any] = {
            "stage": "sft",
            "title": "SFT",
            "identity": {},
            "lineage": {},
            "stats": {},
            "reproducibility": "seeded",
        }
        with lease(store.root / "leases" / key) as held:
            store.publish(out, held, key=key, made={"finished": ord(key[0]), "seconds": 1}, **facts)
    record = store.record("a" * 64)
    assert record is not None
    store.tag("prod", record, "the first")
    return store


def test_names_and_places(home, made):
    assert [serving.target_of(text).name for text in ("prod", "sft", "aaaaaaaa", "my=prod", str(made))] == [
        "prod", "sft", "a" * 12, "my", "made",
    ]  # fmt: skip
    prod, fixed = serving.target_of("prod"), serving.target_of("sft")
    assert prod.locate().key == "a" * 64 and fixed.locate().key == "b" * 64
    assert prod.locate().folder == home.object("a" * 64) / "model"
    home.tag("prod", home.record("b" * 64), "the second")
    assert prod.locate().key == "b" * 64


def test_a_folder_has_another_key_when_its_files_are_others(made, tmp_path):
    folder = shutil.copytree(made / "model", tmp_path / "model")
    before = serving.target_of(str(folder)).locate().key
    assert serving.target_of(str(folder)).locate().key == before
    (folder / "config.json").write_text((folder / "config.json").read_text("utf-8") + "\n", "utf-8")
    assert serving.target_of(str(folder)).locate().key != before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"models": []}, "no model is named"),
        ({"models": ["nobody"]}, "no artifact, tag or stage is called 'nobody'"),
        ({"models": ["prod"], "host": "0.0.0.0"}, "there is no token, so anybody could use the models; set HANLIN_TOKEN"),
        ({"models": ["prod"], "host": "127.example.com"}, "there is no token"),
        ({"models": ["prod"], "host": "no.such.host.invalid", "token": "x"}, "no address of this machine"),
        ({"models": ["prod"], "token": "sécret"}, "characters that no header can carry"),
        ({"models": ["prod"], "engine": "steam"}, "no engine 'steam'; engines: own"),
        ({"models": ["prod"], "adapters": ["medical"]}, "say NAME=ADAPTER"),
        ({"models": ["prod"], "adapters": ["medical=sft"]}, "holds no adapter"),
        ({"models": ["prod"], "adapters": ["other:medical=sft"]}, "no model is served as other"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(home, options, said):
    with pytest.raises(ValueError, match=said):
        serving.run(serving.Options(**options), print)


def test_a_taken_port_is_said():
    with listen("127.0.0.1", 0) as door, pytest.raises(ValueError, match="is taken by another program; choose another --port"):
        listen("127.0.0.1", door.getsockname()[1])
    assert address_of("0.0.0.0", 80) == "http://127.0.0.1:80" and address_of("::1", 80) == "http://[::1]:80"


def test_a_server_from_its_start_to_its_end(home):
    """The tag moves under it, and a signal lets the request under way end."""
    command = [sys.executable, "-u", "-m", "flows.cli", "serve", "prod", "--port", "0"]
    env = os.environ | {serving.TOKEN: "secret", "HANLIN_STORE": str(home.root)}
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines: list[str] = []
        reading = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
        reading.start()
        address = until(
            lambda: next((line.split()[1] for line in lines if line.startswith("API ")), ""), during=process, seen=lambda: lines
        )
        assert any(line.startswith("try ") and "Bearer $HANLIN_TOKEN" in line for line in until(lambda: lines))
        with httpx.Client(headers={"Authorization": "Bearer secret"}, timeout=PATIENCE) as http:
            asked = {"messages": [{"role": "user", "content": "白鹭城"}], "max_tokens": 8}

            def fingerprint() -> str:
                said = http.post(f"{address}/chat/completions", json=asked)
                assert said.status_code == 200, said.text
                return said.json()["system_fingerprint"]

            assert fingerprint() == "fp_" + 12 * "a"
            home.tag("prod", home.record("b" * 64), "the second")
            until(lambda: fingerprint() == "fp_" + 12 * "b", during=process)
            stream = {"stream": True, "max_tokens": 60, "logit_bias": {"1": -100, "3": -100}}
            with http.stream("POST", f"{address}/chat/completions", json=asked | stream) as said:
                events = (line for line in said.iter_lines() if line)
                next(events)
                process.send_signal(signal.SIGTERM)
                *_, end, done = events
            assert json.loads(end.removeprefix("data: "))["choices"][0]["finish_reason"] == "length" and done == "data: [DONE]"
        assert process.wait(PATIENCE) == 0
        reading.join(PATIENCE)
    assert any("prod is bbbbbbbbbbbb now" in line for line in lines) and lines[-1] == "hanlin: stopped\n"
    with socket.socket() as door:  # the port is free again
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", int(address.split(":")[2].split("/")[0])))
