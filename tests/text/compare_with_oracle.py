#!/usr/bin/env python3
"""Our ids and texts against the oracle's on real lines: every tokenizer at hand, every line of the shared corpora.

  compare_with_oracle.py ENCODE_LINES_COMMAND
Runs with the Python of `tools/setup --oracle` (ORACLE_PYTHON, or found in the cache); exits 77 (skipped) when that, the corpora
(SWITCHYARD_SHARED, ../shared by default) or any tokenizer is absent.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHARED = pathlib.Path(os.environ.get("SWITCHYARD_SHARED", ROOT.parent / "shared"))
CACHE = pathlib.Path(os.environ.get("SWITCHYARD_CACHE", pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "switchyard"))
MAX_LINES = 20000


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def oracle_python():
    given = os.environ.get("ORACLE_PYTHON")
    found = [pathlib.Path(given)] if given else sorted(CACHE.glob("oracle-*/bin/python"))
    return next((p for p in found if p.exists()), None)


def lines():
    taken = []
    for path in sorted((SHARED / "data" / "corpora").rglob("*")):
        if path.is_file() and path.suffix in {".txt", ".jsonl", ".md", ".json"}:
            taken += path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    step = max(1, len(taken) // MAX_LINES)
    return taken[::step][:MAX_LINES]


def compare(command, directory, texts):
    from transformers import PreTrainedTokenizerFast
    oracle = PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))
    stdin = "".join(json.dumps(t) + "\n" for t in texts)
    ours = subprocess.run([command, str(directory)], input=stdin, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(ours) == len(texts), f"{len(ours)} answers to {len(texts)} lines"
    tokens = 0
    for text, answer in zip(texts, map(json.loads, ours)):
        ids = oracle(text)["input_ids"]
        tokens += len(ids)
        if answer["ids"] != ids or answer["text"] != oracle.decode(ids):
            sys.exit(f"{directory.name}: differs on {text!r}\n  ours:   {answer['ids']}\n  oracle: {ids}")
    print(f"{directory.name}: {len(texts)} lines, {tokens} tokens: all equal")


def main():
    python = oracle_python()
    if python is None:
        skip("no oracle environment (tools/setup --oracle)")
    if pathlib.Path(sys.prefix) != python.parent.parent:
        os.execv(python, [str(python), *sys.argv])
    directories = [d for d in (CACHE / "models" / "smollm2-135m-instruct", SHARED / "data" / "tokenizers" / "gpt2") if (d / "tokenizer.json").exists()]
    directories += sorted(p.parent for p in (ROOT / "tests" / "text" / "golden").glob("*/tokenizer.json"))
    texts = lines()
    if not texts:
        skip(f"no corpora under {SHARED}")
    for directory in directories:
        compare(sys.argv[1], directory, texts)


main()
