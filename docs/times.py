"""The pages that say where the time of a run goes, made from its records: `python -m docs.times STORE` writes `times.md` and `times.zh.md`.

The run is the last finished one of the sample recipe in that store, all of whose stages it built itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.artifacts.store import Record, Store

DOCS = Path(__file__).parent
RECIPE = "sample"
HEAD = """# Where the time of a run goes

`hanlin run {recipe}` on {machine}, threads as the machine has cores: {total:.0f} s from the first stage to the last. Made from the run's
records by `python -m docs.times STORE`. [中文](times.zh.md)

| stages | seconds | share | what takes them |
|---|---|---|---|
"""
ZH_HEAD = """# 一次运行的时间花在哪里

`hanlin run {recipe}`，机器是 {machine}，线程数等于核数：从第一个阶段到最后一个共 {total:.0f} 秒。
由 `python -m docs.times STORE` 从这次运行的记录生成。
[English](times.md)

| 阶段 | 秒 | 占比 | 花在什么上 |
|---|---|---|---|
"""
WORK = {  # stage → what its time is, in both languages
    "pretrain": ("forward and backward passes over plain text", "在纯文本上做前向和反向计算"),
    "sft": ("the same, on conversations", "同上，数据是对话"),
    "rejected": ("writing an answer to each prompt", "为每个提示写一个回答"),
    "reference": ("one forward pass over all pairs", "对所有偏好对做一次前向计算"),
    "dpo": (
        "two answers a pair, and validations that compare with the model before it",
        "每对两个回答，以及与之前的模型作比较的验证",
    ),
    "evaluate": ("scoring choices and writing answers, for each model", "给每个模型的选项打分，并让它写回答"),
    "report": ("drawing the page", "绘制页面"),
}
DATA = ("data stages, {n} of them: `{first}` to `{last}`", "{n} 个数据阶段：`{first}` 到 `{last}`")
DATA_WORK = ("reading, cleaning and packing; a large corpus takes longer here", "读取、清洗、打包；语料大时这里更久")
BETWEEN = ("between the stages", "阶段之间")
BETWEEN_WORK = ("tables and states sent to Prefect, files hashed", "把表格和状态发给 Prefect，计算文件的哈希")


def rows(records: list[Record], chinese: bool) -> list[tuple[str, float, str]]:
    """(stages, seconds, what takes them), in the order of the run; the data stages are one row. `records` in that order."""
    data = [record for record in records if record.stage not in WORK]
    label = DATA[chinese].format(n=len(data), first=data[0].stage, last=data[-1].stage)
    told = [(label, seconds(data), DATA_WORK[chinese])]
    told += [(f"`{one.stage}`", seconds([one]), WORK[one.stage][chinese]) for one in records if one.stage in WORK]
    return [*told, (BETWEEN[chinese], whole(records) - seconds(records), BETWEEN_WORK[chinese])]


def seconds(records: list[Record]) -> float:
    return float(sum(record.made["seconds"] for record in records))


def whole(records: list[Record]) -> float:
    """Seconds from the first stage's start to the last one's end."""
    return float(max(one.made["finished"] for one in records) - min(one.made["started"] for one in records))


def page(records: list[Record], chinese: bool) -> str:
    """The whole page in one language."""
    total = whole(records)
    head = (ZH_HEAD if chinese else HEAD).format(recipe=RECIPE, machine=records[0].made["machine"], total=total)
    lines = [f"| {what} | {took:.0f} | {took / total:.0%} | {why} |" for what, took, why in rows(records, chinese)]
    return head + "\n".join(lines) + "\n"


def built(store: Store) -> list[Record]:
    """The records of the last finished run of the recipe, by the start of each stage. `ValueError` where the store has no run that built all."""
    for note in store.runs():
        records = [store.record(key) for key in note["artifacts"].values()]
        whole_run = [one for one in records if one is not None and one.made.get("flow_run") == note["run"]]
        if note["recipe"] == RECIPE and note.get("finished") and len(whole_run) == len(records):
            return sorted(whole_run, key=lambda one: one.made["started"])
    raise ValueError(f"{store.root} has no finished run of {RECIPE} that built all of its stages")


if __name__ == "__main__":
    found = built(Store(Path(sys.argv[1])))
    for name, chinese in (("times.md", False), ("times.zh.md", True)):
        (DOCS / name).write_text(page(found, chinese), "utf-8")
        print(DOCS / name)
