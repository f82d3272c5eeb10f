"""The synchronous client against the fake server: requests as sent, results as returned, errors, retries, deadlines."""

from __future__ import annotations

import grpc
import pytest
from conftest import QUICK
from fake_server import FakeInference, Running

from switchyard import (
    Boundary,
    Chat,
    Client,
    DeadlineExceededError,
    FinishReason,
    GenerateRequest,
    InvalidArgumentError,
    Message,
    NotFoundError,
    Pinned,
    ResourceExhaustedError,
    Retry,
    RouteLevel,
    RouteRequest,
    Routing,
    Sampling,
    ScoreRequest,
    SwitchyardError,
    UnavailableError,
)
from switchyard.v1 import inference_pb2 as pb


def test_score_returns_every_continuation_in_order(client: Client) -> None:
    result = client.score(ScoreRequest("The capital", [" Rome", " X"], id="q1", token_logprobs=True))
    assert [s.logprob for s in result.scores] == [-5.0, -2.0]
    assert result.winners.sum == 1
    assert result.winners.pmi is None
    assert result.scores[0].per_token == -1.0
    assert result.scores[0].per_byte is None
    assert [p.text for p in result.scores[1].token_logprobs] == [" ", "X"]
    assert result.id == "q1"
    assert result.generations.experts[1].is_zero
    assert result.routes is None


def test_score_request_carries_every_field(client: Client, service: FakeInference) -> None:
    client.score(
        ScoreRequest(
            [1, 2], [[3], [4, 5]], boundary=Boundary.JOINT, unconditional=[9], token_logprobs=True,
            routing=Routing.mixture({"law": 0.5}), routes=RouteLevel.LAYER, pinned=Pinned(snapshot="snap-1"), truncate_context=True,
            recompute_context=True, id="all",
        )
    )  # fmt: skip
    (sent,) = service.requests
    assert isinstance(sent, pb.ScoreRequest)
    assert sent == pb.ScoreRequest(
        id="all", tokens=pb.TokenIds(ids=[1, 2]),
        continuations=[pb.Continuation(tokens=pb.TokenIds(ids=[3])), pb.Continuation(tokens=pb.TokenIds(ids=[4, 5]))],
        boundary=pb.BOUNDARY_JOINT, unconditional_tokens=pb.TokenIds(ids=[9]), token_logprobs=True,
        routing=pb.Routing(mixture=pb.Routing.Mixture(weights={"law": 0.5})), routes=pb.ROUTE_LEVEL_LAYER,
        pinned=pb.PinnedGenerations(snapshot="snap-1"), truncate_context=True, recompute_context=True,
    )  # fmt: skip


def test_empty_contexts_are_contexts(client: Client, service: FakeInference) -> None:
    client.score(ScoreRequest("", [" a"]))
    client.score(ScoreRequest([], [[1]]))
    kinds = [r.WhichOneof("context") for r in service.requests if isinstance(r, pb.ScoreRequest)]
    assert kinds == ["text", "tokens"]


def test_generate_streams_and_complete_joins(client: Client, service: FakeInference) -> None:
    request = GenerateRequest(
        Chat([Message("user", "What do bees make?")]), max_tokens=9, sampling=Sampling(temperature=0.0), stop=["\n"], logprobs=0
    )
    chunks = list(client.generate(request))
    assert [c.text for c in chunks] == ["Bees", " make", " honey", ".", ""]
    assert [c.finish is not None for c in chunks] == [False] * 4 + [True]
    whole = client.complete(request)
    assert whole.text == "Bees make honey."
    assert whole.tokens == (4, 5, 6, 1)
    assert whole.finish.reason is FinishReason.STOP_TOKEN
    assert whole.finish.seed == 7
    sent = service.requests[0]
    assert isinstance(sent, pb.GenerateRequest)
    assert sent.chat.messages[0].content == "What do bees make?"
    assert sent.chat.add_generation_prompt
    assert sent.sampling.HasField("temperature")
    assert not sent.sampling.HasField("top_k")
    assert sent.HasField("logprobs")


def test_a_text_may_go_without_special_tokens(client: Client, service: FakeInference) -> None:
    client.complete(GenerateRequest("<s>x", add_special_tokens=False))
    client.complete(GenerateRequest("x"))
    assert [isinstance(sent, pb.GenerateRequest) and sent.add_special_tokens for sent in service.requests] == [False, True]


def test_closing_a_generation_cancels_it_on_the_server(client: Client, service: FakeInference) -> None:
    stream = client.generate(GenerateRequest("endless"))
    assert next(stream).text == "Bees"
    stream.close()  # type: ignore[attr-defined]  # a generator
    assert service.cancelled.wait(10)


