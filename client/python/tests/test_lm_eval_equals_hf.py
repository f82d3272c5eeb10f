"""The plug-in on a real server and lm-eval's own Hugging Face backend, on the same model directory: the same answers.

On a tiny seeded model both compute in float32, so that nothing hides behind rounding: truncation, rolling windows, prefixes, chats. On the
real model in bfloat16 whole lm-eval runs are compared; there both backends differ from float32 by rounding, and that is the measure.
Skips without lm-eval, transformers and torch.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest
from real_server import random_base, serving

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when it is imported: nothing is looked up
REASON = "lm-evaluation-harness with its Hugging Face backend is not installed (tools/setup --oracle makes an environment with it)"
pytest.importorskip("lm_eval", reason=REASON)
pytest.importorskip("torch", reason=REASON)
pytest.importorskip("transformers", reason=REASON)

import lm_eval  # noqa: E402
from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.registry import get_model  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402

import switchyard.lm_eval  # noqa: E402, F401 - registers the model

POSITIONS = 96  # of the tiny model: short, so that truncation is cheap to reach
EVERYDAY = pathlib.Path(__file__).parents[3] / "tools" / "demo_data" / "everyday.jsonl"


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def hugging_face(base: pathlib.Path, dtype: str, **options: Any) -> Any:
    # Without softmax_dtype the backend rounds its log-probabilities to the model's dtype.
    return get_model("hf")(pretrained=str(base), device="cpu", dtype=dtype, softmax_dtype="float32", batch_size=1, **options)


class Pair:
    """Both backends over one model directory."""

    def __init__(self, base: pathlib.Path, address: str) -> None:
        self.base, self.address = base, address
        self.theirs = hugging_face(base, "float32")

    def ours(self, **options: Any) -> Any:
        return get_model("switchyard")(address=self.address, routing="base", **options)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "adds-bos"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    work: pathlib.Path = tmp_path_factory.mktemp("pair")
    base = random_base(work / "base", positions=POSITIONS, adds_bos=request.param)
    with serving(base, work / "server.log", "--dtype", "f32") as address:
        yield Pair(base, address)


@pytest.fixture(params=["text", "tokens"])
def ours(request: pytest.FixtureRequest, pair: Pair) -> Any:
    return pair.ours() if request.param == "text" else pair.ours(tokenizer=str(pair.base))


def same(ours: list[Any], theirs: list[Any]) -> None:
    assert [a[0] for a in ours] == pytest.approx([a[0] for a in theirs], rel=1e-4, abs=1e-3)
    assert [a[1] for a in ours] == [a[1] for a in theirs]


def test_loglikelihoods(pair: Pair, ours: Any) -> None:
    pairs = [(f"question {i}: what?\nAnswer:", f" {choice}") for i in range(6) for choice in ("bees", "a flower", "h", "honey and wax")]
    pairs += [
        ("", "an empty context"),
        ("blanks at the end  ", "word"),
        ("line\n", "word"),
        ("<|im_start|>user\nx", " y"),
        ("üñí", " çöde"),
    ]
    requests = asked("loglikelihood", *pairs)
    same(ours.loglikelihood(requests, disable_tqdm=True), pair.theirs.loglikelihood(requests, disable_tqdm=True))


def test_greedy_continuations_are_recognised(pair: Pair, ours: Any) -> None:
    context = "question 1: what?\nAnswer:"
    best = max((chr(c) for c in range(97, 123)), key=lambda c: pair.theirs.loglikelihood(asked("loglikelihood", (context, c)), True)[0][0])
    greedy = pair.theirs.generate_until(asked("generate_until", (context, {"max_gen_toks": 1})), disable_tqdm=True)[0]
    requests = asked("loglikelihood", (context, greedy or best), (context, best + "zz"))
    same(ours.loglikelihood(requests, disable_tqdm=True), pair.theirs.loglikelihood(requests, disable_tqdm=True))


def test_long_contexts_lose_their_oldest_tokens(pair: Pair) -> None:
    # The backend keeps one token more than the model has positions, because the last is never an input; the server counts all of them.
    # With one position fewer on both sides the two rules meet.
    theirs = hugging_face(pair.base, "float32", max_length=POSITIONS - 1)
    ours = pair.ours(tokenizer=str(pair.base), max_length=POSITIONS - 1)
    context = " ".join(f"word{i}" for i in range(80))
    requests = asked("loglikelihood", (context, " a"), (context, " bees and honey"), ("short", " a"))
    same(ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True))


def test_rolling_loglikelihoods(pair: Pair, ours: Any) -> None:
    requests = asked("loglikelihood_rolling", ("The sea is blue.",), ("",), ("x",), ("<|im_start|>a chat",))
    theirs = pair.theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours.loglikelihood_rolling(requests, disable_tqdm=True) == pytest.approx(theirs, rel=1e-4)


def test_rolling_windows_over_long_texts(pair: Pair) -> None:
    text = " ".join(f"word{i}" for i in range(150))
    requests = asked("loglikelihood_rolling", (text,), ("short",))
    theirs = hugging_face(pair.base, "float32", max_length=POSITIONS - 1).loglikelihood_rolling(requests, disable_tqdm=True)
    ours = pair.ours(tokenizer=str(pair.base)).loglikelihood_rolling(requests, disable_tqdm=True)
    assert ours == pytest.approx(theirs, rel=1e-4)
    with pytest.raises(ValueError, match="tokenizer=DIRECTORY"):
        pair.ours().loglikelihood_rolling(requests, disable_tqdm=True)


def test_greedy_generation(pair: Pair, ours: Any) -> None:
    settings = [{"until": ["a", "\n"], "max_gen_toks": 24}, {"until": [], "max_gen_toks": 16, "do_sample": False}]
    long = " ".join(f"word{i}" for i in range(80))
    requests = asked("generate_until", *((text, s) for text in ("The sea is", "Bees make", "<|im_start|>user\n", long) for s in settings))
    theirs = pair.theirs.generate_until(requests, disable_tqdm=True)
    assert ours.generate_until(requests, disable_tqdm=True) == theirs
    assert any(theirs)


def test_chats(pair: Pair, ours: Any) -> None:
    chat = [{"role": "user", "content": "What do bees make?"}]
    requests, packed = (
        asked("loglikelihood", *((model.apply_chat_template(chat), answer) for answer in ("Honey", "A milk")))
        for model in (pair.theirs, ours)
    )
    same(ours.loglikelihood(packed, disable_tqdm=True), pair.theirs.loglikelihood(requests, disable_tqdm=True))


def test_a_tokenizer_of_another_model_is_refused(pair: Pair, tmp_path: pathlib.Path) -> None:
    other = random_base(tmp_path / "other", adds_bos=pair.theirs.tok_encode("x")[:1] != [1])
    with pytest.raises(ValueError, match="on the server"):
        pair.ours(tokenizer=str(other))


# ---------------------------------------------------------------------------------------------------------------------- the real model


@pytest.fixture(scope="module")
def real() -> pathlib.Path:
    directory = os.environ.get("SWITCHYARD_MODEL", "")
    if not directory or not pathlib.Path(directory, "config.json").exists():
        pytest.skip("SWITCHYARD_MODEL does not name a model directory (tools/fetch-smollm2 makes one)")
    return pathlib.Path(directory)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> TaskManager:
    """A multiple-choice task over everyday questions, from files of this repository; nothing is downloaded."""
    if not EVERYDAY.exists():
        pytest.skip(f"the questions are not there: {EVERYDAY}")
    folder: pathlib.Path = tmp_path_factory.mktemp("tasks")
    records = [json.loads(line) for line in EVERYDAY.read_text().splitlines()][:24]
    keys = ("question", "options", "answer")
    (folder / "everyday.jsonl").write_text("\n".join(json.dumps({k: r[k] for k in keys}) for r in records))
    (folder / "everyday.yaml").write_text(
        f"""task: switchyard_everyday
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/everyday.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{options}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
    )
    return TaskManager(include_path=str(folder), include_defaults=False)


