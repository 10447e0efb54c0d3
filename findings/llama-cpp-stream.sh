#!/usr/bin/env bash
# A stream of llama.cpp's server leaves out the ids of the tokens that end inside a character.
#
# Expected: with return_tokens, the ids in the events of a stream are together those that the same request gets without a stream.
# Happens:  an event is sent once its text is whole UTF-8, and then holds the id of its last token alone. Where a token is a byte,
#   a Chinese character is three of them, and two in three ids are never told, though tokens_predicted counts them. The text is right.
# Versions: xllamacpp 2026.10.11549 (llama.cpp), gguf 0.19.0, numpy 2.4.6, with a model of one layer that spells two characters for ever.
# Matters:  a client that counts tokens, asks for their log-probabilities, or sends the ids back to go on, has other text than it saw.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet xllamacpp==2026.10.11549 gguf==0.19.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import json
import urllib.request
from importlib.metadata import version

import gguf
import numpy as np
import xllamacpp

print("xllamacpp", version("xllamacpp"), "gguf", version("gguf"))
SPELLED = list("白鹭".encode())  # a token is a byte: three for each character, no two alike
CONTROL, WIDTH = 256, 320

# the characters that stand for bytes in vocabularies of this kind
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
characters = {byte: chr(byte) for byte in printable}
characters |= {byte: chr(256 + place) for place, byte in enumerate(sorted(set(range(256)) - set(printable)))}

writer = gguf.GGUFWriter("spelling.gguf", "llama")
writer.add_context_length(256)
writer.add_embedding_length(WIDTH)
writer.add_block_count(1)
writer.add_feed_forward_length(WIDTH)
writer.add_head_count(1)
writer.add_head_count_kv(1)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(WIDTH)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list([characters[byte] for byte in range(256)] + ["<|end|>"])
writer.add_token_types([gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL])
writer.add_token_merges(["a b"])
writer.add_eos_token_id(CONTROL)
writer.add_add_bos_token(False)
embeddings = np.eye(CONTROL + 1, WIDTH, dtype=np.float32)
heads = np.zeros((CONTROL + 1, WIDTH), np.float32)
for byte, following in zip(SPELLED, SPELLED[1:] + SPELLED[:1], strict=True):
    heads[following, byte] = 10.0
ones, zeros = np.ones(WIDTH, np.float32), np.zeros((WIDTH, WIDTH), np.float32)
writer.add_tensor("token_embd.weight", embeddings)
writer.add_tensor("output.weight", heads)
writer.add_tensor("output_norm.weight", ones)
for name in ("attn_norm", "ffn_norm"):
    writer.add_tensor(f"blk.0.{name}.weight", ones)
for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
    writer.add_tensor(f"blk.0.{name}.weight", zeros)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

given = xllamacpp.CommonParams()
given.model.path = "spelling.gguf"
given.n_ctx, given.n_parallel, given.warmup, given.verbosity = 256, 1, False, -1
given.hostnames, given.port, given.cpuparams.n_threads = ["127.0.0.1"], 0, 1
server = xllamacpp.Server(given)


def ask(stream):
    body = {"prompt": SPELLED[-1:], "n_predict": 9, "temperature": 0, "return_tokens": True, "stream": stream}
    address, kind = server.listening_address + "/completion", {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), kind)
    with urllib.request.urlopen(request) as answer:
        said = answer.read().decode()
    if not stream:
        return [json.loads(said)]
    return [json.loads(line.removeprefix("data: ")) for line in said.splitlines() if line.startswith("data: {")]


[whole], events = ask(False), ask(True)
streamed = [token for event in events for token in event["tokens"]]
print("whole:   ", whole["content"], whole["tokens"])
print("streamed:", "".join(event["content"] for event in events), streamed, "of", events[-1]["tokens_predicted"], "predicted")
assert whole["content"] == "白鹭白" and whole["tokens"] == (SPELLED * 2)[:9]
assert streamed == SPELLED[2::3] + SPELLED[2:3] and events[-1]["tokens_predicted"] == 9
PY