def test_route_and_get_model(client: Client) -> None:
    routes = client.route(RouteRequest("ab", given_text="c", level=RouteLevel.TOKEN))
    assert [token.text for token in routes.routes.tokens] == ["a", "b", "c"]
    model = client.get_model()
    assert (model.max_positions, model.dtype, model.generations.snapshot) == (64, "f32", "snap-1")


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("bad", InvalidArgumentError, grpc.StatusCode.INVALID_ARGUMENT),
        ("unknown expert", NotFoundError, grpc.StatusCode.NOT_FOUND),
        ("large", ResourceExhaustedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_refusals_raise_at_once_with_code_message_and_address(
    client: Client, running: Running, text: str, kind: type[SwitchyardError], code: grpc.StatusCode
) -> None:
    with pytest.raises(kind) as caught:
        client.score(ScoreRequest(text, [" a"], id="q9"))
    assert caught.value.code is code
    assert caught.value.address == running.address
    assert caught.value.request_id == "q9"
    assert caught.value.message in str(caught.value)
    assert running.service.attempts[text] == 1


def test_busy_servers_are_asked_again(client: Client, service: FakeInference) -> None:
    assert client.score(ScoreRequest("busy 3", [" a"])).scores[0].tokens == 2
    assert service.attempts["busy 3"] == 4
    assert client.complete(GenerateRequest("busy 2")).text == "Bees make honey."
    assert service.attempts["busy 2"] == 3


def test_retries_are_bounded(client: Client, service: FakeInference) -> None:
    with pytest.raises(ResourceExhaustedError):
        client.score(ScoreRequest("busy 99", [" a"]))
    assert service.attempts["busy 99"] == QUICK.retries + 1


def test_no_retry_begins_after_the_deadline(running: Running) -> None:
    with Client(running.address, retry=Retry(retries=8, first_wait=60, longest_wait=60)) as c, pytest.raises(ResourceExhaustedError):
        c.score(ScoreRequest("busy 99", [" a"]), timeout=5)
    assert running.service.attempts["busy 99"] == 1


def test_no_server_is_unavailable() -> None:
    with Client("127.0.0.1:1", retry=Retry(retries=1, first_wait=0.001)) as c, pytest.raises(UnavailableError):
        c.get_model()


def test_timeouts_become_deadlines_on_the_server(running: Running) -> None:
    with Client(running.address, timeout=50) as c:
        c.get_model()
        c.get_model(timeout=20)
    default, own = running.service.deadlines
    assert default is not None
    assert 20 < default <= 51
    assert own is not None
    assert own <= 21


def test_a_passed_deadline_raises(client: Client, service: FakeInference) -> None:
    stream = client.generate(GenerateRequest("endless"), timeout=0.5)
    with pytest.raises(DeadlineExceededError):
        list(stream)


def test_single_calls_go_round_robin() -> None:
    with Running() as one, Running() as two, Client([one.address, two.address]) as c:
        for _ in range(4):
            c.score(ScoreRequest("x", [" a"]))
        assert (len(one.service.requests), len(two.service.requests)) == (2, 2)
        assert set(c.get_models()) == {one.address, two.address}


def test_large_messages_pass() -> None:
    with Running() as server, Client(server.address) as c:
        # Above gRPC's default of 4 MiB for what is received.
        result = c.score(ScoreRequest("x", ["y" * 300_000], token_logprobs=True))
        assert len(result.scores[0].token_logprobs) == 300_000


def test_addresses_are_checked() -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Client([])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learned", pb.Routing(learned=pb.Routing.Learned())),
        ("base", pb.Routing(base_only=pb.Routing.BaseOnly())),
        ("expert:law", pb.Routing(forced_expert="law")),
        ("expert=law", pb.Routing(forced_expert="law")),
        ("mask:law+code", pb.Routing(learned=pb.Routing.Learned(masked_experts=["law", "code"]))),
        ("mixture:law:0.5+code:0.25", pb.Routing(mixture=pb.Routing.Mixture(weights={"law": 0.5, "code": 0.25}))),
        ("mixture=law:0.5,code:0.25", pb.Routing(mixture=pb.Routing.Mixture(weights={"law": 0.5, "code": 0.25}))),
    ],
)
def test_routing_is_parsed(text: str, message: pb.Routing) -> None:
    assert Routing.parse(text).message == message


@pytest.mark.parametrize(
    "text", ["", "expert", "expert:", "expert:a+b", "mixture:law", "mixture:law:-1", "mixture:law:nan", "base:x", "mask:"]
)
def test_bad_routing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="routing"):
        Routing.parse(text)
