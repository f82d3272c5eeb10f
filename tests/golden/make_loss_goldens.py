#!/usr/bin/env python3
"""Makes tests/golden/training/losses.safetensors: losses beside the answers' and their gradients, by PyTorch from the formulas alone.

    eval "$(tools/setup --oracle)"
    $ORACLE_PYTHON tests/golden/make_loss_goldens.py

variance.GATE.{logits,loss,grad}   L_v of 2505.22323 over the scores of gate ste (p) and renorm (the two largest p over their sum)
roma.*                             RoMA's regulariser (2511.07419) of a linear router over two layers; routes of neighbours are constants
lpr.*                              a Latent Prototype Router (2506.21328), top-2: gates, its three losses, gradients of gates . pull + losses, and the keys
                                   after a step without an optimiser; the noise is what a generator of seed 9 draws
orthogonality.*                    L_o of 2505.22323 over the deltas of three LoRA experts; the fourth column of `gates` is the base
"""
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parent
GENERATOR = torch.Generator().manual_seed(31)


def randn(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def variance(out):
    for gate in ("ste", "renorm"):
        logits = (2 * randn(12, 5)).requires_grad_()
        scores = logits.softmax(-1)
        if gate == "renorm":
            hard = torch.zeros_like(scores).scatter(-1, scores.topk(2, -1).indices, 1.0)
            scores = scores * hard / (scores * hard).sum(-1, keepdim=True)
        # Over rows a mean, over the n experts 1 / n as published.
        loss = -((scores - scores.mean(0)) ** 2).sum(-1).mean() / scores.shape[1]
        loss.backward()
        out |= {f"variance.{gate}.logits": logits.detach(), f"variance.{gate}.loss": loss.detach(), f"variance.{gate}.grad": logits.grad}


def projection(a, b):
    """What a has in the direction of b."""
    return (a @ b) / (b @ b + 1e-8) * b


def orthogonality(out):
    rows, hidden, width = 9, 10, 14
    base = {name: randn(*shape) / 3 for name, shape in {"gate": (width, hidden), "up": (width, hidden), "down": (hidden, width)}.items()}
    x = randn(rows, hidden).requires_grad_()
    gates = torch.tensor([[.7, .3, 0, 0], [.5, 0, .5, 0], [0, .4, .6, 0], [.2, .3, .5, 0], [1, 0, 0, 0], [0, .6, 0, .4], [0, 0, 0, 1], [.9, 0, .1, 0],
                          [0, .5, .5, 0]])
    experts = []
    for e, rank in enumerate((2, 3, 2)):
        lora = {}
        for name in ("gate", "up") if e == 1 else ("gate", "up", "down"):
            size_out, size_in = base[name].shape
            lora[name] = ((randn(rank, size_in) / 2).requires_grad_(), (randn(size_out, rank) / 2).requires_grad_())
        experts.append((lora, 0.5 + 0.25 * e))

    def full(row, lora, scale):
        def linear(name, v):
            y = base[name] @ v
            return y + scale * lora[name][1] @ (lora[name][0] @ v) if name in lora else y

        return linear("down", F.silu(linear("gate", row)) * linear("up", row))

    loss = 0.0
    for t in range(rows):
        deltas = [full(x[t], *experts[e]) - full(x[t], {}, 0) for e in range(3) if gates[t, e] > 0]
        for j, a in enumerate(deltas):
            for k, b in enumerate(deltas):
                if j != k:
                    loss = loss + projection(a, b).square().sum()
    loss.backward()
    out |= {f"orthogonality.base.{name}": value for name, value in base.items()}
    out |= {"orthogonality.x": x.detach(), "orthogonality.gates": gates, "orthogonality.loss": loss.detach(), "orthogonality.grad.x": x.grad}
    for e, (lora, scale) in enumerate(experts):
        out[f"orthogonality.scale.{e}"] = torch.tensor([scale])
        for name, (a, b) in lora.items():
            for part, tensor in (("a", a), ("b", b)):
                out[f"orthogonality.weight.{e}.{name}.{part}"] = tensor.detach()
                out[f"orthogonality.grad.{e}.{name}.{part}"] = tensor.grad


def roma(out):
    hidden, experts, samples, neighbours, sigma = 6, 4, 3, 2, 0.4
    rows = torch.tensor([2, 5, 6])  # each sample's last prompt token in its batch of 8 rows
    distances = torch.rand(samples, neighbours, generator=GENERATOR)
    weights = torch.exp(-distances ** 2 / (2 * sigma ** 2))
    weights = weights / weights.sum(-1, keepdim=True)
    inputs, routers, recorded = randn(2, 8, hidden), [randn(experts, hidden).requires_grad_() for _ in range(2)], randn(2, samples, neighbours, experts).softmax(-1)
    # r_i: the routes of all layers in one vector.
    own = torch.cat([(x[rows] @ w.T).softmax(-1) for x, w in zip(inputs, routers)], -1)
    others = torch.cat(list(recorded), -1)
    loss = sum(weights[i, j] * (own[i] - others[i, j]).square().sum() for i in range(samples) for j in range(neighbours)) / samples
    loss.backward()
    out |= {"roma.rows": rows.float(), "roma.distances": distances, "roma.weights": weights, "roma.loss": loss.detach()}
    for layer, router in enumerate(routers):
        out |= {f"roma.x.{layer}": inputs[layer], f"roma.weight.{layer}": router.detach(), f"roma.grad.{layer}": router.grad, f"roma.routes.{layer}": recorded[layer]}


def off_identity(rows):
    unit = F.normalize(rows, dim=-1)
    return F.mse_loss(unit @ unit.T, torch.eye(len(rows)))


def lpr(out):
    rows, hidden, width, experts = 10, 6, 4, 3
    p = {"norm.weight": 1 + randn(hidden) / 3, "norm.bias": randn(hidden) / 3, "mean.weight": randn(width, hidden), "mean.bias": randn(width) / 3,
         "log_variance.weight": randn(width, hidden) / 2, "log_variance.bias": randn(width) / 3, "keys": randn(experts, width)}
    p = {name: tensor.requires_grad_() for name, tensor in p.items()}
    x, pull = (2 * randn(rows, hidden)).requires_grad_(), randn(rows, experts)

    def encode(x):
        h = F.silu(F.layer_norm(x, (hidden,), p["norm.weight"], p["norm.bias"]))
        return F.linear(h, p["mean.weight"], p["mean.bias"]), F.linear(h, p["log_variance.weight"], p["log_variance.bias"])

    def route(z):
        probabilities = F.cosine_similarity(z[:, None], p["keys"][None], dim=-1).softmax(-1)
        hard = torch.zeros_like(probabilities).scatter(-1, probabilities.topk(2, -1).indices, 1.0)
        return probabilities * hard / (probabilities * hard).sum(-1, keepdim=True)

    mean, log_variance = encode(x)
    noise = torch.empty(rows, width).normal_(generator=torch.Generator().manual_seed(9))
    z = mean + log_variance.mul(.5).exp() * noise
    gates = route(z)
    assert (gates.sum(0) > 0).all()
    tokens = (gates.T @ z / gates.sum(0)[:, None]).detach()
    losses = {"diversity": off_identity(mean) + off_identity(p["keys"]),
              "kl": -.5 * (1 + log_variance - mean ** 2 - log_variance.exp()).sum(-1).mean(),
              "align": (p["keys"] - tokens).abs().mean()}
    ((gates * pull).sum() + .5 * (losses["diversity"] + .3 * losses["kl"] + .2 * losses["align"])).backward()
    out |= {"lpr.x": x.detach(), "lpr.pull": pull, "lpr.gates": gates.detach(), "lpr.evaluated": route(mean).detach(), "lpr.grad.x": x.grad,
            "lpr.keys.after": (.8 * p["keys"] + .2 * tokens).detach()}
    out |= {f"lpr.weight.{name}": tensor.detach() for name, tensor in p.items()} | {f"lpr.grad.{name}": tensor.grad for name, tensor in p.items()}
    out |= {f"lpr.{name}.loss": value.detach() for name, value in losses.items()}


def main():
    out = {}
    variance(out)
    orthogonality(out)
    roma(out)
    lpr(out)
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, ROOT / "training" / "losses.safetensors")
    print({name: round(tensor.item(), 6) for name, tensor in out.items() if name.endswith("loss")})


if __name__ == "__main__":
    main()
