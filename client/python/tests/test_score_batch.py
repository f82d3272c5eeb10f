"""score_batch of both clients: order, bounds, refusals, broken streams, several servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import grpc
import pytest
from conftest import QUICK
from fake_server import FakeInference, Running

from switchyard import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    Retry,
    ScoreRequest,
    ScoreResult,
    SwitchyardError,
    UnavailableError,
)
from switchyard._async_batch import what_broke
from switchyard.errors import error_for

Outcome = ScoreResult | SwitchyardError
Batch = Callable[..., list[Outcome]]


def sync_batch(addresses: list[str], requests: Iterable[ScoreRequest], retry: Retry = QUICK, **options: Any) -> list[Outcome]:
    with Client(addresses, retry=retry) as client:
        return list(client.score_batch(requests, **options))


def async_batch(addresses: list[str], requests: Iterable[ScoreRequest], retry: Retry = QUICK, **options: Any) -> list[Outcome]:
    async def run() -> list[Outcome]:
        async with AsyncClient(addresses, retry=retry) as client:
            return [outcome async for outcome in client.score_batch(requests, **options)]

    return asyncio.run(run())


@pytest.fixture(params=[sync_batch, async_batch], ids=["sync", "async"])
def batch(request: pytest.FixtureRequest) -> Batch:
    chosen: Batch = request.param
    return chosen


def questions(count: int) -> list[ScoreRequest]:
    return [ScoreRequest(f"question {i}", ["x" * (i % 7 + 1), " y"], id=f"id-{i}") for i in range(count)]


def lengths(outcomes: list[Outcome]) -> list[int]:
    return [o.scores[0].tokens for o in outcomes if isinstance(o, ScoreResult)]


def test_results_come_in_the_order_of_the_requests(running: Running, batch: Batch) -> None:
    outcomes = batch([running.address], questions(101), in_flight=8)
    assert lengths(outcomes) == [i % 7 + 1 for i in range(101)]
    assert [o.id for o in outcomes if isinstance(o, ScoreResult)] == [f"id-{i}" for i in range(101)]
    assert running.service.streams == 1


def test_no_requests_are_no_results(running: Running, batch: Batch) -> None:
    assert batch([running.address], []) == []


def test_a_server_never_holds_more_than_in_flight(running: Running, batch: Batch) -> None:
    batch([running.address], questions(60), in_flight=5)
    assert 1 < running.service.most_open <= 5


def test_a_refusal_raises_or_takes_its_place(running: Running, batch: Batch) -> None:
    requests = [*questions(3), ScoreRequest("bad", [" a"], id="q3"), *questions(3)]
    with pytest.raises(InvalidArgumentError, match="found nothing"):
        batch([running.address], requests)
    outcomes = batch([running.address], requests, return_errors=True)
    assert [isinstance(o, SwitchyardError) for o in outcomes] == [False] * 3 + [True] + [False] * 3
    error = outcomes[3]
    assert isinstance(error, InvalidArgumentError)
    assert error.request_id == "q3"


def test_busy_answers_are_asked_again(running: Running, batch: Batch) -> None:
    requests = [ScoreRequest("busy 2", [" a"]), *questions(4)]
    assert len(batch([running.address], requests)) == 5
    assert running.service.attempts["busy 2"] == 3


def test_busy_answers_are_not_asked_for_ever(running: Running, batch: Batch) -> None:
    (outcome,) = batch([running.address], [ScoreRequest("busy 99", [" a"])], return_errors=True)
    assert isinstance(outcome, SwitchyardError)
    assert running.service.attempts["busy 99"] == QUICK.retries + 1


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
def test_a_broken_stream_is_opened_again_and_nothing_is_lost(batch: Batch, code: grpc.StatusCode) -> None:
    with Running(FakeInference(break_stream_after=7, break_stream_with=code)) as server:
        outcomes = batch([server.address], questions(40), in_flight=6)
        assert lengths(outcomes) == [i % 7 + 1 for i in range(40)]
        assert server.service.streams == 2


def test_an_error_of_grpc_itself_while_sending_is_a_broken_stream() -> None:
    hidden = error_for(grpc.StatusCode.INTERNAL, "Internal error from Core", "there:1")
    assert what_broke(hidden).transient
    servers_own = error_for(grpc.StatusCode.INTERNAL, "layer 3: not finite", "there:1")
    assert what_broke(servers_own) is servers_own


def test_several_servers_share_the_questions(batch: Batch) -> None:
    with Running() as one, Running() as two:
        outcomes = batch([one.address, two.address], questions(200), in_flight=2)
        assert lengths(outcomes) == [i % 7 + 1 for i in range(200)]
        shares = len(one.service.requests), len(two.service.requests)
        assert sum(shares) == 200
        assert min(shares) > 0


def test_a_server_that_is_gone_leaves_its_questions_to_the_others(batch: Batch) -> None:
    with Running() as alive:
        outcomes = batch(["127.0.0.1:1", alive.address], questions(30), retry=Retry(1, 0.001, 0.001))
        assert lengths(outcomes) == [i % 7 + 1 for i in range(30)]


def test_no_server_at_all_is_an_error(batch: Batch) -> None:
    with pytest.raises(UnavailableError):
        batch(["127.0.0.1:1"], questions(3), retry=Retry(1, 0.001, 0.001))


def test_the_deadline_ends_the_batch(batch: Batch) -> None:
    with Running() as server:
        server.service.gate.clear()
        with pytest.raises(DeadlineExceededError):
            batch([server.address], questions(3), timeout=0.3)


def test_what_cannot_be_expressed_raises_in_the_caller(running: Running, batch: Batch) -> None:
    with pytest.raises(ValueError, match=r"2147483648|range"):
        batch([running.address], [ScoreRequest([2**31], [[1]])])


def test_in_flight_is_checked(running: Running, batch: Batch) -> None:
    with pytest.raises(ValueError, match="in_flight"):
        batch([running.address], questions(1), in_flight=0)


def test_requests_are_not_read_far_ahead(running: Running, client: Client) -> None:
    read = 0

    def source() -> Iterator[ScoreRequest]:
        nonlocal read
        for request in questions(1000):
            read += 1
            yield request

    results = client.score_batch(source(), in_flight=2)
    next(results)
    assert read <= 8
    results.close()  # type: ignore[attr-defined]  # a generator


def test_an_error_in_the_callers_iterator_reaches_the_caller(running: Running, client: Client) -> None:
    def source() -> Iterator[ScoreRequest]:
        yield from questions(2)
        raise RuntimeError("the file is broken")

    with pytest.raises(RuntimeError, match="the file is broken"):
        list(client.score_batch(source()))


def test_closing_the_results_cancels_the_stream(running: Running, client: Client) -> None:
    service = running.service
    results = client.score_batch(questions(50), in_flight=4)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert service.cancelled.wait(10)
    assert not [t for t in threading.enumerate() if t.name.startswith("score-batch")]


def test_async_requests_may_be_an_asynchronous_iterable(running: Running) -> None:
    async def source() -> AsyncIterator[ScoreRequest]:
        for request in questions(20):
            await asyncio.sleep(0)
            yield request

    async def run() -> list[ScoreResult]:
        async with AsyncClient(running.address) as client:
            return [result async for result in client.score_batch(source(), in_flight=3)]

    assert lengths(list(asyncio.run(run()))) == [i % 7 + 1 for i in range(20)]
