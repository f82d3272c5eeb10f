#!/usr/bin/env python3
"""Makes tests/golden/training/CASE.safetensors: losses and gradients that PyTorch computes on the tiny models of tests/golden/model.

    eval "$(tools/setup --oracle)"
    $ORACLE_PYTHON tests/golden/make_training_goldens.py

Expert: transformers + PEFT, the adapter `plain` trainable, mean cross entropy over the answer rows of two sequences:
    tokens.S [T] i64, answer_begin [S] i64, expert.loss, expert.grad.L.PROJECTION.{a,b}
Routers over (the case's experts in order, zero), frozen: written here from the formulas alone (every expert's full block on every row):
    router.KIND.{ce,loss} and router.KIND.{weight,grad}.L.TENSOR, KIND one of
    ste      top-1, onehot(argmax p) + p - sg(p), balance loss E sum_i mean(hard_i) mean(p_i), z-loss
    renorm   top-2, p over the selected divided by their sum, balance loss E sum_i f_i mean(w_i)
"""
import pathlib

import peft
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent
CASES = {"llama": ["plain", "rslora"], "qwen3": ["plain", "rslora"], "qwen2": ["plain", "narrow"]}
BALANCE, Z_LOSS = 0.1, 0.01
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


def sequences(vocab):
    generator = torch.Generator().manual_seed(77)
    return [torch.randint(3, vocab, (n,), generator=generator) for n in (23, 9)], [14, 5]


def answer_loss(model, texts, begins):
    """Mean of -log p over all answer tokens."""
    total, count = 0.0, 0
    for ids, begin in zip(texts, begins):
        logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
        total = total + F.cross_entropy(logits[begin - 1:-1], ids[begin:], reduction="sum")
        count += len(ids) - begin
    return total / count


def load(case):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_pretrained(ROOT / "model" / case / "model", dtype=torch.float32, attn_implementation="eager").eval()


def expert_goldens(case, texts, begins, out):
    model = peft.PeftModel.from_pretrained(load(case), ROOT / "model" / case / "experts" / "plain", is_trainable=True).eval()
    loss = answer_loss(model, texts, begins)
    loss.backward()
    out["expert.loss"] = loss.detach()
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            continue
        layer = int(name.split(".layers.")[1].split(".")[0])
        projection = next(p for p in PROJECTIONS if p in name)
        out[f"expert.grad.{layer}.{projection}.{'a' if 'lora_A' in name else 'b'}"] = parameter.grad.clone()


class Mixture(torch.nn.Module):
    """F(x) + sum_e g_e (full_e(x) - F(x)), gates by a router of two layers."""

    def __init__(self, mlp, experts, router, kind, losses):
        super().__init__()
        self.mlp, self.experts, self.router, self.kind, self.losses = mlp, experts, router, kind, losses

    def block(self, x, lora):
        def linear(name, v):
            y = getattr(self.mlp, name)(v)
            if lora and name in lora:
                a, b, scale = lora[name]
                y = y + scale * (v @ a.T) @ b.T
            return y

        return linear("down_proj", F.silu(linear("gate_proj", x)) * linear("up_proj", x))

    def forward(self, x):
        flat = x.reshape(-1, x.shape[-1])
        w1, b1, w2, b2 = self.router
        logits = F.relu(flat @ w1.T + b1) @ w2.T + b2
        p, count = logits.softmax(-1), logits.shape[-1]
        top = p.topk(1 if self.kind == "ste" else 2, -1).indices
        hard = torch.zeros_like(p).scatter(-1, top, 1.0)
        if self.kind == "ste":
            gates = share = hard + p - p.detach()
            share = p
        else:
            gates = share = p * hard / (p * hard).sum(-1, keepdim=True)
        self.losses.append((hard.mean(0), share, logits, count, len(flat)))
        plain = self.block(flat, None)
        y = plain
        for e, lora in enumerate(self.experts):
            y = y + gates[:, e:e + 1] * (self.block(flat, lora) - plain)
        return y.reshape(x.shape)


def read_expert(case, name, layer):
    config = peft.PeftConfig.from_pretrained(ROOT / "model" / case / "experts" / name)
    tensors = load_file(ROOT / "model" / case / "experts" / name / "adapter_model.safetensors")
    lora = {}
    for projection in PROJECTIONS:
        prefix = f"base_model.model.model.layers.{layer}.mlp.{projection}"
        if f"{prefix}.lora_A.weight" in tensors:
            scale = config.lora_alpha / (config.r ** 0.5 if config.use_rslora else config.r)
            lora[projection] = (tensors[f"{prefix}.lora_A.weight"], tensors[f"{prefix}.lora_B.weight"], scale)
    return lora


def router_goldens(case, names, kind, texts, begins, out):
    model = load(case)
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    routers, losses = [], []
    for index, layer in enumerate(model.model.layers):
        hidden = model.config.hidden_size
        inner, experts = hidden // 2, [read_expert(case, name, index) for name in names]
        router = [2 * torch.randn(inner, hidden, generator=generator) / hidden ** 0.5, 0.1 * torch.randn(inner, generator=generator),
                  3 * torch.randn(len(names) + 1, inner, generator=generator) / inner ** 0.5, 0.1 * torch.randn(len(names) + 1, generator=generator)]
        routers.append([t.requires_grad_(True) for t in router])
        layer.mlp = Mixture(layer.mlp, experts, routers[-1], kind, losses)
    ce = answer_loss(model, texts, begins)
    # The losses are of a whole batch: rows of all sequences of a layer together.
    layers = len(routers)
    extra = 0.0
    for index in range(layers):
        parts = losses[index::layers]
        rows = sum(n for *_, n in parts)
        hard = sum(h * n for h, _, _, _, n in parts) / rows
        share = torch.cat([s for _, s, _, _, _ in parts]).mean(0)
        extra = extra + BALANCE * parts[0][3] * (hard * share).sum()
        if kind == "ste":
            extra = extra + Z_LOSS * torch.cat([l for _, _, l, _, _ in parts]).logsumexp(-1).square().mean()
    loss = ce + extra
    loss.backward()
    out[f"router.{kind}.ce"], out[f"router.{kind}.loss"] = ce.detach(), loss.detach()
    for index, router in enumerate(routers):
        for name, tensor in zip(("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"), router):
            out[f"router.{kind}.weight.{index}.{name}"] = tensor.detach().clone()
            out[f"router.{kind}.grad.{index}.{name}"] = tensor.grad.clone()


def main():
    (ROOT / "training").mkdir(exist_ok=True)
    for case, names in CASES.items():
        config = transformers.AutoConfig.from_pretrained(ROOT / "model" / case / "model")
        texts, begins = sequences(config.vocab_size)
        out = {f"tokens.{i}": text for i, text in enumerate(texts)} | {"answer_begin": torch.tensor(begins)}
        expert_goldens(case, texts, begins, out)
        for kind in ("ste", "renorm"):
            router_goldens(case, names, kind, texts, begins, out)
        save_file({name: tensor.contiguous() for name, tensor in out.items()}, ROOT / "training" / f"{case}.safetensors")
        print(f"{case}: expert loss {out['expert.loss']:.4f}, ste {out['router.ste.loss']:.4f}, renorm {out['router.renorm.loss']:.4f}")


if __name__ == "__main__":
    main()
