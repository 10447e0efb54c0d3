#!/usr/bin/env bash
# A resumed training of a mixture of experts goes on with new experts and the old experts' moments.
#
# Expected: Trainer.train(resume_from_checkpoint=...) goes on from the weights that the Trainer itself saved.
# Happens:  the model holds all experts of a layer in one tensor, its checkpoint holds each by itself. from_pretrained puts them
#   together; the trainer loads by name, finds none and leaves the experts as it got them: random, in a new process. The rest of
#   the model, the optimizer's moments of these very experts, the schedule and the step are restored. "Missing keys" is a line
#   in the log, not an error.
# Versions: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0 (a tiny Qwen3-MoE with random weights; no download).
#   Reported for 5.17 as transformers issue 48805.
# Matters:  experts are most of such a model, so a run that was interrupted once has lost most of what it learned.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0
"$work/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0 accelerate==1.15.0 tokenizers==0.23.3 \
  huggingface_hub==2.4.0 safetensors==0.8.0 numpy==2.4.6
cd "$work"
HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 "$work/venv/bin/python" - <<'PY'
import accelerate
import torch
import transformers
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM, Trainer, TrainerCallback, TrainingArguments

print("transformers", transformers.__version__, "accelerate", accelerate.__version__, "torch", torch.__version__)
config = Qwen3MoeConfig(
    vocab_size=32, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2, pad_token_id=0, bos_token_id=1, eos_token_id=2)
rows = [{"input_ids": torch.arange(1, 9), "labels": torch.arange(1, 9)}] * 16


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def trainer(seed, steps):
    torch.manual_seed(seed)
    arguments = TrainingArguments(
        "out", max_steps=steps, save_steps=2, per_device_train_batch_size=4, use_cpu=True, report_to=[], learning_rate=1e-3, disable_tqdm=True)
    return Trainer(Qwen3MoeForCausalLM(config), arguments, train_dataset=rows)


earlier = trainer(seed=0, steps=2)
earlier.train()
saved = weights(earlier.model)


class AsResumed(TrainerCallback):
    def on_step_begin(self, args, state, control, model=None, optimizer=None, **rest):
        if state.global_step == 2:
            self.weights = weights(model)
            self.moments = sum(len(state) > 0 for state in optimizer.state.values()), len(self.weights)


look = AsResumed()
later = trainer(seed=1, steps=3)   # another seed, as in another process
later.add_callback(look)
later.train(resume_from_checkpoint="out/checkpoint-2")

lost = {name for name in saved if not torch.equal(saved[name], look.weights[name])}
share = sum(saved[name].numel() for name in lost) / sum(weight.numel() for weight in saved.values())
print("not restored:", *sorted(lost), sep="\n   ")
print(f"that is {share:.0%} of the parameters of this small model; moments restored for {look.moments[0]} of {look.moments[1]} tensors")
direct = weights(Qwen3MoeForCausalLM.from_pretrained("out/checkpoint-2"))
print("from_pretrained on the same folder:", "all equal" if all(torch.equal(saved[name], direct[name]) for name in saved) else "differs")

assert lost == {name for name in saved if ".experts." in name} and len(lost) == 4, lost
assert look.moments[0] == look.moments[1]
assert all(torch.equal(saved[name], direct[name]) for name in saved)
PY
