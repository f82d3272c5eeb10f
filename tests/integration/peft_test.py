"""Experts that the trainer writes load in transformers + PEFT and give there the log-probabilities that the server gives.

Every subset of gate, up and down, with and without rsLoRA, alpha unlike the rank, and an expert of some layers only; on a seeded tiny base in f32.
Runs itself again with the Python of `tools/setup --oracle` (ORACLE_PYTHON, or found in the cache); exits 77 (skipped) when there is none.
"""
import argparse
import itertools
import json
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CACHE = pathlib.Path(os.environ.get("SWITCHYARD_CACHE", pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "switchyard"))
TOLERANCE = 1e-4  # relative, of each token's log-probability
MODULES = [",".join(s) for n in (1, 2, 3) for s in itertools.combinations(("gate", "up", "down"), n)]
CASES = {f"{m.replace(',', '-')}{suffix}": ["--modules", m, *flags] for m in MODULES for suffix, flags in (("", []), ("-rslora", ["--rslora"]))}
CASES["some-layers"] = ["--layers", "1-2"]


def versions():
    lines = (ROOT / "tools/versions.env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith(("TRANSFORMERS_VERSION", "PEFT_VERSION")))


def oracle_python():
    given = os.environ.get("ORACLE_PYTHON")
    pinned = versions()
    found = pathlib.Path(given) if given else CACHE / f"oracle-transformers-{pinned['TRANSFORMERS_VERSION']}-peft-{pinned['PEFT_VERSION']}/bin/python"
    return found if found.exists() else None


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{command}\nexit {done.returncode}\n{done.stdout}\n{done.stderr}"


def train(args, base, work):
    data = work / "data.jsonl"
    words = ["amber", "birch", "cedar", "delta", "ember", "fjord"]
    lines = [{"prompt": f"{a} and {b} make", "answer": f" {a[:3]}{b[-3:]}"} for a in words for b in words]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name, flags in CASES.items():
        # So large a rate that three steps leave a delta far above the tolerance.
        run([args.trainer, "expert", "--base", base, "--data", str(data), "--out", f"{work}/{name}", "--name", name, "--rank", "4", "--alpha", "11", "--steps", "3",
             "--batch", "8", "--lr", "0.05", "--validation-share", "0", "--checkpoint-every", "0", "--no-tensorboard", "--dtype", "f32", "--quiet", *flags])


def ask(args, base, work, texts):
    """{expert, or "base": [[log-probability of tokens 1..] of each text]}, by the server."""
    requests = work / "requests.jsonl"
    with open(requests, "w", encoding="utf-8") as out:
        for name in ("base", *CASES):
            routing = {"base_only": {}} if name == "base" else {"forced_expert": name}
            for ids in texts:
                out.write(json.dumps({"id": name, "tokens": {"ids": ids[:1]}, "continuations": [{"tokens": {"ids": ids[1:]}}], "token_logprobs": True, "routing": routing}) + "\n")
    command = [args.server, "--base", base, "--dtype", "f32", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
    for name in CASES:
        command += ["--expert", f"{name}={work}/{name}"]
    with open(work / "server.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready, _, _ = select.select([process.stdout], [], [], 120)
        line = process.stdout.readline() if ready else ""
        assert line, "the server did not start:\n" + (work / "server.log").read_text(encoding="utf-8")[-3000:]
        run([args.client, "score", "--server", f"127.0.0.1:{json.loads(line)['grpc_port']}", "--input", str(requests), "--output", f"{work}/replies.jsonl"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    answers = {}
    for line in open(work / "replies.jsonl", encoding="utf-8"):
        reply = json.loads(line)
        answers.setdefault(reply["id"], []).append([t.get("logprob", 0.0) for t in reply["scores"][0]["tokenLogprobs"]])
    return answers


def compare(base, work, texts, ours):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)

    def log_probs(model, ids):
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].float()
        return torch.log_softmax(logits, -1)[range(len(ids) - 1), ids[1:]]

    of_base = None
    for name in ("base", *CASES):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if name != "base":
            model = PeftModel.from_pretrained(model, f"{work}/{name}")
        model.eval()
        theirs = [log_probs(model, ids) for ids in texts]
        worst = max(((torch.tensor(a) - b).abs() / b.abs().clamp(min=1)).max().item() for a, b in zip(ours[name], theirs, strict=True))
        assert worst < TOLERANCE, f"{name}: a log-probability differs by {worst:.2e}"
        if of_base is None:
            of_base, moved = theirs, float("nan")
        else:
            moved = max((a - b).abs().max().item() for a, b in zip(theirs, of_base, strict=True))
            assert moved > 100 * TOLERANCE, f"{name}: hardly unlike the base ({moved:.2e}): agreeing would mean nothing"
        print(f"{name:<22} largest relative difference {worst:.1e}; from the base {moved:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for flag in ("trainer", "server", "client", "import-tool", "work"):
        parser.add_argument(f"--{flag}", required=True)
    arguments = parser.parse_args()
    python = oracle_python()
    if python is None:
        print("skipped: no Python with transformers and PEFT (tools/setup --oracle makes one)")
        sys.exit(77)
    if pathlib.Path(sys.executable).parent != python.parent:
        os.execv(python, [str(python), *sys.argv])
    os.environ["GOMP_SPINCOUNT"] = "0"
    place = pathlib.Path(arguments.work).absolute()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    tiny = f"{place}/base"
    run([arguments.import_tool, "random-base", tiny, "--shape", "tiny", "--seed", "5", "--dtype", "f32"])
    train(arguments, tiny, place)
    draw = random.Random(7)
    lines_of_ids = [[draw.randrange(3, 250) for _ in range(n)] for n in (2, 9, 40)]
    compare(tiny, place, lines_of_ids, ask(arguments, tiny, place, lines_of_ids))
    print("ok")
