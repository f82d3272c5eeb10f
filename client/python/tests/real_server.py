"""A real switchyard-server on a seeded random model, or on the real one; skips, saying why, where the programs are not given."""

from __future__ import annotations

import json
import os
import pathlib
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

EXPERTS = ["medicine", "law"]


def program(variable: str) -> str:
    """The path in an environment variable; skips without it."""
    path = os.environ.get(variable, "")
    if not path:
        pytest.skip(f"{variable} is not set: it names the program built by tools/build")
    return path


def run(*command: str) -> None:
    """Runs a command to its end."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def random_base(directory: pathlib.Path, *, positions: int | None = None, adds_bos: bool = False) -> pathlib.Path:
    """A seeded random model with a byte-level tokenizer: tiny, and everything but the skill is real."""
    run(program("SWITCHYARD_IMPORT_BINARY"), "random-base", str(directory), "--shape", "tiny", "--seed", "3")
    if positions is not None:
        for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
            edit(directory / name, {key: positions})
    if adds_bos:
        bos = {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}
        template = {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}},
        }
        edit(directory / "tokenizer.json", {"post_processor": template})
    return directory


def edit(path: pathlib.Path, changes: dict[str, object]) -> None:
    """Sets keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_experts(base: pathlib.Path, directory: pathlib.Path) -> list[str]:
    """The server's arguments for seeded experts and a router over this base."""
    named = [word for expert in EXPERTS for word in ("--expert", f"{expert}:8")]
    run(
        program("SWITCHYARD_IMPORT_BINARY"), "fixtures", str(base), str(directory), *named,
        "--router", "dense2moe_mlp", "--top-k", "2", "--seed", "5",
    )  # fmt: skip
    served = [word for expert in EXPERTS for word in ("--expert", f"{expert}={directory}/experts/{expert}")]
    return [*served, "--zero", "zero", "--router", f"{directory}/router"]


@contextmanager
def serving(base: pathlib.Path, log: pathlib.Path, *arguments: str) -> Iterator[str]:
    """Starts the server and yields its address."""
    command = [
        program("SWITCHYARD_SERVER_BINARY"), "--base", str(base), "--listen", "127.0.0.1:0", "--metrics", "", "--kv-mib", "64", *arguments,
    ]  # fmt: skip
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 120)
            line = process.stdout.readline() if ready else ""
            assert line, f"the server did not come up; its log ends with\n{log.read_text()[-3000:]}"
            yield f"127.0.0.1:{json.loads(line)['grpc_port']}"
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0, log.read_text()[-3000:]
