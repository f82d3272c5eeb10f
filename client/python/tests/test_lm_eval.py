"""The lm-eval plug-in against the fake server: what it asks, and in which order it answers. Skips without lm-eval."""

from __future__ import annotations

import json
import logging
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from fake_server import FakeInference, Running

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (tools/setup --oracle makes an environment with it)")

import lm_eval.api.registry
from lm_eval.api.instance import Instance

import switchyard.lm_eval  # noqa: F401 - registers the model
from switchyard import NotFoundError
from switchyard.v1 import inference_pb2 as pb

Make = Callable[..., Any]


@pytest.fixture
def make(running: Running) -> Make:
    """A plug-in model as lm-eval makes it; the requests of its start are forgotten."""

    def build(arguments: str = "") -> Any:
        given = f"address={running.address}" + ("," + arguments if arguments else "")
        model = lm_eval.api.registry.get_model("switchyard").create_from_arg_string(given, {"batch_size": 1, "device": None})
        running.service.requests.clear()
        return model

    return build


def asked(kind: str, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def test_choices_of_one_context_are_one_call_and_answers_keep_their_places(make: Make, service: FakeInference) -> None:
    model = make()
    pairs = [("Q1", " aaa"), ("Q2", " a"), ("Q1", " a"), ("Q1", " aa"), ("Q2", " aaaa")]
    assert model.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True) == [
        (-4.0, False), (-2.0, False), (-2.0, False), (-3.0, False), (-5.0, False),
    ]  # fmt: skip
    sent = [r for r in service.requests if isinstance(r, pb.ScoreRequest)]
    assert sorted((r.text, [c.text for c in r.continuations]) for r in sent) == [("Q1", [" aaa", " a", " aa"]), ("Q2", [" a", " aaaa"])]
    assert all(r.pinned.snapshot == "snap-1" and r.boundary == pb.BOUNDARY_LM_EVAL for r in sent)


def test_a_context_with_very_many_choices_takes_several_calls(make: Make, service: FakeInference) -> None:
    pairs = [("Q", "a" * (i % 9 + 1)) for i in range(200)]
    answers = make().loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    assert [a[0] for a in answers] == [-float(i % 9 + 1) for i in range(200)]
    assert sorted(len(r.continuations) for r in service.requests if isinstance(r, pb.ScoreRequest)) == [8, 64, 64, 64]


def test_routing_reaches_the_server(make: Make, service: FakeInference) -> None:
    make("routing=expert:law").loglikelihood(asked("loglikelihood", ("Q", " a")), disable_tqdm=True)
    (sent,) = service.requests
    assert isinstance(sent, pb.ScoreRequest)
    assert sent.routing.forced_expert == "law"


def test_routing_that_is_not_served_shows_at_the_start(make: Make, service: FakeInference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "refusal", lambda _: (grpc.StatusCode.NOT_FOUND, 'routing: expert "x" is not served'))
    with pytest.raises(NotFoundError, match="is not served"):
        make("routing=expert:x")


def test_answers_go_to_lm_evals_cache(make: Make) -> None:
    kept: dict[Any, Any] = {}

    class Hook:
        def add_partial(self, kind: str, arguments: tuple[Any, ...], answer: Any) -> None:
            kept[kind, arguments[0]] = answer

    model = make()
    model.set_cache_hook(Hook())
    model.loglikelihood(asked("loglikelihood", ("Q", " aa")), disable_tqdm=True)
    model.loglikelihood_rolling(asked("loglikelihood_rolling", ("text",)), disable_tqdm=True)
    model.generate_until(asked("generate_until", ("Say", {"until": ["honey"]})), disable_tqdm=True)
    assert kept == {
        ("loglikelihood", "Q"): (-3.0, False), ("loglikelihood_rolling", "text"): -4.0, ("generate_until", "Say"): "Bees make ",
    }  # fmt: skip


def test_a_tokenizers_own_prefix_is_written_out(make: Make, service: FakeInference) -> None:
    service.bos = "^"
    model = make()
    model.loglikelihood(asked("loglikelihood", ("Q", " a"), ("^R", " a"), ("", "b")), disable_tqdm=True)
    assert sorted(r.text for r in service.requests if isinstance(r, pb.ScoreRequest)) == ["", "^Q", "^R"]
    service.requests.clear()
    # Generate adds it by itself.
    model.generate_until(asked("generate_until", ("Q", {}), ("^R", {})), disable_tqdm=True)
    assert sorted(r.text for r in service.requests if isinstance(r, pb.GenerateRequest)) == ["Q", "R"]
    make("add_bos_token=False").loglikelihood(asked("loglikelihood", ("Q", " a")), disable_tqdm=True)
    assert [r.text for r in service.requests if isinstance(r, pb.ScoreRequest)] == ["Q"]


def test_rolling_texts_follow_an_empty_context(make: Make, service: FakeInference) -> None:
    assert make().loglikelihood_rolling(asked("loglikelihood_rolling", ("abc",), ("",), ("de",)), disable_tqdm=True) == [-3.0, 0.0, -2.0]
    sent = [r for r in service.requests if isinstance(r, pb.ScoreRequest)]
    assert sorted((r.text, r.continuations[0].text) for r in sent) == [("", "abc"), ("", "de")]
    assert not any(r.truncate_context for r in sent)


