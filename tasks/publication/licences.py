"""Licences of sources, and the one that follows from them: an order of strictness, and the conflicts between their conditions.

A licence is an SPDX expression (`CC-BY-SA-4.0 OR GFDL-1.3-or-later`), an identifier of the Hugging Face hub (`odc-by`), `unknown`, or words of
one's own. What is made of a source is treated as bound by the source's licence. Whether a model is, no court has settled; this is the careful
reading, and no legal advice.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator

UNKNOWN, OTHER = "unknown", "other"
SAMPLE = "MIT"  # of the sample corpus: Hanlin's own licence, since Hanlin writes it

# identifiers of the hub that SPDX spells otherwise, or lacks (https://huggingface.co/docs/hub/repositories-licenses)
FROM_HUB = {
    "agpl-3.0": "AGPL-3.0-only", "gfdl": "GFDL-1.3-or-later", "gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only", "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only", "odbl": "ODbL-1.0", "odc-by": "ODC-By-1.0", "pddl": "PDDL-1.0",
}  # fmt: skip
HUB_ALONE = ("openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m", "bigcode-openrail-m", "gemma", "llama2", "llama3",
             "llama3.1", "llama3.2", "llama3.3", "llama4")  # fmt: skip
ON_HUB = {
    *(name.lower() for name in ("Apache-2.0", "MIT", "Unlicense", "ISC", "Zlib", "WTFPL", "MPL-2.0", "EUPL-1.2", "OSL-3.0", "BSD-2-Clause",
      "BSD-3-Clause", "CC0-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0",
      "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0",
      "CDLA-Sharing-1.0", "CDLA-Permissive-1.0", "CDLA-Permissive-2.0")),
    *FROM_HUB, *HUB_ALONE,
}  # fmt: skip

# from the least to the strictest; a name without a version stands for all of them
ORDER = {
    "free": ("Unlicense", "0BSD", "WTFPL", "PDDL", "CC0"),
    "attribution": (
        "ISC",
        "MIT",
        "Zlib",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "MulanPSL",
        "CDLA-Permissive",
        "ODC-By",
        "Apache",
        "CC-BY",
    ),
    "share-alike": ("CDLA-Sharing", "MPL", "LGPL", "ODbL", "CC-BY-SA", "GFDL", "EUPL", "OSL", "GPL", "AGPL"),
    "use": HUB_ALONE,
    "non-commercial": ("CC-BY-NC",),
    "non-commercial share-alike": ("CC-BY-NC-SA",),
    "no derivatives": ("CC-BY-ND", "CC-BY-NC-ND"),
}
KINDS = tuple(ORDER)
_VERSION = re.compile(r"-\d+(\.\d+)*(-only|-or-later)?(-[A-Z]{2,3})?$")
# what may be passed on under which other share-alike licence, one step each
BECOMES = {
    "CC-BY-SA-3.0": {"CC-BY-SA-4.0"},  # its section 4b: a later version
    "CC-BY-SA-4.0": {"GPL-3.0-only"},  # https://creativecommons.org/share-your-work/licensing-considerations/compatible-licenses
    "GPL-2.0-or-later": {"GPL-2.0-only", "GPL-3.0-or-later"},
    "GPL-3.0-or-later": {"GPL-3.0-only"},
    "GPL-3.0-only": {"AGPL-3.0-only"},  # section 13 of both
    "AGPL-3.0-or-later": {"AGPL-3.0-only"},
    "LGPL-2.1-or-later": {"LGPL-2.1-only", "LGPL-3.0-or-later", "GPL-2.0-or-later"},
    "LGPL-2.1-only": {"GPL-2.0-or-later"},  # its section 3
    "LGPL-3.0-or-later": {"LGPL-3.0-only"},
    "LGPL-3.0-only": {"GPL-3.0-only"},
    "MPL-2.0": {"GPL-2.0-or-later", "LGPL-2.1-or-later", "AGPL-3.0-or-later"},  # its section 1.12
    "GFDL-1.2-or-later": {"GFDL-1.2-only", "GFDL-1.3-or-later"},
    "GFDL-1.3-or-later": {"GFDL-1.3-only"},
    "CC-BY-NC-SA-3.0": {"CC-BY-NC-SA-4.0"},
}  # fmt: skip


def checked(text: str) -> str:
    """A licence as it is kept: the canonical spelling of identifiers, `unknown` for nothing, words of one's own as they are.

    Raises `ValueError` for one word that is no identifier, and for words that are nearly one.
    """
    text = " ".join(text.split())
    if text.lower() in ("", UNKNOWN):
        return UNKNOWN
    if text.lower() in FROM_HUB:
        return FROM_HUB[text.lower()]
    if text.lower() in HUB_ALONE:
        return text.lower()
    try:
        return canonicalize_license_expression(" ".join(FROM_HUB.get(word.lower(), word) for word in text.split()))
    except InvalidLicenseExpression:
        pass
    near = _near(text)
    if " " in text and not near:
        return text
    hint = f"did you mean {near}?" if near else "https://spdx.org/licenses lists them"
    raise ValueError(f"no licence is called so; {hint} (unknown, or a licence in words of your own, is right too)")


LicenceText = Annotated[str, AfterValidator(checked)]


def _near(text: str) -> str:
    """The identifier that a text was probably meant to be; empty where none is near."""
    from packaging.licenses._spdx import LICENSES

    names = {name: entry["id"] for name, entry in LICENSES.items()} | {name: name for name in (*FROM_HUB, *HUB_ALONE)}
    dashed = re.sub(r"[\s_-]+", "-", text.lower().removesuffix(" license").removesuffix(" licence"))
    if dashed in names:
        return names[dashed]
    close = [] if " " in text else difflib.get_close_matches(dashed, names, 1, cutoff=0.75)
    return names[close[0]] if close else ""


def kind(licence: str) -> str:
    """The class of conditions of one identifier, a key of `ORDER`; `unknown` for all else."""
    family = _family(licence)
    return next((kind for kind, families in ORDER.items() if family in families), UNKNOWN)


def _family(licence: str) -> str:
    return licence if licence in HUB_ALONE else _VERSION.sub("", licence)


def _rank(licence: str) -> tuple[int, int, str]:
    """Its place in the order, with the newer version of one family as the stricter one."""
    place = kind(licence)
    return (KINDS.index(place), ORDER[place].index(_family(licence)), licence) if place in ORDER else (len(KINDS), 0, licence)


def choices(text: str) -> list[frozenset[str]]:
    """The sets of licences of which one binds: `A OR (B AND C)` → {A}, {B, C}. What is no identifier stands for itself."""
    try:
        expression = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return [frozenset([text])]
    names = list(dict.fromkeys(re.findall(r"[^\s()]+(?: WITH [^\s()]+)?", re.sub(r"\b(AND|OR)\b", " ", expression))))
    spelled = str(expression)
    for number, name in sorted(enumerate(names), key=lambda each: -len(each[1])):
        spelled = re.sub(rf"(?<![\w.+-]){re.escape(name)}(?![\w.+-])", f"_{number}", spelled)
    tree = ast.parse(spelled.replace("AND", "and").replace("OR", "or"), mode="eval").body

    def sets(node: ast.expr) -> list[frozenset[str]]:
        if isinstance(node, ast.Name):
            return [frozenset([names[int(node.id[1:])]])]
        assert isinstance(node, ast.BoolOp)
        parts = [sets(value) for value in node.values]
        if isinstance(node.op, ast.Or):
            return [each for part in parts for each in part]
        return [frozenset().union(*chosen) for chosen in product(*parts)]

    return sets(tree)


@dataclass(frozen=True)
class Reason:
    """One sentence, in English and in Chinese."""

    en: str
    zh: str


@dataclass(frozen=True)
class Verdict:
    """The licence of what was made of several sources: an identifier, or `other` where none would be right; and why."""

    licence: str
    reasons: tuple[Reason, ...]

    @property
    def hub(self) -> str:
        """As the hub's `license:` has it; `other` for what the hub has no identifier of."""
        of_hub = {spdx: name for name, spdx in FROM_HUB.items()} | {f"{name[:-4]}or-later": hub for hub, name in FROM_HUB.items()}
        name = of_hub.get(self.licence, self.licence.lower())
        return name if name in ON_HUB else OTHER

    @property
    def link(self) -> str:
        """The address of its text; empty for what SPDX does not list."""
        return f"https://spdx.org/licenses/{self.licence}.html" if kind(self.licence) not in (UNKNOWN, "use") else ""


