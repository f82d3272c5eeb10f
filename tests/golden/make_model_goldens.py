#!/usr/bin/env python3
"""Makes tests/golden/model/: tiny seeded models, LoRA experts and routers, with what transformers and PEFT compute from them.

    eval "$(tools/setup --oracle)"
    $ORACLE_PYTHON tests/golden/make_model_goldens.py                       # the tiny models
    $ORACLE_PYTHON tests/golden/make_model_goldens.py --smollm2 DIRECTORY   # the real model, from its imported Hugging Face directory

Each case is a directory: `model/` and `experts/NAME/` exactly as save_pretrained wrote them, and `golden.safetensors`:

    prompt.P                      [T] i64         token ids
    VARIANT.P.logits              [T, V] f32      every row, fp32, eager attention
    VARIANT.greedy                [24] i64        greedy continuation of prompt 0
    VARIANT.P.{experts,weights,entropy,margin}    routes, mixture variants only: [T, L, k] and [T, L]
    router.KIND.L.TENSOR          router weights

VARIANT is `base`, `bf16` (transformers in bfloat16), `expert.NAME` (PEFT, that adapter active) or `moe.KIND.kK.WEIGHTS`. The mixture is written
here from the formulas alone (full feed-forward block of every expert, dense one-hot sums), not from any implementation of ours.
"""
import argparse
import json
import math
import pathlib
import shutil

import peft
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "model"
GREEDY_TOKENS = 24
MIN_GREEDY_MARGIN = 1e-3  # choices closer than this would make the goldens depend on rounding
MIN_ROUTE_MARGIN = 5e-5


def seeded(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator)


def randomise(model, seed):
    """Weights at a scale that keeps activations near 1 and spreads the logits."""
    randn = seeded(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "norm" in name:
                parameter.copy_(1.0 + 0.2 * randn(*parameter.shape))
            elif name.endswith(".bias"):
                parameter.copy_(0.3 * randn(*parameter.shape))
            elif "embed_tokens" in name:
                parameter.copy_(randn(*parameter.shape))
            elif "lm_head" in name:
                parameter.copy_(2.0 * randn(*parameter.shape) / math.sqrt(parameter.shape[1]))
            else:
                parameter.copy_(1.2 * randn(*parameter.shape) / math.sqrt(parameter.shape[1]))
    return model.eval()


CASES = {
    # Few heads sharing one key head, head_dim unequal to hidden / heads, all three bands of llama3 rope scaling, own head.
    "llama": dict(
        config=lambda: transformers.LlamaConfig(
            vocab_size=131, hidden_size=40, intermediate_size=88, num_hidden_layers=3, num_attention_heads=5, num_key_value_heads=1, head_dim=24,
            max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=1, eos_token_id=[2, 7],
            rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                 original_max_position_embeddings=64)),
        model=transformers.LlamaForCausalLM, seed=11, shard=None,
        experts=dict(
            plain=dict(r=4, lora_alpha=8, target_modules=["gate_proj", "up_proj", "down_proj"]),
            rslora=dict(r=6, lora_alpha=5, use_rslora=True, target_modules=["gate_proj", "down_proj"]),
            patterns=dict(r=3, lora_alpha=6, target_modules=["gate_proj", "up_proj", "down_proj"], rank_pattern={"layers.1.mlp.up_proj": 5, "down_proj": 2},
                          alpha_pattern={"layers.2.mlp.gate_proj": 9}),
            two_layers=dict(r=2, lora_alpha=2, target_modules=["up_proj"], layers_to_transform=[0, 2], layers_pattern="layers"),
        )),
    # Tied head, head_dim 6, a plain rope with another theta.
    "llama_tied": dict(
        config=lambda: transformers.LlamaConfig(
            vocab_size=97, hidden_size=36, intermediate_size=52, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
            max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
            rope_parameters=dict(rope_type="default", rope_theta=100000.0)),
        model=transformers.LlamaForCausalLM, seed=12, shard=None,
        experts=dict(plain=dict(r=5, lora_alpha=10, target_modules=["gate_proj", "up_proj", "down_proj"]))),
    # Norms on q and k.
    "qwen3": dict(
        config=lambda: transformers.Qwen3Config(
            vocab_size=131, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3, head_dim=24,
            max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
            rope_parameters=dict(rope_type="default", rope_theta=1000000.0)),
        model=transformers.Qwen3ForCausalLM, seed=23, shard=None,
        experts=dict(plain=dict(r=4, lora_alpha=8, target_modules=["gate_proj", "up_proj", "down_proj"]),
                     rslora=dict(r=7, lora_alpha=4, use_rslora=True, target_modules=["up_proj", "down_proj"]))),
    # Bias on q, k and v; linear rope scaling; weights in shards.
    "qwen2": dict(
        config=lambda: transformers.Qwen2Config(
            vocab_size=131, hidden_size=40, intermediate_size=88, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, use_sliding_window=False,
            rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=2.0)),
        model=transformers.Qwen2ForCausalLM, seed=14, shard="80KB",
        experts=dict(plain=dict(r=4, lora_alpha=8, target_modules=["gate_proj", "up_proj", "down_proj"]),
                     narrow=dict(r=1, lora_alpha=3, target_modules=["down_proj"]))),
}
PROMPT_LENGTHS = (5, 19, 90)