def test_generation_settings_reach_the_server(make: Make, service: FakeInference) -> None:
    model = make("max_gen_toks=99")
    stops = [f"stop {i}" for i in range(20)] + ["honey"]
    settings: list[dict[str, Any]] = [
        {"until": ["\n", ""], "temperature": 0.7},
        {"until": stops, "do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_gen_toks": 5},
        {"do_sample": False, "temperature": 0.7, "max_new_tokens": 6},
    ]
    answers = model.generate_until(asked("generate_until", *(("Say", s) for s in settings)), disable_tqdm=True)
    # The last stop string is beyond the server's limit of 16, and still cuts the text.
    assert answers == ["Bees make honey.", "Bees make ", "Bees make honey."]
    sent = {r.id: r for r in service.requests if isinstance(r, pb.GenerateRequest)}
    one, two, three = (sent[f"request {i}"] for i in range(3))
    assert (list(one.stop), one.max_tokens, one.truncate_prompt) == (["\n"], 99, True)
    assert (list(two.stop), two.max_tokens) == (stops[:16], 5)
    assert two.sampling.temperature == pytest.approx(0.7)
    assert two.sampling.top_p == pytest.approx(0.9)
    assert (three.sampling.HasField("temperature"), three.sampling.temperature, three.max_tokens) == (True, 0.0, 6)


def test_settings_the_server_does_not_have_are_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="num_beams"):
        make().generate_until(asked("generate_until", ("Say", {"num_beams": 4})), disable_tqdm=True)


def test_chats_arrive_as_chats(make: Make, service: FakeInference) -> None:
    model = make()
    text = model.apply_chat_template([{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'Say "hé"'}])
    model.loglikelihood(asked("loglikelihood", (text, "a"), (text, "b")), disable_tqdm=True)
    model.generate_until(asked("generate_until", (text, {})), disable_tqdm=True)
    chat = pb.Chat(
        messages=[pb.ChatMessage(role="system", content="Be brief."), pb.ChatMessage(role="user", content='Say "hé"')],
        add_generation_prompt=True,
    )
    score, generate = service.requests
    assert isinstance(score, pb.ScoreRequest)
    assert isinstance(generate, pb.GenerateRequest)
    assert (score.chat, len(score.continuations), generate.chat) == (chat, 2, chat)
    assert "tiny" in model.chat_template(True)


def test_what_chats_cannot_do_is_said(make: Make) -> None:
    model = make()
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(NotImplementedError, match="tokenizer=DIRECTORY"):
        model.apply_chat_template(chat, add_generation_prompt=False)
    with pytest.raises(ValueError, match="changed after apply_chat_template"):
        model.loglikelihood(asked("loglikelihood", (model.apply_chat_template(chat) + "more", "a")), disable_tqdm=True)
    with pytest.raises(ValueError, match="one template only"):
        model.chat_template("tool_use")
    with pytest.raises(ValueError, match="max_length needs a local tokenizer"):
        make("max_length=10")


def test_truncated_contexts_are_counted_aloud(
    make: Make, service: FakeInference, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = make()
    score = service.score

    def shortened(request: pb.ScoreRequest) -> pb.ScoreResponse:
        response = score(request)
        response.truncated_tokens = 3
        return response

    monkeypatch.setattr(service, "score", shortened)
    with caplog.at_level(logging.WARNING):
        model.loglikelihood(asked("loglikelihood", ("Q", " a"), ("Q", " b")), disable_tqdm=True)
    assert "2 requests were longer" in caplog.text


def test_servers_with_different_snapshots_are_refused(running: Running) -> None:
    with Running(FakeInference(snapshot="snap-2")) as other, pytest.raises(ValueError, match="different snapshots"):
        lm_eval.api.registry.get_model("switchyard")(address=f"{running.address}+{other.address}")


def test_results_name_what_answered(make: Make) -> None:
    info = make().get_model_info()
    assert info["switchyard_snapshot"] == "snap-1"
    assert info["switchyard_experts"] == {"law": "e1", "zero": "z"}


def test_the_command_line_runs_a_task(running: Running, tmp_path: pathlib.Path) -> None:
    questions = [{"question": f"q{i}", "options": ["long answer", "short", "medium one"], "answer": i % 3} for i in range(6)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, questions)))
    (tmp_path / "task.yaml").write_text(
        f"""task: switchyard_cli
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path}/questions.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{options}}}}"
doc_to_target: answer
metric_list: [{{metric: acc}}]
"""
    )
    command = [sys.executable, "-m", "switchyard.lm_eval", "run", "--model", "switchyard", "--tasks", "switchyard_cli"]
    command += ["--model_args", f"address={running.address},routing=base", "--include_path", str(tmp_path)]
    command += ["--output_path", str(tmp_path / "out")]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    results = json.loads(file.read_text())
    # The fake server likes the shortest answer best, which is the second.
    assert results["results"]["switchyard_cli"]["acc,none"] == pytest.approx(1 / 3)
    assert results["config"]["switchyard_snapshot"] == "snap-1"
