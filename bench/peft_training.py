#!/usr/bin/env python3
"""Speed of LoRA training with transformers and PEFT on this CPU: the peer of `training_bench`'s row "expert".

The same number of tokens, or sequences of mixed lengths padded to the longest as collators do; bf16 weights, rank 16 on gate, up and down;
loss on the last tokens of each sequence. A step is forward and backward; the optimiser is left out on both sides. Prints JSON.
"""
import argparse
import json
import random
import statistics
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def make_batch(lengths, answer, vocab):
    generator = random.Random(3)
    longest = max(lengths)
    tokens = torch.zeros(len(lengths), longest, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    labels = torch.full_like(tokens, -100)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.tensor([generator.randrange(vocab) for _ in range(length)])
        mask[row, :length] = 1
        labels[row, length - answer:length] = tokens[row, length - answer:length]
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", required=True, help="Hugging Face directory")
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--length", type=int, default=40)
    parser.add_argument("--spread", type=float, default=0.0, help="lengths are drawn from length * (1 +- spread)")
    parser.add_argument("--answer", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(args.base, dtype=torch.bfloat16)
    config = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=["gate_proj", "up_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    model.train()
    generator = random.Random(4)
    lengths = [max(args.answer + 1, round(args.length * generator.uniform(1 - args.spread, 1 + args.spread))) for _ in range(args.sequences)]
    batch = make_batch(lengths, args.answer, model.config.vocab_size)

    def step():
        begin = time.perf_counter()
        model(**batch).loss.backward()
        model.zero_grad()
        return time.perf_counter() - begin

    step()
    seconds = [step() for _ in range(args.rounds)]
    tokens = sum(lengths)
    print(json.dumps({
        "step": "peft expert", "tokens": tokens, "padded_tokens": len(lengths) * max(lengths), "sequences": args.sequences, "rank": args.rank,
        "threads": torch.get_num_threads(), "torch": torch.__version__, "seconds": seconds,
        "tokens_per_second": tokens / statistics.median(seconds),
    }))


if __name__ == "__main__":
    main()
