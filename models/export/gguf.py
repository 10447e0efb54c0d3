"""The GGUF file of a decoder, as llama.cpp and all that is built on it read it (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

llama.cpp looks a text up as we do where the tokenizer is a byte-level BPE that cuts words by our pattern, which it knows as `qwen2`. What is in
the file may be coarser than what was asked for where a matrix is too narrow: the file is named by what is in it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import template
from models.export import modelfile
from models.export.source import Source

if TYPE_CHECKING:
    import gguf

    from models.export.llama_cpp import LlamaCpp

PRECISIONS = ("f32", "f16", "bf16", "q8_0", "q5_0", "q4_0", "q6_k", "q4_k_m")
ARCHITECTURES = {"qwen2_moe": "qwen2moe"}  # model_type → llama.cpp's name of it, where that is another
EMBEDDINGS = "token_embd.weight"
UNTIED = ("qwen2_moe",)  # which llama.cpp loads with a head of its own alone
ROUTER = "ffn_gate_inp.weight"
EXPERT, FIRST_EXPERT = re.compile(r"\.experts\.\d+\."), re.compile(r"\.experts\.0\.")
NARROW = {
    "Q4_K": "Q5_0",
    "Q6_K": "Q8_0",
}  # types of blocks of 256 numbers → those of 32 for a matrix whose rows do not divide by 256
SENSITIVE = (
    "output.weight",
    "attn_v.weight",
    "ffn_down.weight",
    "ffn_down_exps.weight",
    "ffn_down_shexp.weight",
)  # matrices of more bits in q4_k_m


def write(source: Source, out: Path, precision: str, note: Callable[[str], None]) -> dict[str, Any]:
    """Write `model-TYPE.gguf` and Ollama's `Modelfile`; returns the file's name and the number of its tensors by type."""
    import gguf

    named = list(_tensors(source))
    types = {name: _type_of(name, shape, precision) for name, shape, _ in named}
    counts = Counter(kind.name for kind in types.values())
    label = _label(named, types, precision)
    path = out / f"model-{label}.gguf"
    writer = gguf.GGUFWriter(path, _name_of(source))
    _describe(writer, source, label)
    _vocabulary(writer, source)
    for name, shape, _ in named:
        width, size = gguf.GGML_QUANT_SIZES[types[name]]
        writer.add_tensor_info(name, shape, np.dtype(np.float32), int(np.prod(shape)) // width * size, raw_dtype=types[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, _, read in named:
        writer.write_tensor_data(_packed(read(), types[name]))
    writer.close()
    if label.lower() != precision:
        note(
            f"{precision} was asked for, and the file is named {label}, which most of it is ({_listed(counts)}): a matrix whose rows do not divide "
            "by 256 (K-quants) or 32 numbers (the others) is kept in a type that fits"
        )
    (out / "Modelfile").write_text(modelfile.text(source, path.name), "utf-8")
    return {
        "file": path.name,
        "types": dict(counts.most_common()),
        "use": f"ollama create NAME -f Modelfile, or llama-cli -m {path.name}",
    }


def reader(source: Source, out: Path, facts: dict[str, Any]) -> LlamaCpp:
    """llama.cpp with the file."""
    from models.export.llama_cpp import LlamaCpp

    return LlamaCpp(out / facts["file"], source.context)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} tensors {kind}" for kind, number in counts.most_common())


def _tensors(source: Source) -> Iterator[tuple[str, tuple[int, ...], Callable[[], np.ndarray]]]:
    """Each tensor's name in GGUF, its shape, and a function that reads it in float32; the head only where it has weights of its own. The
    matrices of a layer's experts are one tensor, (experts, rows, columns)."""
    import gguf

    names = gguf.get_tensor_name_map(_architecture(source), source.config["num_hidden_layers"])
    for name, shape in source.shapes.items():
        if (name == "lm_head.weight" and source.tied) or (EXPERT.search(name) and not FIRST_EXPERT.search(name)):
            continue
        read, stored = _reading(source, name), name
        if FIRST_EXPERT.search(name):
            count = source.config["num_experts"]
            stored, shape, read = FIRST_EXPERT.sub(".experts.", name), (count, *shape), _stacked(source, name, count)
        elif name.endswith("shared_expert_gate.weight"):
            shape, read = shape[1:], _flat(read)
        target = names.get_name(stored, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ValueError(
                f"the tensor {name} has no name in GGUF, so this is no {source.config['model_type']} as its config.json says; export it --to hf"
            )
        yield target, shape, read
        if target == EMBEDDINGS and source.tied and source.config["model_type"] in UNTIED:
            yield "output.weight", shape, read


def _stacked(source: Source, first: str, count: int) -> Callable[[], np.ndarray]:
    return lambda: np.stack([source.tensor(FIRST_EXPERT.sub(f".experts.{number}.", first)) for number in range(count)])


def _flat(read: Callable[[], np.ndarray]) -> Callable[[], np.ndarray]:
    return lambda: read()[0]


def _reading(source: Source, name: str) -> Callable[[], np.ndarray]:
    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    part = name.split(".")[-2]
    turned = source.config["model_type"] == "llama" and part in heads
    return lambda: pairs(source.tensor(name), source.config[heads[part]]) if turned else source.tensor(name)


def pairs(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a Llama's queries or keys in the order of the first implementation: transformers turns halves of a head (i, i + d/2), it
    neighbours (2i, 2i + 1). `weight` is (heads · d, width)."""
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def _architecture(source: Source) -> gguf.MODEL_ARCH:
    import gguf

    return {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[_name_of(source)]


def _name_of(source: Source) -> str:
    kind = source.config["model_type"]
    return ARCHITECTURES.get(kind, kind)


def _type_of(name: str, shape: Sequence[int], precision: str) -> gguf.GGMLQuantizationType:
    """The type of a tensor: the one asked for where its rows divide into blocks, else one that fits. Vectors, and the router of
    experts, stay in float32."""
    import gguf

    if len(shape) < 2 or name.endswith(ROUTER):
        return gguf.GGMLQuantizationType.F32
    wanted = precision.upper()
    if precision == "q4_k_m":
        wanted = "Q6_K" if name.endswith(SENSITIVE) else "Q4_K"
    for kind in (wanted, NARROW.get(wanted, "F16"), "F16"):
        chosen = gguf.GGMLQuantizationType[kind]
        if shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0] == 0:
            break
    return chosen


def _label(named: Sequence[tuple[str, tuple[int, ...], Any]], types: dict[str, Any], precision: str) -> str:
    """The type that holds most of the numbers, as GGUF files are named."""
    sizes: Counter[str] = Counter()
    for name, shape, _ in named:
        sizes[types[name].name] += int(np.prod(shape))
    most = sizes.most_common(1)[0][0]
    return "Q4_K_M" if most == "Q4_K" and precision == "q4_k_m" else most


def _packed(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    """A tensor as the file has it."""
    import gguf

    values = np.ascontiguousarray(values, dtype=np.float32)
    return _k_quantised(values, kind) if kind.name in NARROW else gguf.quants.quantize(values, kind)


def quantiser() -> Any:
    """llama.cpp's own function that packs K-quants, from the library of xllamacpp. `ValueError` where it does not export it."""
    spec = importlib.util.find_spec("xllamacpp")
    home = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    for path in sorted(home.glob("xllamacpp*.so")):
        library = ctypes.CDLL(str(path))
        if hasattr(library, "ggml_quantize_chunk"):
            pack = library.ggml_quantize_chunk
            pack.restype = ctypes.c_size_t
            pack.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
            return pack
    raise ValueError(
        "K-quants are packed by the library of xllamacpp, and the one that is installed has no ggml_quantize_chunk; take q5_0 or q8_0, "
        "or install the version of constraints.txt"
    )


def _k_quantised(values: np.ndarray, kind: gguf.GGMLQuantizationType) -> np.ndarray:
    import gguf

    rows, columns = values.size // values.shape[-1], values.shape[-1]
    width, size = gguf.GGML_QUANT_SIZES[kind]
    packed = np.empty((*values.shape[:-1], columns // width * size), dtype=np.uint8)
    written = quantiser()(int(kind), values.ctypes.data, packed.ctypes.data, 0, rows, columns, None)
    assert written == packed.nbytes, f"ggml_quantize_chunk wrote {written} bytes of {packed.nbytes}"
    return packed


def _describe(writer: gguf.GGUFWriter, source: Source, label: str) -> None:
    """The shape of the model."""
    import gguf

    config = source.config
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    kind = "ALL_F32" if label == "F32" else f"MOSTLY_{label}"
    writer.add_name("model")
    writer.add_file_type(gguf.LlamaFileType[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
        writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _vocabulary(writer: gguf.GGUFWriter, source: Source) -> None:
    """The tokenizer: tokens in the order of their ids, merges, special tokens, template."""
    import gguf

    tokenizer, kinds = source.tokenizer, gguf.TokenType
    names = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for number in range(source.config["vocab_size"]):
        unused = number not in names  # rows of embeddings beyond the tokenizer's
        tokens.append(f"[PAD{number}]" if unused else names[number])
        special = number in added and added[number].special
        types.append(
            kinds.UNUSED if unused else kinds.CONTROL if special else kinds.USER_DEFINED if number in added else kinds.NORMAL
        )
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(source.pretokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in source.merges])
    writer.add_add_bos_token(False)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_eot_token_id(tokenizer.convert_tokens_to_ids(template.stop_of(tokenizer)))
    writer.add_bos_token_id(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(source.chat_template)
