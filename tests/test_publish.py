"""Publications: on a server that speaks the hub's API, and in folders; nothing that tells of the machine goes out."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from models.chat import USUAL
from tasks.publication import bundle as bundles
from tasks.publication import hub as hubs
from tasks.publication.bundle import MARK, SAMPLING, bundle, found_leaks, own_words
from tests.hub_server import TOKEN, Hub, hub
from tests.published import SECRET, Published, corpus, model_files, models


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return models(corpus(tmp_path_factory.mktemp("publish") / "store"))


@pytest.fixture
def server(made: Published, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The local hub, with a token for it, and the store of the module."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HANLIN_STORE", str(made.store.root))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def publish(*words: str) -> str:
    """The command's output; its mistakes are raised."""
    done = CliRunner().invoke(app, ["publish", *words])
    if done.exception:
        raise done.exception
    return done.output


def test_a_model_is_uploaded_with_its_card_and_everything_that_it_needs(made: Published, server: Hub) -> None:
    said = publish("dpo", "--to", "hub:somebody/tiny-chat", "--private")
    files = server.repos["model", "somebody/tiny-chat"]
    names = {
        "README.md",
        "LICENSE",
        MARK,
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert set(files) == {*names, "model.safetensors", ".gitattributes"} and server.private == {"somebody/tiny-chat"}
    assert f"published to {server.url}/somebody/tiny-chat; licence: GPL-3.0-only" in said
    readme = files["README.md"].decode()
    assert readme.startswith("---\n") and 'name = "somebody/tiny-chat"' in readme and "license: gpl-3.0" in readme
    assert files["model.safetensors"] == ("weights " * 1000).encode() in server.large.values()
    assert (
        json.loads(files["generation_config.json"])
        == {"eos_token_id": [1, 3], "bos_token_id": 1, "pad_token_id": 0, "transformers_version": "5.23.0"} | SAMPLING
    )
    assert (
        files["LICENSE"]
        .decode()
        .startswith("GPL-3.0-only\n\nThe text of the licence: https://spdx.org/licenses/GPL-3.0-only.html")
    )
    lineage = json.loads(files[MARK])
    assert lineage["artifact"] == made.key["dpo"] and set(lineage["published"]) == set(files) - {".gitattributes"}
    assert server.commits == [{"summary": f"Hanlin dpo {made.key['dpo'][:12]}", "description": ""}]


def test_a_server_without_xet_gets_large_files_the_older_way(
    made: Published, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    assert "published to" in publish("dpo", "--to", "hub:somebody/without-xet")
    asked = [request for request in server.requests if "xet-write-token" in request]
    assert asked and server.repos["model", "somebody/without-xet"]["model.safetensors"] in server.large.values()
    assert constants.HF_HUB_DISABLE_XET is False


def test_a_corpus_is_uploaded_without_what_was_dropped(server: Hub) -> None:
    publish("split", "--to", "hub:rows")
    files = server.repos["dataset", "somebody/rows"]
    rows = {f"{use}/{side}.parquet" for use in ("pretrain", "sft", "prompts") for side in ("train", "valid")}
    assert set(files) == rows | {"README.md", "LICENSE", MARK, ".gitattributes"}
    assert files["sft/train.parquet"] == b"sft train"


def test_an_upload_that_was_cut_off_goes_on_and_a_second_one_replaces_the_first(made: Published, server: Hub) -> None:
    server.refuse = ("POST /api/models/somebody/again/commit", 503, "maintenance")
    with pytest.raises(ValueError, match=r"failed with status 503: maintenance; run the same command again, and it goes on"):
        publish("dpo", "--to", "hub:again")
    server.refuse = None
    sent = len([line for line in server.requests if line.startswith("PUT")])
    publish("dpo", "--to", "hub:again")
    assert len([line for line in server.requests if line.startswith("PUT")]) == sent, "what arrived is not sent twice"
    made.add(
        "sft-sharded", "sft", {}, {"model": "pretrain", "rows": "split"}, {**model_files(), "model/extra.json": "{}"}, seed=9
    )
    publish("sft-sharded", "--to", "hub:again")
    assert "extra.json" in server.repos["model", "somebody/again"]
    publish("dpo", "--to", "hub:again")
    assert "extra.json" not in server.repos["model", "somebody/again"], "files of the earlier publication alone do not stay"
    assert len(server.commits) == 3


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (
            ("/api/repos/create", 401, "Invalid user token."),
            r"does not know the token: Invalid user token\.; make one that may write",
        ),
        (("/preupload/", 403, "read only"), r"the token may not write to name: read only; it needs the right to write"),
        (("PUT /large/", 413, "too big"), r"refuses a file as too large.*hanlin export MODEL --to safetensors"),
        (("/commit/", 409, "conflict"), r"somebody else writes to it at this moment: conflict"),
        (("/commit/", 418, "tea"), r"refused with status 418: tea"),
    ],
)
def test_refusals_are_told_in_words(server: Hub, refuse: tuple[str, int, str], said: str) -> None:
    server.refuse = refuse
    with pytest.raises(ValueError, match=said):
        publish("dpo", "--to", "hub:name")


