"""The asyncio client's own calls; score_batch is in test_score_batch.py."""

from __future__ import annotations

import asyncio

import pytest
from conftest import QUICK
from fake_server import Running

from switchyard import (
    AsyncClient,
    GenerateRequest,
    InvalidArgumentError,
    ResourceExhaustedError,
    RouteLevel,
    RouteRequest,
    ScoreRequest,
)


def test_every_call(running: Running) -> None:
    async def run() -> None:
        async with AsyncClient(running.address, retry=QUICK) as client:
            results = await asyncio.gather(*(client.score(ScoreRequest("x", ["a" * i])) for i in range(1, 30)))
            assert [r.scores[0].tokens for r in results] == list(range(1, 30))
            assert [c.text async for c in client.generate(GenerateRequest("x"))] == ["Bees", " make", " honey", ".", ""]
            assert (await client.complete(GenerateRequest("x"))).text == "Bees make honey."
            routes = await client.route(RouteRequest("ab", level=RouteLevel.TOKEN))
            assert len(routes.routes.tokens) == 2
            assert (await client.get_model()).generations.base_name == "tiny"
            assert list(await client.get_models()) == [running.address]

    asyncio.run(run())


def test_refusals_and_retries(running: Running) -> None:
    async def run() -> None:
        async with AsyncClient(running.address, retry=QUICK) as client:
            with pytest.raises(InvalidArgumentError):
                await client.score(ScoreRequest("bad", [" a"]))
            assert (await client.score(ScoreRequest("busy 2", [" a"]))).scores[0].tokens == 2
            assert (await client.complete(GenerateRequest("busy 1"))).text == "Bees make honey."
            with pytest.raises(ResourceExhaustedError):
                await client.complete(GenerateRequest("busy 99"))

    asyncio.run(run())
    assert running.service.attempts["busy 99"] == QUICK.retries + 1


def test_leaving_a_generation_cancels_it_on_the_server(running: Running) -> None:
    async def run() -> None:
        async with AsyncClient(running.address) as client:
            stream = client.generate(GenerateRequest("endless"))
            async for chunk in stream:
                assert chunk.text == "Bees"
                break
            await stream.aclose()  # type: ignore[attr-defined]  # a generator
            assert await asyncio.to_thread(running.service.cancelled.wait, 10)

    asyncio.run(run())
