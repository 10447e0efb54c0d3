"""Which stages each file below `tasks/` and `models/` is code of: touching it makes their artifacts "made by other code", and no other's.

A folder stands for all files below it that have no line of their own. A stage's name stands for all its variants. No stage: how artifacts are
stored, how processes are started, and what flows alone use.
"""

from __future__ import annotations

ALIKE = {  # word → the stages that it stands for
    "training": "pretrain sft reward reference dpo",
    "loading": "base fresh pretrain sft rejected reward reference dpo evaluate extraction",
}
BUILDS = {}
