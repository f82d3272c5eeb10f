#!/usr/bin/env python3
"""A tiny MixLoRA adapter and what it computes.

    eval "$(tools/setup --oracle)"
    $ORACLE_PYTHON tests/golden/make_mixlora_goldens.py

tests/golden/artifact/mixlora/
    base/                 a tiny Llama in float32, as save_pretrained writes it
    today/                adapter_config.json and adapter_model.bin, feed-forward block only, names of today
    attention/            the same with LoRA on q, k, v and o, "expert_lora" of another rank, and names of old (gate, experts.N.w1_proj)
    expected.safetensors  tokens, and of both adapters the logits in float32 of MixLoRA's own formula
"""
import json
import pathlib
import shutil

import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "artifact" / "mixlora"
LAYERS, HIDDEN, FFN, EXPERTS = 2, 16, 24, 3
PROJECTIONS = {"gate": (HIDDEN, FFN), "up": (HIDDEN, FFN), "down": (FFN, HIDDEN)}
ATTENTION = {"q": (HIDDEN, HIDDEN), "k": (HIDDEN, HIDDEN // 2), "v": (HIDDEN, HIDDEN // 2), "o": (HIDDEN, HIDDEN)}
OLD = {"gate": "w1_proj", "down": "w2_proj", "up": "w3_proj"}


def pair(generator, inputs, outputs, rank):
    return tuple(0.3 * torch.randn(*shape, generator=generator) for shape in ((rank, inputs), (outputs, rank)))


class Mixture(torch.nn.Module):
    """One feed-forward block: softmax over all experts in float32, the top k renormalised, every expert a whole block on shared base products."""

    def __init__(self, original, gate, experts, scale, top_k):
        super().__init__()
        self.original, self.gate, self.experts, self.scale, self.top_k = original, gate, experts, scale, top_k

    def expert(self, x, e):
        def adapted(linear, y, name):
            a, b = self.experts[e][name]
            return linear(y) + self.scale * (y @ a.T @ b.T)

        hidden = torch.nn.functional.silu(adapted(self.original.gate_proj, x, "gate")) * adapted(self.original.up_proj, x, "up")
        return adapted(self.original.down_proj, hidden, "down")

    def forward(self, x):
        top, chosen = torch.softmax(x @ self.gate.T, -1).topk(self.top_k, -1)
        weights = torch.zeros(*x.shape[:-1], EXPERTS).scatter(-1, chosen, top / top.sum(-1, keepdim=True))
        return sum(weights[..., e:e + 1] * self.expert(x, e) for e in range(EXPERTS))


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    torch.manual_seed(4)
    config = transformers.LlamaConfig(vocab_size=32, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=2,
                                      num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    transformers.LlamaForCausalLM(config).save_pretrained(OUT / "base")
    tokens = torch.randint(3, 32, (1, 24), generator=torch.Generator().manual_seed(3))
    expected = {"tokens": tokens[0]}
    for name, seed, rank, attention_rank, top_k in (("today", 5, 2, 0, 2), ("attention", 6, 3, 2, 1)):
        generator = torch.Generator().manual_seed(seed)
        old = attention_rank > 0
        document = {"bias": "none", "peft_type": "MIXLORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "tiny", "r": attention_rank or rank,
                    "lora_alpha": 4, "lora_dropout": 0.05, "target_modules": [f"{p}_proj" for p in (*PROJECTIONS, *(ATTENTION if old else ()))],
                    "routing_strategy": "mixtral" if old else "mixlora", "num_experts": EXPERTS, "top_k": top_k, "act_fn": "silu"}
        scale = 4 / rank
        if old:
            document["target_modules"] = {name: True for name in document["target_modules"]}
            document["expert_lora"] = {"r": rank, "lora_alpha": 6, "lora_dropout": 0.05, "use_rslora": True}
            scale = 6 / rank**0.5
        model = transformers.LlamaForCausalLM.from_pretrained(OUT / "base", dtype=torch.float32).eval()
        tensors = {}
        for index, layer in enumerate(model.model.layers):
            prefix = f"mixlora.layers.{index}."
            gate = torch.randn(EXPERTS, HIDDEN, generator=generator)
            tensors[prefix + ("gate.weight" if old else "mlp.moe_gate.weight")] = gate
            experts = [{p: pair(generator, *shape, rank) for p, shape in PROJECTIONS.items()} for _ in range(EXPERTS)]
            for e, expert in enumerate(experts):
                for p, (a, b) in expert.items():
                    module = f"{prefix}experts.{e}.{OLD[p]}" if old else f"{prefix}mlp.{p}_proj.experts.{e}"
                    tensors[module + ".lora_A.weight"], tensors[module + ".lora_B.weight"] = a, b
            layer.mlp = Mixture(layer.mlp, gate, experts, scale, top_k)
            for p, shape in (ATTENTION.items() if old else ()):
                a, b = pair(generator, *shape, attention_rank)
                tensors[f"{prefix}self_attn.{p}_proj.lora_A.weight"], tensors[f"{prefix}self_attn.{p}_proj.lora_B.weight"] = a, b
                with torch.no_grad():
                    getattr(layer.self_attn, f"{p}_proj").weight += 4 / attention_rank * b @ a
        (OUT / name).mkdir()
        (OUT / name / "adapter_config.json").write_text(json.dumps(document, indent=2) + "\n")
        torch.save(tensors, OUT / name / "adapter_model.bin")
        with torch.no_grad():
            expected[f"{name}.logits"] = model(tokens).logits[0].contiguous()
    save_file(expected, OUT / "expected.safetensors")


if __name__ == "__main__":
    main()
