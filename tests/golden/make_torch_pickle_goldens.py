#!/usr/bin/env python3
"""Files of torch.save with what is in them, and a tiny Dense2MoE checkpoint.

    eval "$(tools/setup --oracle)"
    $ORACLE_PYTHON tests/golden/make_torch_pickle_goldens.py

tests/golden/artifact/torch/
    state_p{2,3,4,5}.bin        one state dict in each pickle protocol: dtypes, views, shared storages, Parameters, a scalar, an empty one
    expected.safetensors        its values
    refused_*.bin               what the reader must refuse
tests/golden/artifact/dense2moe/
    base/                       a tiny Llama in bfloat16, as save_pretrained writes it
    pytorch_model.bin           torch.save of a wrapper's state dict as Dense2MoE lays it out: 3 experts, the last one with B = 0
    adapters/NAME/final_adapter PEFT directories of the first two, attention included
    expected.safetensors        tokens, and at top-1 and top-2 the logits in float32 of Dense2MoE's own formula (base + weighted differences)
"""
import collections
import os
import pathlib
import shutil

import peft
import torch
import transformers
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parent / "artifact"
LAYERS, HIDDEN, FFN, RANK, EXPERTS = 2, 16, 24, 2, ("code", "law", "zero")
PROJECTIONS = {"gate": (HIDDEN, FFN), "up": (HIDDEN, FFN), "down": (FFN, HIDDEN)}


