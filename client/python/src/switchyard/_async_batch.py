"""score_batch on an event loop: one task a server, and the caller's own coroutine that feeds and collects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

import grpc

from switchyard._batch import Book, Lane, Outcome, Question
from switchyard.errors import SwitchyardError, error_for, from_rpc_error
from switchyard.retry import Retry, remaining
from switchyard.types import ScoreRequest
from switchyard.v1 import inference_pb2 as pb

ScoreStream = Callable[..., AsyncIterable[pb.ScoreResponse]]


class AsyncBatch:
    """One batch. `run` may be called once."""

    def __init__(self, streams: list[tuple[str, ScoreStream]], in_flight: int, retry: Retry, deadline: float | None) -> None:
        """`streams`: address and method of each server."""
        self._book = Book([address for address, _ in streams], in_flight, retry)
        self._streams = [stream for _, stream in streams]
        self._deadline = deadline
        self._waiters: set[asyncio.Future[None]] = set()

    async def run(self, requests: Iterable[ScoreRequest] | AsyncIterable[ScoreRequest], return_errors: bool) -> AsyncIterator[Outcome]:
        """Results in order."""
        tasks = [asyncio.create_task(self._read(number, lane)) for number, lane in enumerate(self._book.lanes)]
        source = _asynchronous(requests)
        try:
            while (outcome := await self._next(source)) is not None:
                if isinstance(outcome, SwitchyardError) and not return_errors:
                    raise outcome
                yield outcome
            # Every question is answered: the streams end by themselves, but the server is not waited for.
            await asyncio.wait(tasks, timeout=1.0)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _next(self, source: AsyncIterator[ScoreRequest]) -> Outcome | None:
        """Reads requests while there is room, then waits for the next result. None at the end."""
        while True:
            if self._book.error is not None:
                raise self._book.error
            if self._book.has_room():
                try:
                    self._book.add(await source.__anext__())
                except StopAsyncIteration:
                    self._book.complete()
                self._notify()
            elif (outcome := self._book.next_result()) is not None:
                self._notify()
                return outcome
            elif self._book.exhausted:
                return None
            else:
                await self._change(None)

    async def _read(self, number: int, lane: Lane) -> None:
        """Opens the lane's stream, again after a failure, and files its replies. Ends with the batch."""
        while await self._wait_for_turn(lane):
            error: SwitchyardError | None = None
            ended = asyncio.Event()
            call = self._streams[number](self._questions(lane, ended), timeout=remaining(self._deadline))
            try:
                async for response in call:
                    self._book.answer(lane, response)
                    self._notify()
            except grpc.RpcError as raised:
                error = what_broke(from_rpc_error(raised, lane.address))
            finally:
                ended.set()
                call.cancel()  # type: ignore[attr-defined]  # of grpc.aio.Call; without effect on one that has ended
            if not self._book.finished:
                error = error or error_for(grpc.StatusCode.UNAVAILABLE, "the server ended the stream early", lane.address)
                self._book.stream_ended(lane, error)
            self._notify()

    async def _wait_for_turn(self, lane: Lane) -> bool:
        """Waits until the lane has something to ask. False: nothing will come any more."""
        while not (self._book.finished or lane.dead):
            if (wait := self._book.pause(lane)) == 0:
                return True
            await self._change(wait)
        return False

    async def _questions(self, lane: Lane, ended: asyncio.Event) -> AsyncIterator[pb.ScoreRequest]:
        """What is sent. Ends with the stream, or when every question of the batch is answered."""
        while not (self._book.finished or ended.is_set()):
            taken = self._book.take(lane)
            if isinstance(taken, Question):
                yield taken.message
            else:
                await self._change(taken)

    # ------------------------------------------------------------------------------------------------------ waiting

    async def _change(self, timeout: float | None) -> None:
        """Waits until something changes, or the time is over."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait([waiter], timeout=timeout)
        finally:
            self._waiters.discard(waiter)

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def what_broke(error: SwitchyardError) -> SwitchyardError:
    """The error, unless grpc.aio hides it: a message that was being sent when the stream ended makes its own INTERNAL out of any status.

    The stream broke, which is as good as the server being away; opening it again shows what is really the matter.
    """
    if error.code is grpc.StatusCode.INTERNAL and error.message == "Internal error from Core":
        return error_for(grpc.StatusCode.UNAVAILABLE, "the stream ended while a question was being sent", error.address)
    return error


async def _asynchronous(requests: Iterable[ScoreRequest] | AsyncIterable[ScoreRequest]) -> AsyncIterator[ScoreRequest]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
        return
    for request in requests:
        yield request
        await asyncio.sleep(0)  # a long list does not hold up the event loop