def prompts_for(vocab, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocab, (n,), generator=generator) for n in PROMPT_LENGTHS]


@torch.no_grad()
def logits_of(model, prompt):
    return model(input_ids=prompt[None], use_cache=False).logits[0].float().contiguous()


@torch.no_grad()
def greedy_of(model, prompt, what):
    ids = prompt.clone()
    for _ in range(GREEDY_TOKENS):
        top = model(input_ids=ids[None], use_cache=False).logits[0, -1].float().topk(2)
        assert top.values[0] - top.values[1] > MIN_GREEDY_MARGIN, f"{what}: greedy margin {top.values[0] - top.values[1]}"
        ids = torch.cat([ids, top.indices[:1]])
    return ids[len(prompt):].contiguous()


def add_expert(model, directory, name, options, seed):
    config = peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **options)
    wrapped = peft.get_peft_model(model, config)
    randn = seeded(seed)
    with torch.no_grad():
        for key, parameter in sorted(wrapped.named_parameters()):
            if "lora_A" in key:
                parameter.copy_(randn(*parameter.shape) / math.sqrt(parameter.shape[1]))
            elif "lora_B" in key:
                parameter.copy_(0.3 * randn(*parameter.shape))
    wrapped.eval().save_pretrained(directory / "experts" / name)
    (directory / "experts" / name / "README.md").unlink(missing_ok=True)
    config_path = directory / "experts" / name / "adapter_config.json"
    saved = json.loads(config_path.read_text())
    # A path of this machine and a set's order: the only two fields that differ from run to run.
    saved |= {"base_model_name_or_path": directory.name, "target_modules": sorted(saved["target_modules"])}
    config_path.write_text(json.dumps(saved, indent=2) + "\n")
    return wrapped


class MixtureBlock(torch.nn.Module):
    """y = sum_e w_e F_e(x) + (1 - sum w) F(x), F_e the block with expert e's LoRA merged; methods of Dense2MoE (MLP gate) and Switch (linear gate)."""

    def __init__(self, base, experts, gate, k, weights):
        super().__init__()
        self.base, self.experts, self.gate, self.k, self.weights, self.trace = base, experts, gate, k, weights, None

    def full(self, x, deltas):
        gate, up, down = (getattr(self.base, f"{p}_proj").weight + deltas.get(p, 0) for p in ("gate", "up", "down"))
        return F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)

    def forward(self, x):
        logits = self.gate(x)
        p = logits.softmax(-1)
        order = p.argsort(dim=-1, descending=True, stable=True)
        chosen, top = order[..., : self.k], p.gather(-1, order)
        w = top[..., : self.k]
        if self.weights == "renorm":
            w = w / w.sum(-1, keepdim=True)
        margin = top[..., self.k - 1] - top[..., self.k]
        entropy = -(p * p.clamp_min(1e-30).log()).sum(-1)
        self.trace = (chosen[0], w[0], entropy[0], margin[0])
        dense = torch.zeros_like(p).scatter(-1, chosen, w)
        y = (1 - dense.sum(-1, keepdim=True)) * self.full(x, {})
        for e, deltas in enumerate(self.experts):
            y = y + dense[..., e : e + 1] * self.full(x, deltas)
        return y


def merged_deltas(wrapped, layer):
    """scale * B A of each projection of one layer, as PEFT itself computes it."""
    deltas = {}
    for projection in ("gate", "up", "down"):
        module = getattr(wrapped.base_model.model.model.layers[layer].mlp, f"{projection}_proj")
        if isinstance(module, peft.tuners.lora.LoraLayer):
            deltas[projection] = module.get_delta_weight("default").detach().clone()
    return deltas


def make_gate(kind, hidden, experts, randn):
    if kind == "linear":
        w = 1.5 * randn(experts, hidden) / math.sqrt(hidden)
        return {"weight": w}, lambda x: F.linear(x, w)
    half = hidden // 2
    w1, b1 = 1.5 * randn(half, hidden) / math.sqrt(hidden), 0.3 * randn(half)
    w2, b2 = 2.0 * randn(experts, half) / math.sqrt(half), 0.3 * randn(experts)
    return {"w1": w1, "b1": b1, "w2": w2, "b2": b2}, lambda x: F.linear(F.relu(F.linear(x, w1, b1)), w2, b2)