def state():
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    tensors = module.state_dict()  # an OrderedDict with the attribute _metadata
    matrix = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 8
    tensors["whole"] = matrix
    tensors["again"] = matrix
    tensors["rows"] = matrix[1:3]
    tensors["transposed"] = matrix.t()
    tensors["columns"] = matrix[:, 1:4]
    tensors["transposed_again"] = matrix.t()
    tensors["expanded"] = torch.tensor([[1.0], [2.0]]).expand(2, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.tensor([0.5, -0.25]))
    tensors["frozen"] = torch.nn.Parameter(torch.tensor([7, -7]), requires_grad=False)
    for dtype in (torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        tensors[str(dtype)[6:]] = torch.tensor([[3, 1, 2]], dtype=dtype)
    tensors["bool"] = torch.tensor([True, False])
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    return tensors


class Evil:
    def __reduce__(self):
        return os.system, ("echo executed",)


def pickles(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = state()
    for protocol in (2, 3, 4, 5):
        torch.save(tensors, folder / f"state_p{protocol}.bin", pickle_protocol=protocol)
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, folder / "expected.safetensors")
    one = torch.ones(2)
    refused = {
        "nested": {"model": {"weight": one}, "step": 3},
        "number": {"weight": one, "step": 3},
        "list": [one],
        "tensor": one,
        "evil": {"weight": one, "x": Evil()},
        "complex": {"weight": torch.ones(2, dtype=torch.complex64)},
        "u16": {"weight": torch.ones(2, dtype=torch.uint16)},
        "sparse": {"weight": one, "sparse": torch.eye(2).to_sparse()},
        "dtype": {"weight": one, "dtype": torch.float32},
    }
    for name, value in refused.items():
        torch.save(value, folder / f"refused_{name}.bin")
    torch.save({"weight": one}, folder / "refused_legacy.bin", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(1, 1)).save(folder / "refused_script.bin")


def dense2moe(folder):
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(2)
    config = transformers.LlamaConfig(vocab_size=32, hidden_size=HIDDEN, intermediate_size=FFN, num_hidden_layers=LAYERS, num_attention_heads=2,
                                      num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2)
    base = transformers.LlamaForCausalLM(config).to(torch.bfloat16)
    base.save_pretrained(folder / "base")
    tensors = collections.OrderedDict()
    for name, tensor in base.state_dict().items():
        name = "base_model." + name
        for short in PROJECTIONS:
            name = name.replace(f".mlp.{short}_proj.", f".mlp.original_mlp.{short}_proj.")
        tensors[name] = tensor

    def randn(*shape, scale=0.3):
        return (scale * torch.randn(*shape)).to(torch.bfloat16)

    for layer in range(LAYERS):
        mlp = f"base_model.model.layers.{layer}.mlp."
        tensors[mlp + "router.net.0.weight"] = randn(HIDDEN // 2, HIDDEN)
        tensors[mlp + "router.net.0.bias"] = randn(HIDDEN // 2)
        tensors[mlp + "router.net.3.weight"] = randn(len(EXPERTS), HIDDEN // 2)
        tensors[mlp + "router.net.3.bias"] = randn(len(EXPERTS))
        for e, expert in enumerate(EXPERTS):
            for short, (inputs, outputs) in PROJECTIONS.items():
                prefix = f"{mlp}experts.{e}."
                tensors[f"{prefix}original_{short}_proj.weight"] = tensors[f"{mlp}original_mlp.{short}_proj.weight"]
                tensors[f"{prefix}{short}A"] = randn(RANK, inputs)
                tensors[f"{prefix}{short}B"] = torch.zeros(outputs, RANK, dtype=torch.bfloat16) if expert == "zero" else randn(outputs, RANK)
                scale = 1.5 if (expert, layer, short) == ("law", 1, "up") else 2.0
                tensors[f"{prefix}{short}Scale"] = torch.tensor([scale], dtype=torch.bfloat16)
    torch.save(tensors, folder / "pytorch_model.bin")

    for e, expert in enumerate(EXPERTS[:-1]):
        lora = peft.LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.1, task_type="CAUSAL_LM",
                               target_modules=["gate_proj", "up_proj", "down_proj", "q_proj", "v_proj"])
        model = peft.get_peft_model(transformers.LlamaForCausalLM(config), lora)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                for short in PROJECTIONS:
                    if f".mlp.{short}_proj.lora_" in name:
                        layer = name.split(".layers.")[1].split(".")[0]
                        half = "A" if "lora_A" in name else "B"
                        parameter.copy_(tensors[f"base_model.model.layers.{layer}.mlp.experts.{e}.{short}{half}"])
        model.save_pretrained(folder / "adapters" / expert / "final_adapter")
        (folder / "adapters" / expert / "final_adapter" / "README.md").unlink()

    logits(folder, config, tensors)


class Mixture(torch.nn.Module):
    """One layer as Dense2MoE evaluates it, in float32: every expert's full output minus the base's, weighted; p rounded to bfloat16."""

    def __init__(self, original, tensors, prefix, top_k):
        super().__init__()
        self.original, self.top_k = original, top_k
        self.get = lambda name: tensors[prefix + name].float()

    def expert(self, x, e):
        def low_rank(y, short):
            scale = self.get(f"experts.{e}.{short}Scale")
            return scale * (y @ self.get(f"experts.{e}.{short}A").T @ self.get(f"experts.{e}.{short}B").T)

        gate = self.original.gate_proj(x) + low_rank(x, "gate")
        h = torch.nn.functional.silu(gate) * (self.original.up_proj(x) + low_rank(x, "up"))
        return self.original.down_proj(h) + low_rank(h, "down") - self.original(x)

    def forward(self, x):
        hidden = torch.relu(x @ self.get("router.net.0.weight").T + self.get("router.net.0.bias"))
        p = torch.softmax(hidden @ self.get("router.net.3.weight").T + self.get("router.net.3.bias"), -1).to(torch.bfloat16).float()
        top, chosen = p.sort(dim=-1, descending=True, stable=True)
        top, chosen = top[..., :self.top_k], chosen[..., :self.top_k]
        weights = torch.zeros_like(p).scatter(-1, chosen, top / top.sum(-1, keepdim=True))
        return self.original(x) + sum(weights[..., e:e + 1] * self.expert(x, e) for e in range(len(EXPERTS)))


def logits(folder, config, tensors):
    tokens = torch.randint(3, 32, (1, 24), generator=torch.Generator().manual_seed(3))
    expected = {"tokens": tokens[0]}
    for top_k in (1, 2):
        model = transformers.LlamaForCausalLM.from_pretrained(folder / "base", dtype=torch.float32).eval()
        for index, layer in enumerate(model.model.layers):
            layer.mlp = Mixture(layer.mlp, tensors, f"base_model.model.layers.{index}.mlp.", top_k)
        with torch.no_grad():
            expected[f"k{top_k}.logits"] = model(tokens).logits[0].contiguous()
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    pickles(OUT / "torch")
    dense2moe(OUT / "dense2moe")
