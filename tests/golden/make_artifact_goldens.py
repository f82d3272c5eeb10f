#!/usr/bin/env python3
"""Goldens of the artifact room, written by the libraries themselves.

    python tests/golden/make_artifact_goldens.py        (a Python with torch, transformers, peft and safetensors)

tests/golden/artifact/python.safetensors   one tensor of each dtype read, an empty one and a scalar, with metadata
tests/golden/artifact/peft.json            adapter_config.json variants with PEFT's own verdict: module -> [rank, scale]
"""
import json
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

OUT = Path(__file__).parent / "artifact"

VARIANTS = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["gate_proj", "up_proj", "down_proj"]),
    "rslora": dict(r=4, lora_alpha=6, use_rslora=True, target_modules=["gate_proj", "down_proj"]),
    "patterns": dict(r=3, lora_alpha=6, target_modules=["gate_proj", "up_proj", "down_proj"],
                     rank_pattern={"down_proj": 2, "layers.1.mlp.down_proj": 7, r"layers\.(0|2)\.mlp\.up_proj": 5},
                     alpha_pattern={"layers.2.mlp.gate_proj": 9, "proj": 100, ".*up_proj": 4}),
    "patterns_rslora": dict(r=9, lora_alpha=2, use_rslora=True, target_modules=["up_proj"], rank_pattern={"layers.1.mlp.up_proj": 4}),
    "regex": dict(r=2, lora_alpha=4, target_modules=r"model\.layers\.[02]\.mlp\.(gate|up)_proj"),
    "tail_regex": dict(r=2, lora_alpha=4, target_modules=r".*mlp\.gate_proj"),
    "layers": dict(r=2, lora_alpha=4, target_modules=["gate_proj"], layers_to_transform=[0, 2]),
    "one_layer": dict(r=2, lora_alpha=4, target_modules=["mlp.up_proj"], layers_to_transform=0, layers_pattern="layers"),
    "full_name": dict(r=2, lora_alpha=4, target_modules=["model.layers.1.mlp.up_proj", "down_proj"], layers_to_transform=[0]),
    "exclude": dict(r=2, lora_alpha=4, target_modules=["gate_proj", "up_proj"], exclude_modules=["layers.1.mlp.up_proj"]),
    "exclude_regex": dict(r=2, lora_alpha=4, target_modules=["gate_proj", "up_proj"], exclude_modules=r".*\.0\..*"),
    "all_linear": dict(r=2, lora_alpha=4, target_modules="all-linear"),
}


def verdict(options):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=16, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2,
                                         num_key_value_heads=1, max_position_embeddings=32))
    config = LoraConfig(task_type="CAUSAL_LM", **options)
    saved = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    model = get_peft_model(model, config).base_model.model
    return saved, {name: [module.r["default"], module.scaling["default"]] for name, module in model.named_modules()
                   if ".mlp." in name and hasattr(module, "scaling")}


def main():
    OUT.mkdir(exist_ok=True)
    cases = {}
    for name, options in VARIANTS.items():
        config, modules = verdict(options)
        cases[name] = {"config": json.dumps(config, default=str), "modules": modules}
    (OUT / "peft.json").write_text(json.dumps(cases, indent=1) + "\n")
    save_file({
        "f32": torch.tensor([[1.5, -2.0, 3.25], [0.0, 1e-8, 6e4]]), "f64": torch.tensor([0.1], dtype=torch.float64),
        "f16": torch.tensor([1.0, -0.5], dtype=torch.float16), "bf16": torch.tensor([1.0, 3.0, -2.0], dtype=torch.bfloat16),
        "i64": torch.tensor([-1, 2**40]), "i32": torch.tensor([7], dtype=torch.int32), "i16": torch.tensor([-300], dtype=torch.int16),
        "i8": torch.tensor([-5, 5], dtype=torch.int8), "u8": torch.tensor([255], dtype=torch.uint8), "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4), "scalar": torch.tensor(2.5),
    }, OUT / "python.safetensors", {"format": "pt", "note": "héllo"})


if __name__ == "__main__":
    main()
