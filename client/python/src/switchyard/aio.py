"""The asyncio client: the same calls as `Client`, awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, TypeVar, overload

import grpc
import grpc.aio

from switchyard import _channel, _convert
from switchyard import types as t
from switchyard._async_batch import AsyncBatch, ScoreStream
from switchyard.errors import SwitchyardError, from_rpc_error
from switchyard.retry import Retry, deadline_of, remaining
from switchyard.security import Security
from switchyard.v1 import inference_pb2 as pb

_Reply = TypeVar("_Reply")


class _Connection:
    """One server: its channel and the service's methods."""

    def __init__(
        self, address: str, options: _channel.Options, credentials: grpc.ChannelCredentials | None, metadata: _channel.Metadata
    ) -> None:
        self.address = address
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(address, options)
        else:
            self.channel = grpc.aio.secure_channel(address, credentials, options)
        name = _channel.SERVICE
        self.score: Callable[..., Awaitable[pb.ScoreResponse]] = partial(
            self.channel.unary_unary(name + "Score", pb.ScoreRequest.SerializeToString, pb.ScoreResponse.FromString), metadata=metadata
        )
        self.route: Callable[..., Awaitable[pb.RouteResponse]] = partial(
            self.channel.unary_unary(name + "Route", pb.RouteRequest.SerializeToString, pb.RouteResponse.FromString), metadata=metadata
        )
        self.get_model: Callable[..., Awaitable[pb.GetModelResponse]] = partial(
            self.channel.unary_unary(name + "GetModel", pb.GetModelRequest.SerializeToString, pb.GetModelResponse.FromString),
            metadata=metadata,
        )
        self.generate: Callable[..., AsyncIterable[pb.GenerateResponse]] = partial(
            self.channel.unary_stream(name + "Generate", pb.GenerateRequest.SerializeToString, pb.GenerateResponse.FromString),
            metadata=metadata,
        )
        self.score_stream: ScoreStream = partial(
            self.channel.stream_stream(name + "ScoreStream", pb.ScoreRequest.SerializeToString, pb.ScoreResponse.FromString),
            metadata=metadata,
        )


class AsyncClient:
    """A client of one or several servers that serve the same thing. Belongs to one event loop; make it inside a coroutine.

    With several addresses single calls go round robin and `score_batch` spreads over all of them. `timeout` is the default for each
    call, in seconds (None: no deadline). Use it as an async context manager, or await `close`.
    """

    def __init__(
        self,
        address: str | Sequence[str] = _channel.DEFAULT_ADDRESS,
        *,
        timeout: float | None = None,
        retry: Retry | None = None,
        max_message_mib: int = 64,
        security: Security | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        channel_options: Sequence[tuple[str, str | int]] = (),
    ) -> None:
        """`security`: TLS, token and tenant (None: as the environment says, `Security.from_environment`). `credentials` replace its TLS.

        `channel_options` override this package's gRPC channel arguments.
        """
        options = _channel.channel_options(max_message_mib, channel_options)
        security = security or Security.from_environment()
        credentials = credentials or security.channel_credentials()
        metadata = security.metadata()
        self._connections = [_Connection(a, options, credentials, metadata) for a in _channel.addresses_of(address)]
        self._turn = itertools.cycle(self._connections)
        self._timeout = timeout
        self._retry = retry or Retry()

    @property
    def addresses(self) -> list[str]:
        """The servers."""
        return [c.address for c in self._connections]

    async def close(self) -> None:
        """Ends the connections, and with them whatever is still running."""
        for connection in self._connections:
            await connection.channel.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def score(self, request: t.ScoreRequest, *, timeout: float | None = None) -> t.ScoreResult:
        """Log-probabilities of continuations of one context."""
        message = _convert.score_message(request)
        reply = await self._call(lambda c, left: c.score(message, timeout=left), timeout, request.id)
        return _convert.score_result(reply, request.id)

    async def route(self, request: t.RouteRequest, *, timeout: float | None = None) -> t.RouteResult:
        """Which experts each token takes, without generating."""
        message = _convert.route_message(request)
        return _convert.route_result(await self._call(lambda c, left: c.route(message, timeout=left), timeout, request.id))

    async def get_model(self, *, timeout: float | None = None) -> t.Model:
        """What is being served."""
        return _convert.model(await self._call(lambda c, left: c.get_model(pb.GetModelRequest(), timeout=left), timeout))

    async def get_models(self, *, timeout: float | None = None) -> dict[str, t.Model]:
        """What each server serves, by address."""
        models = {}
        for connection in self._connections:
            reply = await self._call(lambda c, left: c.get_model(pb.GetModelRequest(), timeout=left), timeout, only=connection)
            models[connection.address] = _convert.model(reply)
        return models

    async def generate(
        self,
        request: t.GenerateRequest,
        *,
        timeout: float | None = None,
    ) -> AsyncIterator[t.GenerateChunk]:
        """The answer, piece by piece; the last one carries `finish`. Closing the iterator cancels the request on the server.

        A busy server is asked again only as long as nothing has come.
        """
        message = _convert.generate_message(request)
        deadline = deadline_of(self._timeout if timeout is None else timeout)
        for attempt in itertools.count():
            connection = next(self._turn)
            call = connection.generate(message, timeout=remaining(deadline))
            begun = False
            try:
                async for response in call:
                    begun = True
                    yield _convert.chunk(response)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, connection.address, request.id)
                wait = None if begun else self._retry.next_wait(error, attempt, deadline)
                if wait is None:
                    raise error from raised
                await asyncio.sleep(wait)
            finally:
                call.cancel()  # type: ignore[attr-defined]  # of grpc.aio.Call; without effect on one that has ended

    async def complete(self, request: t.GenerateRequest, *, timeout: float | None = None) -> t.Completion:
        """The whole answer at once."""
        return _convert.join([chunk async for chunk in self.generate(request, timeout=timeout)])

    @overload
    def score_batch(
        self,
        requests: Iterable[t.ScoreRequest] | AsyncIterable[t.ScoreRequest],
        *,
        in_flight: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> AsyncIterator[t.ScoreResult]: ...

    @overload
    def score_batch(
        self,
        requests: Iterable[t.ScoreRequest] | AsyncIterable[t.ScoreRequest],
        *,
        in_flight: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[True],
    ) -> AsyncIterator[t.ScoreResult | SwitchyardError]: ...

    def score_batch(
        self,
        requests: Iterable[t.ScoreRequest] | AsyncIterable[t.ScoreRequest],
        *,
        in_flight: int = 32,
        timeout: float | None = None,
        return_errors: bool = False,
    ) -> AsyncIterator[t.ScoreResult | SwitchyardError]:
        """Scores many requests over one stream a server, at most `in_flight` at once on each; results come in the order of `requests`.

        The same as `Client.score_batch`; `requests` may be an asynchronous iterable, too.
        """
        lanes = [(c.address, c.score_stream) for c in self._connections]
        return AsyncBatch(lanes, in_flight, self._retry, deadline_of(timeout)).run(requests, return_errors)

    async def _call(
        self,
        call: Callable[[_Connection, float | None], Awaitable[_Reply]],
        timeout: float | None,
        request_id: str = "",
        only: _Connection | None = None,
    ) -> _Reply:
        deadline = deadline_of(self._timeout if timeout is None else timeout)
        for attempt in itertools.count():
            connection = only or next(self._turn)
            try:
                return await call(connection, remaining(deadline))
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, connection.address, request_id)
                wait = self._retry.next_wait(error, attempt, deadline)
                if wait is None:
                    raise error from raised
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")
