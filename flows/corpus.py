"""The corpus flow: raw sources → curated corpus, with a report about the data. The data half of the pipeline, and the same artifacts.

Run it with `hanlin run RECIPE --flow corpus`. A recipe for it needs no source for fine-tuning, preferences or evaluation.
"""

from __future__ import annotations

from flows.recipe_flows import recipe_flows

corpus, named = recipe_flows(
    "corpus",
    "From raw files to deduplicated, filtered and split rows, with a report. Stages whose result is in the store are not run again.",
)
