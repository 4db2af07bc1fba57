"""Loads exported models in Hugging Face transformers and compares their logits with those given.

Called by compare_transformers.ts; reads {"ids": [...], "models": {directory: logits}} from a file.
"""

import json
import os
import sys

os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", HF_HUB_DISABLE_PROGRESS_BARS="1")

import torch  # noqa: E402
import transformers  # noqa: E402

torch._dynamo.config.disable = True
with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)
ids = torch.tensor([given["ids"]])
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
worst = 0.0
for directory, logits in given["models"].items():
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        theirs = model.eval()(ids).logits[0].float()
    ours = torch.tensor(logits).view_as(theirs)
    difference = ((theirs - ours).abs().max() / ours.abs().max()).item()
    same = (theirs.argmax(1) == ours.argmax(1)).float().mean().item()
    print(f"{os.path.basename(directory):36} {difference:.1e} of the largest logit, "
          f"{100 * same:.0f} % of the likeliest tokens the same")
    worst = max(worst, difference)
# A last bit of a scale may round an activation of 8 bits another way.
sys.exit(0 if worst < 1e-2 else 1)
