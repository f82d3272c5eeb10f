"""Goldens of SmolLM2-135M-Instruct for make_model_goldens.py --smollm2: token ids, so that no tokenizer is needed to check them.

    chat.P                 [T] i64      rendered chat prompts
    f32.chat.P.greedy      [N] i64      greedy answer of transformers in float32 (up to 32 tokens, ends at EOS)
    f32.chat.P.margin      [N] f32      log-probability of the chosen token minus the runner-up's
    bf16.chat.P.greedy     [M] i64      the same in bfloat16
    {f32,bf16}.rows        [R, 512] f32 logits of every row of chat.0 for the token ids in `vocabulary`
    vocabulary             [512] i64
    f32.rows.max           [1] f32      largest absolute logit over the whole vocabulary
    mcq.Q.context          [T] i64      questions
    mcq.Q.C                [n] i64      continuations
    {f32,bf16}.mcq.Q       [C] f32      sum of log-probabilities of each continuation
"""
import hashlib
import json

import torch
import transformers
from safetensors.torch import save_file

CHATS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three prime numbers.",
    "Why is the sky blue? Answer briefly.",
    "Translate 'good morning' into Spanish.",
]
QUESTIONS = [
    ("Question: Which organ pumps blood through the body?\nAnswer:", [" the heart", " the liver", " the left kidney", " the skin"]),
    ("Question: What is 12 multiplied by 3?\nAnswer:", [" 36", " 15", " 123", " 24"]),
    ("Question: Which keyword defines a function in Python?\nAnswer:", [" def", " function", " lambda function", " struct"]),
    ("Question: A contract signed under threat is usually\nAnswer:", [" voidable by the threatened party", " always valid", " a criminal sentence", " a patent"]),
    ("Question: Which gas do plants take in for photosynthesis?\nAnswer:", [" carbon dioxide", " oxygen", " helium", " nitrogen gas"]),
    ("Question: The largest planet of the solar system is\nAnswer:", [" Jupiter", " Mars", " the Moon", " Mercury"]),
]
NEW_TOKENS = 32


@torch.no_grad()
def greedy(model, ids, eos):
    answer, margins, cache = [], [], None
    step = ids[None]
    while len(answer) < NEW_TOKENS:
        out = model(input_ids=step, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        top = out.logits[0, -1].float().log_softmax(-1).topk(2)
        answer.append(top.indices[0].item())
        margins.append((top.values[0] - top.values[1]).item())
        if answer[-1] == eos:
            break
        step = top.indices[:1][None]
    return torch.tensor(answer), torch.tensor(margins)


@torch.no_grad()
def continuation_logprob(model, context, continuation):
    ids = torch.cat([context, continuation])
    logprobs = model(input_ids=ids[None], use_cache=False).logits[0].float().log_softmax(-1)
    rows = torch.arange(len(context) - 1, len(ids) - 1)
    return logprobs[rows, continuation].double().sum().float()


def make_smollm2(directory, out):
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    torch.set_num_threads(2)
    encode = lambda text: torch.tensor(tokenizer.encode(text, add_special_tokens=False))
    tensors = {"vocabulary": torch.randperm(tokenizer.vocab_size, generator=torch.Generator().manual_seed(3))[:512].sort().values}
    for p, text in enumerate(CHATS):
        rendered = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True)
        tensors[f"chat.{p}"] = encode(rendered)
    for q, (context, choices) in enumerate(QUESTIONS):
        tensors[f"mcq.{q}.context"] = encode(context)
        for c, choice in enumerate(choices):
            tensors[f"mcq.{q}.{c}"] = encode(choice)
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()
        for p in range(len(CHATS)):
            tensors[f"{name}.chat.{p}.greedy"], margins = greedy(model, tensors[f"chat.{p}"], tokenizer.eos_token_id)
            if name == "f32":
                tensors[f"f32.chat.{p}.margin"] = margins
                print(f"chat {p}: {tokenizer.decode(tensors[f'f32.chat.{p}.greedy'])!r}, smallest margin {margins.min():.4f}")
        with torch.no_grad():
            logits = model(input_ids=tensors["chat.0"][None], use_cache=False).logits[0].float()
        tensors[f"{name}.rows"] = logits[:, tensors["vocabulary"]].contiguous()
        if name == "f32":
            tensors["f32.rows.max"] = logits.abs().max()[None]
        for q, (_, choices) in enumerate(QUESTIONS):
            sums = [continuation_logprob(model, tensors[f"mcq.{q}.context"], tensors[f"mcq.{q}.{c}"]) for c in range(len(choices))]
            tensors[f"{name}.mcq.{q}"] = torch.stack(sums)
            print(f"{name} mcq {q}: {[round(s.item(), 3) for s in sums]}")
    out.mkdir(parents=True, exist_ok=True)
    weights = hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()
    meta = {"prompts": len(CHATS), "questions": len(QUESTIONS), "model_sha256": weights}
    save_file(tensors, out / "golden.safetensors", {"golden": json.dumps(meta)})
