"""The fine-tune flow: a model that is there, or is pretrained first, learns from a recipe's rows. Run it with `hanlin run RECIPE --flow finetune`.

The data half is the pipeline's. Full fine-tuning, LoRA and QLoRA are settings of the recipe's `sft`; DPO follows where a source serves it, and so
does triple extraction.
"""

from __future__ import annotations

from flows.recipe_flows import recipe_flows

finetune, named = recipe_flows(
    "finetune",
    "From a base model and raw files to an evaluated model that answers; every finished stage is reused.",
    default="vicuna-lora-tiny",
    recipe_form="What to make, from which base, and with which resources.",
    recipe_name="A recipe that ships with Hanlin, and has a base.",
    changes="Fields to change, each as field=value, such as base.path=/models/llama or sft.lora.bits=4.",
)