Choices = list[list[float]]  # log-likelihoods, by question


def evaluated(model: Any, tasks: TaskManager) -> tuple[dict[str, float], Choices]:
    results = lm_eval.simple_evaluate(model, tasks=["switchyard_everyday"], task_manager=tasks, bootstrap_iters=0, log_samples=True)
    metrics = results["results"]["switchyard_everyday"]
    samples = sorted(results["samples"]["switchyard_everyday"], key=lambda s: s["doc_id"])
    return {k: metrics[f"{k},none"] for k in ("acc", "acc_norm")}, [[float(r[0][0]) for r in s["resps"]] for s in samples]


def served(real: pathlib.Path, log: pathlib.Path, dtype: str, tasks: TaskManager) -> tuple[dict[str, float], Choices]:
    with serving(real, log, "--dtype", dtype) as address:
        return evaluated(get_model("switchyard")(address=address, routing="base"), tasks)


def differences(some: Choices, others: Choices) -> list[float]:
    return [a - b for x, y in zip(some, others, strict=True) for a, b in zip(x, y, strict=True)]


def rms(values: list[float]) -> float:
    return math.sqrt(sum(v * v for v in values) / len(values))


def test_whole_runs_on_the_real_model(real: pathlib.Path, tasks: TaskManager, tmp_path: pathlib.Path) -> None:
    metrics, exact = evaluated(hugging_face(real, "float32"), tasks)
    our_exact_metrics, ours_exact = served(real, tmp_path / "f32.log", "f32", tasks)
    assert max(map(abs, differences(ours_exact, exact))) < 1e-2
    assert our_exact_metrics == metrics

    # Two bfloat16 computations of the same thing: ours is not further from the truth than rounding takes theirs.
    _, theirs = evaluated(hugging_face(real, "bfloat16"), tasks)
    our_metrics, ours = served(real, tmp_path / "bf16.log", "bf16", tasks)
    our_error, their_error = differences(ours, exact), differences(theirs, exact)
    print(f"against float32: plug-in {rms(our_error):.4f}, Hugging Face in bfloat16 {rms(their_error):.4f} (root mean square)")
    assert rms(our_error) < 1.2 * rms(their_error)
    # Rounding can turn a question only where float32 has its two best choices that close together.
    near_ties = sum(sorted(choices)[-1] - sorted(choices)[-2] < 2 * max(map(abs, our_error)) for choices in exact)
    assert abs(our_metrics["acc"] - metrics["acc"]) * len(exact) <= near_ties < len(exact) / 4
