"""The finetune flow: a base model, given or pretrained first, is fine-tuned on a recipe's rows. Run it with `hanlin run RECIPE --flow finetune`.

The data half is the pipeline's. Full fine-tuning, LoRA and QLoRA are settings of the recipe's `sft`; DPO and triple extraction follow where
a source has rows for them.
"""

from __future__ import annotations

from flows.recipe_flows import recipe_flows

finetune, named = recipe_flows(
    "finetune",
    "Fine-tunes a base model on a recipe's rows, and evaluates it. Stages whose result is in the store are not run again.",
    default="vicuna-lora-tiny",
    recipe_form="The base model, the settings of every stage, and the resources to run with.",
    recipe_name="Name of a recipe that ships with Hanlin and has a base model.",
    changes="Fields of the recipe to change for this run, each as field=value, such as base.path=/models/llama or sft.lora.bits=4.",
)
