"""The pages about formats, made from the readers: `python -m docs.formats` writes `formats.md` and `formats.zh.md`."""

from __future__ import annotations

from pathlib import Path

from tasks.formats import registry
from tasks.formats.registry import TABLES, Reader

DOCS = Path(__file__).parent

HEAD = """# Formats

What each reader takes: a source's `format` is one of these names. Made from the readers by `python -m docs.formats`. [中文](formats.zh.md)

Every file may be compressed (gz, bz2, xz, zst). Tables are in UTF-8, GB18030, Big5, Shift-JIS or EUC-KR. `hanlin sniff FILE` says which format
reads a file, and what it keeps of the first rows. Fields with other names are mapped by a source's `columns`, such as `columns: {answer: reply}`.
How dialogues and preferences may be laid out: [layouts](layouts.md).
"""
ZH_HEAD = """# 格式

每个读取器读什么：来源的 `format` 就是这里的一个名字。由 `python -m docs.formats` 从读取器生成。[English](formats.md)

文件都可以压缩（gz、bz2、xz、zst）；表格可以是 UTF-8、GB18030、Big5、Shift-JIS 或 EUC-KR。
`hanlin sniff FILE` 说出哪种格式能读一个文件，以及它在前面的行里保留什么。
字段叫别的名字，就用来源的 `columns` 对应，例如 `columns: {answer: reply}`。对话和偏好的写法见[写法](layouts.zh.md)。
"""
KINDS = {  # kind of rows → what its rows are used for, in both languages
    "documents": ("Documents", "pretraining: `use: [pretrain]`", "文档", "预训练：`use: [pretrain]`"),
    "conversations": (
        "Conversations",
        "fine-tuning, pretraining, or prompts for rejected answers: `use: [sft]`, `[pretrain]`, `[text2text]`, `[prompts]`",
        "对话",
        "微调、预训练，或生成被拒回答的提示：`use: [sft]`、`[pretrain]`、`[text2text]`、`[prompts]`",
    ),
    "preferences": ("Preferences", "DPO: `use: [pairs]`", "偏好", "DPO：`use: [pairs]`"),
    "questions": (
        "Questions",
        "evaluation, and searched for in the training rows: `use: [evaluate]`",
        "选择题",
        "评测，并在训练数据里查找：`use: [evaluate]`",
    ),
    "triples": ("Triples", "extraction: `use: [extract]`", "三元组", "抽取：`use: [extract]`"),
}
CHINESE = {  # format → its description, where somebody has translated it
    "alpaca": "Alpaca 及其译本：instruction/input/output",
    "baike": "百度百科条目：title、summary、sections",
    "belle": "指令与对话，写法如 BELLE、Firefly、ShareGPT、MOSS、guanaco、TigerBot、Chinese-Vicuna 或 Huatuo",
    "cmedqa": "cMedQA2，两张 CSV 表：question_id、content；ans_id、question_id、content",
    "exam": "选择题，如 CMMLU、C-Eval：question、A、B、C、D、answer；或如 MMLU、ARC：question、choices、answer",
    "medical": "中文医疗对话，GB18030 或 UTF-8 的 CSV：department、title、ask、answer；或 title、prompt、reply、is_best",
    "preference": "好坏回答：prompt/chosen/rejected 及其同类，或排了名次的回答",
    "text": "纯文本，或有文本列的行，如 wiki2019zh：text、content 或 completion",
    "triples": "DuIE：text、spo_list",
    "webtext": "webtext2019zh 和 baike_qa 的问答：title/desc/content 或 title/desc/answer",
    "wiki": "MediaWiki 的 XML 导出（.xml、.bz2、.gz、.xz、.zst）",
    "zhihu": "Zhihu-KOL：INSTRUCTION、RESPONSE、METADATA",
}
CONTAINERS = {
    "json": ("JSON (array or Lines)", "JSON（数组或逐行）"),
    "parquet": ("Parquet", "Parquet"),
    "csv": ("CSV", "CSV"),
    "tsv": ("TSV", "TSV"),
    "a text file": ("a text file", "文本文件"),
    "a MediaWiki export": ("a MediaWiki export", "MediaWiki 导出"),
}
ANY = ("any, by name", "任何名字")  # fields of readers that take any name


def fields(reader: Reader, chinese: bool) -> str:
    """The names that a reader knows, each once."""
    if not reader.columns:
        return ANY[chinese] if set(reader.containers) & set(TABLES) else "–"
    return " ".join(f"`{name}`" for name in dict.fromkeys(reader.columns))


def page(chinese: bool) -> str:
    """The whole page in one language: a table for each kind of rows, and the names of fields below it."""
    readers = {name: registry.reader(name) for name in registry.ours()}
    columns = "| 格式 | 谁的文件，哪些字段 | 文件类型 |" if chinese else "| format | whose files, and which fields | files |"
    known = (
        "按名字认出、可以用 `columns` 对应的字段："
        if chinese
        else "Fields that are known by name, and may be mapped by `columns`:"
    )
    lines = [ZH_HEAD if chinese else HEAD]
    for kind, (title, use, zh_title, zh_use) in KINDS.items():
        lines += [
            f"## {zh_title if chinese else title}\n",
            f"{zh_use if chinese else use[0].upper() + use[1:]}{'。' if chinese else '.'}\n",
        ]
        lines += [columns, "|---|---|---|"]
        members = {name: reader for name, reader in readers.items() if reader.kind == kind}
        for name, reader in members.items():
            files = ("、" if chinese else ", ").join(CONTAINERS[one][chinese] for one in reader.containers)
            lines.append(f"| `{name}` | {CHINESE.get(name, reader.description) if chinese else reader.description} | {files} |")
        lines += ["", f"{known}\n", *(f"- `{name}`: {fields(reader, chinese)}" for name, reader in members.items()), ""]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """File → its text."""
    return {DOCS / "formats.md": page(False), DOCS / "formats.zh.md": page(True)}


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, "utf-8")
        print(path)
