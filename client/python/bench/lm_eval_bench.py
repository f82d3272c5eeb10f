"""Questions per second: lm-eval's Hugging Face backend and the Switchyard plug-in, on the same multiple-choice questions.

    python bench/lm_eval_bench.py --model DIRECTORY --server-binary build/server/switchyard-server --questions test.jsonl --limit 200

`--questions` is MedMCQA as published (JSON lines: question, opa to opd, cop), or lines of {"question", "options", "answer"}; the
continuations are the texts of the options. Both backends get the requests that lm-eval would give them; models are loaded and warmed up
before the clock starts, on other questions, so that nothing is found in a cache. The server runs only while the plug-in is measured.

Beside the time on the clock stands the processor time of all processes concerned, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model

import switchyard.lm_eval  # noqa: F401 - registers the model

WARM_UP = 4  # questions


@dataclass
class Question:
    text: str
    options: list[str]
    answer: int


@dataclass
class Row:
    backend: str
    seconds: float
    questions_per_second: float
    processor_seconds: float
    accuracy: float
    speedup: float = 1.0


def read_questions(path: pathlib.Path, limit: int) -> list[Question]:
    records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    questions = []
    for record in records[: limit + WARM_UP]:
        if "opa" in record:
            options = [str(record[key]) for key in ("opa", "opb", "opc", "opd")]
            questions.append(Question(record["question"], options, int(record["cop"]) - 1))
        else:
            questions.append(Question(record["question"], [str(o) for o in record["options"]], int(record["answer"])))
    return questions


def requests_of(questions: list[Question]) -> list[Instance]:
    return [
        Instance(request_type="loglikelihood", doc={}, arguments=(f"Question: {q.text}\nAnswer:", f" {option}"), idx=i)
        for q in questions
        for i, option in enumerate(q.options)
    ]


def accuracy(questions: list[Question], answers: list[tuple[float, bool]]) -> float:
    right, place = 0, 0
    for q in questions:
        scores = [a[0] for a in answers[place : place + len(q.options)]]
        right += scores.index(max(scores)) == q.answer
        place += len(q.options)
    return right / len(questions)


def processor_seconds(server_pid: int | None) -> float:
    """Of this process, and of the server when there is one."""
    own = time.process_time()
    if server_pid is None:
        return own
    fields = pathlib.Path(f"/proc/{server_pid}/stat").read_text().rpartition(")")[2].split()
    return own + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, model: Any, questions: list[Question], server_pid: int | None = None) -> tuple[Row, list[tuple[float, bool]]]:
    model.loglikelihood(requests_of(questions[:WARM_UP]), disable_tqdm=True)
    timed = questions[WARM_UP:]
    requests = requests_of(timed)
    print(f"{name}: {len(timed)} questions, {len(requests)} choices ...", file=sys.stderr)
    start, processor = time.perf_counter(), processor_seconds(server_pid)
    answers = model.loglikelihood(requests, disable_tqdm=True)
    seconds = time.perf_counter() - start
    used = processor_seconds(server_pid) - processor
    return Row(name, seconds, len(timed) / seconds, used, accuracy(timed, answers)), answers


@contextmanager
def server(arguments: argparse.Namespace) -> Iterator[tuple[str, int | None]]:
    if arguments.address:
        yield arguments.address, None
        return
    command = [
        arguments.server_binary,
        "--base",
        str(arguments.model),
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "",
        "--threads",
        str(arguments.threads),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit(f"the server did not start: {' '.join(command)}")
            yield f"127.0.0.1:{json.loads(line)['grpc_port']}", process.pid
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="Hugging Face directory that both backends load")
    parser.add_argument("--questions", type=pathlib.Path, required=True)
    parser.add_argument("--limit", type=int, default=100, help="questions [100]")
    parser.add_argument("--server-binary", help="started for the measurement, with the base only")
    parser.add_argument("--address", help="or a server that runs already and serves this model")
    parser.add_argument("--routing", default="base", help="of the plug-in [base]")
    parser.add_argument("--dtype", default="bfloat16", help="of the Hugging Face backend [bfloat16]")
    parser.add_argument("--hf-batch", default="1,8", help="batch sizes to try [1,8]")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of both backends [one a core]")
    parser.add_argument("--output", type=pathlib.Path, help="JSON")
    arguments = parser.parse_args()
    if bool(arguments.address) == bool(arguments.server_binary):
        parser.error("give one of --server-binary and --address")

    import torch

    torch.set_num_threads(arguments.threads)
    questions = read_questions(arguments.questions, arguments.limit)
    if len(questions) <= WARM_UP:
        parser.error(f"{arguments.questions}: {len(questions)} questions; {WARM_UP} of them are for warming up")
    rows = []
    reference: list[tuple[float, bool]] = []
    for batch in map(int, arguments.hf_batch.split(",")):
        model = get_model("hf")(
            pretrained=str(arguments.model), device="cpu", dtype=arguments.dtype, softmax_dtype="float32", batch_size=batch
        )
        row, reference = measure(f"hf {arguments.dtype} batch {batch}", model, questions)
        rows.append(row)
        del model
    with server(arguments) as (address, pid):
        model = get_model("switchyard")(address=address, routing=arguments.routing, in_flight=arguments.in_flight)
        row, answers = measure(f"switchyard {arguments.routing}", model, questions, pid)
        rows.append(row)
    best = max(r.questions_per_second for r in rows[:-1])
    for row in rows:
        row.speedup = row.questions_per_second / best
    largest = max(abs(a[0] - b[0]) for a, b in zip(answers, reference, strict=True))
    print(f"{'backend':28} {'seconds':>9} {'questions/s':>12} {'cpu s/question':>15} {'accuracy':>9} {'to best hf':>11}")
    count = len(questions) - WARM_UP
    for row in rows:
        cpu = row.processor_seconds / count
        print(f"{row.backend:28} {row.seconds:9.2f} {row.questions_per_second:12.2f} {cpu:15.3f} {row.accuracy:9.3f} {row.speedup:10.2f}x")
    print(f"largest difference between two log-likelihoods of the backends: {largest:.3f}")
    if arguments.output:
        report = {
            "questions": count, "file": arguments.questions.name, "model": arguments.model.name,
            "threads": arguments.threads, "largest_difference": largest, "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