def test_names_that_are_taken_or_not_one_s_own(server: Hub) -> None:
    server.repos["model", "somebody/taken"] = {"pytorch_model.bin": b"", "config.json": b"{}", MARK: b'{"other": "tool"}'}
    with pytest.raises(ValueError, match=r"somebody/taken is taken: the repository holds 3 files that Hanlin did not publish"):
        publish("dpo", "--to", "hub:taken")
    assert server.repos["model", "somebody/taken"]["config.json"] == b"{}"
    with pytest.raises(ValueError, match=r"may not write to other/name: You don't have the rights"):
        publish("dpo", "--to", "hub:other/name")
    with pytest.raises(ValueError, match="is no name of a repository"):
        publish("dpo", "--to", "hub:a/b/c")


def test_a_network_that_is_down_and_a_token_that_is_missing(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"http://127.0.0.1:9 cannot be reached \(ConnectError.*run the same command again"):
        publish("dpo", "--to", "hub:name")
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no token of the hub: make one that may write at"):
        publish("dpo", "--to", "hub:name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        publish("dpo", "--to", "hub:name")


def test_a_file_that_is_too_large_is_refused_before_anything_is_sent(made: Published, server: Hub, tmp_path: Path) -> None:
    files = bundle(made.store, made.record("dpo"), "name")
    huge = tmp_path / "model.safetensors"
    with huge.open("wb") as file:
        file.truncate(hubs.LARGEST + 1)  # a hole, which takes no room
    files.files["model.safetensors"] = huge
    with pytest.raises(ValueError, match=r"model.safetensors has 50 GB, and the hub takes files of at most 50 GB"):
        hubs.upload(files, "name", private=False, message="m")
    assert server.requests == []


def test_a_dry_run_lists_and_sends_nothing(server: Hub, tmp_path: Path) -> None:
    said = publish("dpo", "--to", "hub:name", "--dry-run")
    assert "model.safetensors" in said and "8,000" in said and "would be published to hub:name" in said and server.requests == []
    publish("dpo", "--to", str(tmp_path / "out"), "--dry-run")
    assert not (tmp_path / "out").exists()


# folders


def test_a_folder_of_ours_is_brought_up_to_date_and_another_s_is_left_alone(
    made: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(made.store.root))
    out = tmp_path / "out"
    publish("dpo", "--to", str(out))
    (out / "mine.txt").write_text("kept")
    names = {path.name for path in out.iterdir()}
    assert {"README.md", "LICENSE", MARK, "model.safetensors", "mine.txt"} <= names and not any(
        name.endswith(".part") for name in names
    )
    publish("split", "--to", str(out))
    assert (out / "sft" / "train.parquet").exists() and not (out / "model.safetensors").exists() and (out / "mine.txt").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty, and holds no publication of Hanlin"):
        publish("dpo", "--to", str(tmp_path / "other"))
    with pytest.raises(ValueError, match="is a file"):
        publish("dpo", "--to", str(tmp_path / "other" / "thesis.txt"))
    with pytest.raises(ValueError, match="--private is for the hub"):
        publish("dpo", "--to", str(out), "--private")


def test_a_mark_that_leads_out_of_the_folder_removes_nothing(
    made: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANLIN_STORE", str(made.store.root))
    victim = tmp_path / "victim.txt"
    victim.write_text("kept")
    out = tmp_path / "out"
    out.mkdir()
    (out / MARK).write_text(json.dumps({"published": ["../victim.txt", str(victim), MARK]}))
    publish("dpo", "--to", str(out))
    assert victim.exists()


# what must not go out


def test_places_of_this_machine_are_taken_out_of_json_and_refused_elsewhere(tmp_path: Path) -> None:
    made = corpus(tmp_path / "store")
    adapter = {"base_model_name_or_path": f"{SECRET}/base", "r": 8}
    config = {"model_type": "llama", "_name_or_path": f"{SECRET}/model", "inner": {"_name_or_path": "Qwen/Qwen3-0.6B-Base"}}
    files = model_files(**{"model/config.json": json.dumps(config), "adapter/adapter_config.json": json.dumps(adapter)})
    made.add("sft", "sft", {}, {"rows": "split"}, files, seed=1)
    out = bundle(made.store, made.record("sft"), "name").files
    assert json.loads(bytes(out["config.json"])) == {"model_type": "llama", "inner": {"_name_or_path": "Qwen/Qwen3-0.6B-Base"}}  # type: ignore[arg-type]
    assert json.loads(bytes(out["adapter/adapter_config.json"])) == {"r": 8}  # type: ignore[arg-type]
    assert "log.jsonl" not in out
    made.add("sft", "sft", {}, {"rows": "split"}, model_files(**{"model/notes.txt": f"trained in {SECRET}/run"}), seed=2)
    with pytest.raises(ValueError, match=f"would tell of this machine:\n  - notes.txt holds '{SECRET}/run'"):
        bundle(made.store, made.record("sft"), "name")


def test_a_retnet_goes_out_with_its_code(tmp_path: Path) -> None:
    made = corpus(tmp_path / "store")
    config = {"model_type": "retnet", "architectures": ["RetNetForCausalLM"]}
    made.add("sft", "sft", {}, {"rows": "split"}, model_files(**{"model/config.json": json.dumps(config)}), seed=1)
    with pytest.raises(ValueError, match=r"is a RetNet, which transformers has not: `hanlin export \w+ --to hf` writes its code"):
        bundle(made.store, made.record("sft"), "name")
    config |= {"auto_map": {"AutoModelForCausalLM": "modelling.RetNetForCausalLM"}}
    files = model_files(**{"model/config.json": json.dumps(config), "model/modelling.py": "code"})
    made.add("export", "export", {}, {"model": "sft"}, files, {"use": "…"}, to="hf", precision="same")
    out = bundle(made.store, made.record("export"), "name").files
    readme = bytes(out["README.md"]).decode()  # type: ignore[arg-type]
    assert "modelling.py" in out and "trust_remote_code=True" in readme and "custom_code" in readme


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("see /home/anna/model", True),
        ("C:\\Users\\anna", True),
        ("at https://example.org/home/anna", False),
        ("data/train.parquet and a/b", False),
        ("made on workstation-7x", False),
        ("made on workstation-7 at night", True),
    ],
)
def test_paths_and_names_of_the_machine_are_found(text: str, leaks: bool) -> None:
    assert bool(list(found_leaks({"README.md": text.encode()}, ["workstation-7"]))) == leaks


def test_the_host_and_the_user_are_looked_for(made: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "workstation-7")
    monkeypatch.setattr(getpass, "getuser", lambda: "annabel")
    assert {"workstation-7", "annabel", str(made.store.root)} <= set(own_words(made.store))
    assert not list(found_leaks(bundle(made.store, made.record("dpo"), "name").files, own_words(made.store)))


def test_weights_are_looked_into(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {"source": f"{SECRET}/model"}}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert list(found_leaks({"model.safetensors": path}, []))


def test_what_is_damaged_or_gone_is_not_published(tmp_path: Path) -> None:
    made = models(corpus(tmp_path / "store"))
    (made.store.object(made.key["dpo"]) / "model" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cannot be published: dpo .*config.json has 2 bytes instead of"):
        bundle(made.store, made.record("dpo"), "name")
    made.store.put(made.record("sft").model_copy(update={"collected": True}))
    with pytest.raises(ValueError, match="its files were collected"):
        bundle(made.store, made.record("sft"), "name")


def test_a_model_is_drawn_from_as_in_a_chat() -> None:
    drawn = bundles.SAMPLING
    assert drawn["do_sample"] and (drawn["temperature"], drawn["top_p"]) == (USUAL.temperature, USUAL.top_p)