def run_mixture(model, plain, experts_by_layer, gates, variant, prompts):
    """Tensors of one variant, or None when a route or a greedy choice is too close."""
    _, _, k, weights = variant.split(".")
    for layer, base, experts, gate in zip(model.model.layers, plain, experts_by_layer, gates):
        layer.mlp = MixtureBlock(base, experts, gate, int(k[1:]), weights)
    tensors = {}
    for p, prompt in enumerate(prompts[:2]):
        tensors[f"{variant}.{p}.logits"] = logits_of(model, prompt)
        traces = [layer.mlp.trace for layer in model.model.layers]
        for slot, name in enumerate(("experts", "weights", "entropy", "margin")):
            tensors[f"{variant}.{p}.{name}"] = torch.stack([t[slot] for t in traces], dim=1).contiguous()
        if tensors[f"{variant}.{p}.margin"].min() < MIN_ROUTE_MARGIN:
            return None
    tensors[f"{variant}.greedy"] = greedy_of(model, prompts[0], variant)
    return tensors


MIXTURES = {"mlp": ("k1.renorm", "k2.renorm"), "linear": ("k1.raw", "k2.renorm", "k3.raw")}


def mixtures(model, experts_by_layer, prompts, tensors, meta):
    """Every variant of MIXTURES; the gate's seed is the first for which no route is close to a tie."""
    layers = model.model.layers
    plain = [layer.mlp for layer in layers]
    for kind, rules in MIXTURES.items():
        for seed in range(100, 200):
            randn = seeded(seed)
            made = [make_gate(kind, model.config.hidden_size, len(experts), randn) for experts in experts_by_layer]
            gates = [function for _, function in made]
            found = [run_mixture(model, plain, experts_by_layer, gates, f"moe.{kind}.{rule}", prompts) for rule in rules]
            if all(found):
                break
        else:
            raise SystemExit(f"{kind}: every seed gives a route close to a tie")
        for index, (weights, _) in enumerate(made):
            tensors |= {f"router.{kind}.{index}.{name}": tensor for name, tensor in weights.items()}
        for rule, result in zip(rules, found):
            tensors |= result
            meta["variants"].append(f"moe.{kind}.{rule}")
    for index, layer in enumerate(layers):
        layer.mlp = plain[index]


def make_case(name, case):
    directory = OUT / name
    shutil.rmtree(directory, ignore_errors=True)
    torch.manual_seed(case["seed"])
    model = randomise(case["model"]._from_config(case["config"](), attn_implementation="eager"), case["seed"])
    model.save_pretrained(directory / "model", **({"max_shard_size": case["shard"]} if case["shard"] else {}))
    prompts = prompts_for(model.config.vocab_size, case["seed"])
    tensors = {f"prompt.{i}": p for i, p in enumerate(prompts)}
    meta = {"prompts": len(prompts), "variants": ["base"], "experts": list(case["experts"])}
    for i, prompt in enumerate(prompts):
        tensors[f"base.{i}.logits"] = logits_of(model, prompt)
    tensors["base.greedy"] = greedy_of(model, prompts[0], f"{name} base")
    half = case["model"].from_pretrained(directory / "model", dtype=torch.bfloat16, attn_implementation="eager").eval()
    tensors["bf16.1.logits"] = logits_of(half, prompts[1])

    experts_by_layer = [[] for _ in range(model.config.num_hidden_layers)]
    for index, (expert, options) in enumerate(case["experts"].items()):
        fresh = case["model"].from_pretrained(directory / "model", dtype=torch.float32, attn_implementation="eager")
        wrapped = add_expert(fresh, directory, expert, options, 1000 * case["seed"] + index)
        variant = f"expert.{expert}"
        tensors[f"{variant}.1.logits"] = logits_of(wrapped, prompts[1])
        tensors[f"{variant}.greedy"] = greedy_of(wrapped, prompts[0], f"{name} {variant}")
        meta["variants"].append(variant)
        for layer, deltas in enumerate(experts_by_layer):
            deltas.append(merged_deltas(wrapped, layer))
    if name == "llama":
        for deltas in experts_by_layer:
            deltas.insert(2, {})  # the zero expert, in the middle so that no index is right by accident
        meta["mixture_experts"] = list(case["experts"])[:2] + ["zero"] + list(case["experts"])[2:]
        mixtures(model, experts_by_layer, prompts, tensors, meta)
    save_file(tensors, directory / "golden.safetensors", {"golden": json.dumps(meta)})
    print(f"{name}: {sum(f.stat().st_size for f in directory.rglob('*') if f.is_file()) / 1024:.0f} KiB, {len(meta['variants'])} variants")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=pathlib.Path, help="imported SmolLM2-135M-Instruct directory")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    if options.smollm2:
        from make_smollm2_goldens import make_smollm2
        make_smollm2(options.smollm2, OUT / "smollm2")
        return
    for name, case in CASES.items():
        make_case(name, case)


if __name__ == "__main__":
    main()
