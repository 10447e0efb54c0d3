"""The known weaknesses of a model or a corpus, in words, from its own figures."""

from __future__ import annotations

from tasks.publication.facts import Facts, Score
from tasks.publication.licences import UNKNOWN, Reason

SMALL = 3_000_000_000  # parameters, below which a model has room for little of what people know
NAMES = {"zh": ("Chinese", "中文"), "en": ("English", "英文"), "ja": ("Japanese", "日文"), "ko": ("Korean", "韩文")}


def of_model(facts: Facts) -> list[Reason]:
    """The weaknesses of a model, the most important first."""
    said = [*_knowledge(facts), *_answers(facts), *_reach(facts), *_tests(facts), *_rows(facts)]
    said.append(
        Reason(
            "It was neither trained nor tested to refuse harmful requests. Nobody should act on what it says about health, law or money.",
            "它没有为拒绝有害请求而训练或测试。不要依据它关于健康、法律或金钱的话行事。",
        )
    )
    return said


def of_rows(facts: Facts) -> list[Reason]:
    """The weaknesses of a corpus."""
    said = _rows(facts)
    if facts.invented:
        said.insert(
            0,
            Reason(
                "The rows tell of an invented world: none of their statements is true.",
                "各行说的是虚构的世界：其中没有一句是真的。",
            ),
        )
    return said


def _knowledge(facts: Facts) -> list[Reason]:
    if facts.invented:
        return [
            Reason(
                "It knows an invented world alone: none of its statements is true, and it knows nothing of the real one.",
                "它只知道一个虚构的世界：说的话没有一句是真的，对真实世界一无所知。",
            )
        ]
    if 0 < facts.parameters < SMALL:
        size = short(facts.parameters)
        return [
            Reason(
                f"With {size} parameters it has room for little of what people know. It states what is false as fluently as what is true.",
                f"{size} 参数装不下多少知识。它说错话和说对话一样流利。",
            )
        ]
    return []


def _answers(facts: Facts) -> list[Reason]:
    """Free answers, in which nothing guides it."""
    said = []
    generation, n = facts.generation, facts.generation.get("n", 0)
    if n:
        unfinished, repeated, empty = 1 - generation["stop_rate"], generation["repetition"], generation["empty"]
        said.append(
            Reason(
                f"Of {n:,} free answers {percent(unfinished)} came to no end within the limit and {percent(empty)} were empty; "
                f"{percent(repeated)} of their text repeats itself.",
                f"{n:,} 个自由回答中，{percent(unfinished)} 未在限度内结束，{percent(empty)} 为空；文本的 {percent(repeated)} 是重复。",
            )
        )
    if facts.overlap:
        share, count = facts.overlap
        said.append(
            Reason(
                f"Its free answers hold {percent(share)} of the references' pairs of neighbouring characters (mean of {count:,} held-out prompts): "
                "the rest was left out, or said otherwise, or is wrong. To choose the right one of several answers is easier than to write it, so "
                "its accuracy on multiple choice says little about what it writes.",
                f"自由回答含有参考答案中 {percent(share)} 的相邻字对（{count:,} 个留出问题的平均）：其余的没说、换了说法或说错了。"
                "从几个选项里选对比写对容易，所以选择题的正确率说明不了它写得对不对。",
            )
        )
    return said


def _reach(facts: Facts) -> list[Reason]:
    """Context and languages."""
    said = []
    if facts.context:
        said.append(
            Reason(
                f"It reads {facts.context:,} tokens at most, question, conversation and answer together.",
                f"它最多读 {facts.context:,} 个词元，问题、对话和回答合在一起。",
            )
        )
    if facts.rows_learned:
        names = [NAMES.get(language, (language, language)) for language in facts.languages]
        english, chinese = " and ".join(name for name, _ in names), "和".join(name for _, name in names)
        said.append(
            Reason(
                f"It learned from rows in {english}; what it says in other languages, or in code, "
                f"{'comes from its base model' if facts.lineage.bases else 'is chance'}.",
                f"它在这里只学过{chinese}；其他语言和代码{'取决于基座模型' if facts.lineage.bases else '不可信'}。",
            )
        )
    if facts.lineage.bases or not facts.learned:
        said.append(
            Reason(
                "What the model from outside had learned, and from whom, is not on record.",
                "外来的模型此前学过什么、来自何处，没有记录。",
            )
        )
    return said


def _tests(facts: Facts) -> list[Reason]:
    """Scores no better than guessing, and tests that never were."""
    if not facts.scores:
        return [Reason("It was not evaluated.", "它没有评测过。")]
    return [
        Reason(
            f"On {score.of} its {score.metric} is no better than guessing can explain.",
            f"在{OBJECTS.get(score.of, f' {score.of} ')}上，它的{METRICS[score.metric]}与乱猜没有区别。",
        )
        for score in facts.scores
        if no_better_than_chance(score)
    ]


def no_better_than_chance(score: Score) -> bool:
    """True where guessing lies within the interval or above it."""
    return score.low is not None and score.chance is not None and score.low <= score.chance


def _rows(facts: Facts) -> list[Reason]:
    """Contamination, personal data, licences that nobody said."""
    said = []
    params, found = facts.filter_params, facts.filter_stats.get("contamination", {})
    for name, counts in found.items():
        kept = params.get("decontaminate", "drop") != "drop"
        fate_en, fate_zh = ("kept", "保留") if kept else ("dropped", "丢弃")
        said.append(
            Reason(
                f"{counts['found']:,} of {counts['questions']:,} questions of {name} stood in the training rows; the {counts['rows']:,} rows that "
                f"held one were {fate_en}. Literal copies alone are found, so a rewritten question may have been learned.",
                f"{name} 的 {counts['questions']:,} 道题中有 {counts['found']:,} 道出现在训练数据里；含题的 {counts['rows']:,} 行已{fate_zh}。"
                "只能找到原样的题，改写过的可能学到了。",
            )
        )
    masked = sum(count for counts in facts.filter_stats.get("personal_data", {}).values() for count in counts.values())
    if masked:
        how_en, how_zh = {"mask": ("masked", "遮盖"), "drop": ("dropped with their rows", "连行丢弃")}.get(
            params.get("privacy", "mask"), ("left as they are", "原样保留")
        )
        said.append(
            Reason(
                f"{masked:,} phone numbers, addresses and the like were found in the rows and {how_en}; the patterns "
                "miss names, and others may remain.",
                f"各行中找到 {masked:,} 处电话、地址等个人信息，已{how_zh}；规则不认人名，可能还有遗漏。",
            )
        )
    if unknown := [source.name for source in facts.learned if source.licence == UNKNOWN]:
        said.append(
            Reason(
                f"Nobody said under which licence these rows may be used: {', '.join(unknown)}.",
                f"没有人说明这些来源的许可证：{'、'.join(unknown)}。",
            )
        )
    return said


METRICS = {
    "right free answers": "自由回答正确率",
    "accuracy": "正确率",
    "preference accuracy": "偏好正确率",
    "answers that end": "能结束的回答",
    "bits per byte": "每字节比特数",
}
OBJECTS = {"held-out pairs": "留出的偏好对", "held-out prompts": "留出的问题", "held-out text": "留出的文本"}


def percent(share: float) -> str:
    """0.6123 → 61.2 %."""
    return f"{100 * share:.1f} %"


def short(count: float) -> str:
    """2923200 → 2.9M."""
    for least, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= least:
            return f"{count / least:.3g}{unit}"
    return f"{count:g}"
