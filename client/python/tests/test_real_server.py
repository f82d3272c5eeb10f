"""Both clients against a real server."""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Iterator

import pytest
from real_server import random_base, serving, with_experts

from switchyard import (
    AsyncClient,
    Chat,
    Client,
    FailedPreconditionError,
    FinishReason,
    GenerateRequest,
    InvalidArgumentError,
    Message,
    NotFoundError,
    Pinned,
    RouteLevel,
    RouteRequest,
    Routing,
    Sampling,
    ScoreRequest,
    ScoreResult,
    SwitchyardError,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work: pathlib.Path = tmp_path_factory.mktemp("server")
    base = random_base(work / "base")
    with serving(base, work / "server.log", *with_experts(base, work / "fixtures")) as where:
        yield where


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    with Client(address, timeout=60) as c:
        yield c


def test_the_model_describes_itself(client: Client) -> None:
    model = client.get_model()
    assert [e.name for e in model.generations.experts] == ["medicine", "law", "zero"]
    assert (model.layers, model.hidden_size, model.vocabulary, model.max_positions) == (3, 64, 512, 8192)
    assert model.untrained


def test_scores_are_the_same_however_they_are_asked_for(client: Client, address: str) -> None:
    requests = [ScoreRequest(f"question {i}:", [" yes", " no", " perhaps"], id=str(i), unconditional="x") for i in range(40)]
    singly = [client.score(request) for request in requests]
    batch = list(client.score_batch(requests, in_flight=7))

    async def awaited() -> list[ScoreResult]:
        async with AsyncClient(address) as c:
            return [result async for result in c.score_batch(requests)]

    wanted = [(r.id, r.scores, r.winners) for r in singly]
    assert [(r.id, r.scores, r.winners) for r in batch] == wanted
    assert [(r.id, r.scores, r.winners) for r in asyncio.run(awaited())] == wanted
    first = singly[0]
    assert first.scores[0].pmi is not None
    assert first.scores[2].per_character == pytest.approx(first.scores[2].logprob / len("perhaps"))
    assert first.generations == client.get_model().generations


def test_generation_streams_what_complete_returns(client: Client) -> None:
    request = GenerateRequest(
        "seven bees", max_tokens=12, sampling=Sampling(temperature=0.0), ignore_eos=True, echo_prompt_tokens=True, logprobs=2
    )
    chunks = list(client.generate(request))
    whole = client.complete(request)
    assert "".join(c.text for c in chunks) == whole.text
    assert len(whole.tokens) == len(whole.logprobs) == 12
    assert len(whole.logprobs[0].top) == 2
    assert whole.prompt_tokens
    assert whole.finish.reason is FinishReason.LENGTH
    assert whole.finish.usage.generated_tokens == 12


def test_routing_changes_the_answer_and_routes_tell(client: Client) -> None:
    by_routing = {
        text: client.score(ScoreRequest("a question:", [" yes"], routing=Routing.parse(text))).scores[0].logprob
        for text in ("learned", "base", "expert:law", "mask:law", "mixture:law:0.5+medicine:0.25")
    }
    assert len(set(by_routing.values())) == len(by_routing)
    routes = client.route(RouteRequest(Chat([Message("user", "a question")]), level=RouteLevel.TOKEN)).routes
    assert all(len(token.layers) == 3 and len(token.layers[0].experts) == 2 for token in routes.tokens)
    tokens = client.route(RouteRequest("a question:", level=RouteLevel.TOKEN, routing=Routing.expert("law"))).routes.tokens
    replayed = client.score(ScoreRequest([t.token for t in tokens], [[5]], routing=Routing.replay(tokens)))
    forced = client.score(ScoreRequest([t.token for t in tokens], [[5]], routing=Routing.expert("law")))
    assert replayed.scores == forced.scores


def test_refusals_keep_their_codes(client: Client) -> None:
    with pytest.raises(NotFoundError, match="known experts: medicine, law, zero"):
        client.score(ScoreRequest("x", [" y"], routing=Routing.expert("biology")))
    with pytest.raises(FailedPreconditionError):
        client.score(ScoreRequest("x", [" y"], pinned=Pinned(snapshot="another")))
    with pytest.raises(InvalidArgumentError, match="temperature"):
        client.complete(GenerateRequest("x", sampling=Sampling(temperature=-1.0)))
    requests = [ScoreRequest("x", [" y"]), ScoreRequest("x", [[1]]), ScoreRequest("x", [" z"])]
    outcomes = list(client.score_batch(requests, return_errors=True))
    assert [isinstance(o, SwitchyardError) for o in outcomes] == [False, True, False]