def combined(sources: Mapping[str, str]) -> Verdict:
    """The licence of what is made of these sources (name → licence): the strictest of theirs, or `other` where conditions clash or one is unknown.

    Where a source leaves the choice (OR), that is taken which makes the result the least strict without a clash.
    """
    if not sources:
        return Verdict(OTHER, (Reason("Nothing is known of what it was made from.", "不知道它由什么制成。"),))
    texts = list(dict.fromkeys(sources.values()))
    outcomes = []
    for bound in _chosen(texts):
        of = {name: sorted(bound[text]) for name, text in sources.items()}
        outcomes.append(_judged(of))
    return min(outcomes, key=lambda verdict: (verdict.licence == OTHER, _rank(verdict.licence)))


def _chosen(texts: Iterable[str]) -> list[dict[str, frozenset[str]]]:
    """The ways to choose among the licences of each text, without those that bind by more than another: more conditions never clash less."""
    found: list[dict[str, frozenset[str]]] = [{}]
    for text in texts:
        wider = {
            frozenset[str]().union(part, *chosen.values()): {**chosen, text: part} for chosen in found for part in choices(text)
        }
        found = [chosen for bound, chosen in wider.items() if not any(other < bound for other in wider)]
    return found


def _judged(of: Mapping[str, list[str]]) -> Verdict:
    """The verdict where every source (name → its licences) binds by all of its licences."""
    holders: dict[str, list[str]] = {}
    for name, licences in of.items():
        for licence in licences:
            holders.setdefault(licence, []).append(name)
    every = sorted(holders, key=_rank)
    reasons = _obstacles(every, holders)
    if reasons:
        return Verdict(OTHER, tuple(reasons))
    strictest = _shared_home([one for one in every if "share-alike" in kind(one)]) or every[-1]
    if _rank(strictest)[0] < _rank(every[-1])[0]:
        strictest = every[-1]
    if strictest not in holders:
        return Verdict(
            strictest,
            (
                Reason(
                    f"The licences of its sources may all be passed on under {strictest}.",
                    f"各来源的许可证都允许以 {strictest} 再发布。",
                ),
            ),
        )
    names = ", ".join(holders[strictest])
    of_all = Reason(f"{strictest} is the licence of all its sources.", f"{strictest} 是所有来源的许可证。")
    of_some = Reason(
        f"{strictest} is the strictest licence of its sources ({names}).", f"{strictest} 是各来源（{names}）中最严格的许可证。"
    )
    return Verdict(strictest, (of_all if len(every) == 1 else of_some,))


