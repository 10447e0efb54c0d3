"""The pipeline flow: raw sources → evaluated, aligned chat model. Run it with `hanlin run RECIPE`, or from a deployment."""

from __future__ import annotations

from flows.recipe_flows import recipe_flows

pipeline, named = recipe_flows(
    "pipeline", "From raw files to an aligned and evaluated chat model. Stages whose result is in the store are not run again."
)
