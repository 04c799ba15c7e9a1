#!/usr/bin/env bash
# llama.cpp's convert_lora_to_gguf.py (in the sources of llama-cpp-python 0.3.36) writes PEFT's lora_alpha into the GGUF,
# and reads neither use_rslora nor alpha_pattern. llama.cpp then scales by alpha / rank. With rsLoRA PEFT scales by
# alpha / √rank: of rank 64 the converted adapter is an eighth as strong, and nothing says so. With an alpha_pattern,
# layers have other alphas.
# Seen: the files of three adapters, which differ in these settings alone, have the same adapter.lora.alpha and the same
# tensors, and PEFT's scales of their layers are 2, 4 and 5.
# PEFT, transformers and torch are installed, and the script is taken from the sources.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q torch==2.13.0 transformers==4.57.6 peft==0.21.2 sentencepiece==0.2.3 protobuf==4.25.8
"$folder/venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python --dest "$folder" llama-cpp-python==0.3.36
tar -xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder"

cd "$folder"
cat > make.py <<'PYTHON'
import json
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

shape = dict(vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
VARIANTS = {"plain": {}, "rslora": {"use_rslora": True}, "pattern": {"alpha_pattern": {"down_proj": 20}}}
scales = {}
for name, settings in VARIANTS.items():
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(**shape))
    base.save_pretrained("base")
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["down_proj"], init_lora_weights=False, **settings)
    get_peft_model(base, config).save_pretrained(name)
    loaded = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained("base"), name)
    [scales[name]] = {m.scaling["default"] for n, m in loaded.named_modules() if n.endswith("down_proj")}
Path("scales.json").write_text(json.dumps(scales))
PYTHON
cat > compare.py <<'PYTHON'
import json
import sys
from pathlib import Path

sys.path.insert(0, str(next(Path().glob("llama_cpp_python-*/vendor/llama.cpp/gguf-py"))))
import gguf
import numpy as np

scales = json.loads(Path("scales.json").read_text())
found = {}
for name in scales:
    reader = gguf.GGUFReader(f"{name}.gguf")
    alpha = reader.fields["adapter.lora.alpha"].contents()
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    rank = next(array.shape[1] for key, array in tensors.items() if key.endswith(".lora_b"))
    found[name] = (alpha / rank, tensors)
    print(f"{name}: PEFT scales by {scales[name]:g}, the GGUF by {alpha:g} / {rank}")
assert scales == {"plain": 2.0, "rslora": 4.0, "pattern": 5.0}
first_scale, first = found["plain"]
for name, (scale, tensors) in found.items():
    assert scale == first_scale == 2.0, "the behaviour has changed"
    assert all(np.array_equal(tensors[key], first[key]) for key in first), "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" make.py 2>/dev/null
for name in plain rslora pattern; do
    "$folder/venv/bin/python" llama_cpp_python-*/vendor/llama.cpp/convert_lora_to_gguf.py \
        --base base --outfile "$name.gguf" "$name" 2>/dev/null
done
"$folder/venv/bin/python" compare.py