def _obstacles(every: list[str], holders: Mapping[str, list[str]]) -> list[Reason]:
    """The reasons why no licence of the list could be that of the result."""
    reasons = []

    def at(licence: str) -> str:
        return f"{licence} ({', '.join(holders[licence])})"

    for one in every:
        if kind(one) == UNKNOWN:
            names = ", ".join(holders[one])
            if one == UNKNOWN:
                reasons.append(Reason(f"No licence is known of {names}.", f"{names} 的许可证未知。"))
            else:
                reasons.append(Reason(f"{names} has terms of its own: “{one}”.", f"{names} 有自己的条款：“{one}”。"))
        if kind(one) == "no derivatives":
            reasons.append(Reason(f"{at(one)} allows no derived works.", f"{at(one)} 不允许演绎作品。"))
    alike = [one for one in every if "share-alike" in kind(one)]
    if len(alike) > 1 and not _shared_home(alike):
        en, zh = " and ".join(map(at, alike)), " 与 ".join(map(at, alike))
        reasons.append(
            Reason(
                f"{en} each demand that what is made of them has that very licence, and it cannot have both.",
                f"{zh} 各自要求衍生作品采用同一许可证，无法同时满足。",
            )
        )
    open_alike = [one for one in alike if kind(one) == "share-alike"]
    limits = {"non-commercial": ("forbids commercial use", "禁止商业使用"), "use": ("restricts what it is used for", "限制用途")}
    for one in every:
        said = limits.get(kind(one).removesuffix(" share-alike") if kind(one) != "share-alike" else "")
        if said and open_alike:
            alike_one = at(open_alike[-1])
            reasons.append(
                Reason(
                    f"{at(one)} {said[0]}, and the share-alike licence {alike_one} lets nobody add such a condition.",
                    f"{at(one)} {said[1]}，而相同方式共享的 {alike_one} 不允许附加这样的条件。",
                )
            )
    uses = [one for one in every if kind(one) == "use"]
    limited = [one for one in every if kind(one).startswith("non-commercial")]
    if uses and (limited or len(uses) > 1):
        en, zh = " and ".join(map(at, uses + limited)), " 与 ".join(map(at, uses + limited))
        reasons.append(Reason(f"{en} each have conditions of their own, which all hold.", f"{zh} 各有自己的条件，须同时遵守。"))
    if {"Apache-2.0", "GPL-2.0-only"} <= set(every):
        reasons.append(Reason("Apache-2.0 and GPL-2.0-only cannot be combined.", "Apache-2.0 与 GPL-2.0-only 不能合并。"))
    return reasons


def _shared_home(alike: Iterable[str]) -> str:
    """The share-alike licence under which all of these may be passed on, the least strict if there are several; empty where there is none."""
    homes = [_homes(one) for one in alike]
    shared = set.intersection(*homes) if homes else set()
    return min(shared, key=_rank, default="")


def _homes(licence: str) -> set[str]:
    """A licence with all those that its text may move on to."""
    found, waiting = set[str](), [licence]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += BECOMES.get(one, ())
    return found
