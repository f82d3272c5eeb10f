"""The synchronous client."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Literal, TypeVar, overload

import grpc

from switchyard import _channel, _convert
from switchyard import types as t
from switchyard._sync_batch import ScoreStream, SyncBatch
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
            self.channel = grpc.insecure_channel(address, options)
        else:
            self.channel = grpc.secure_channel(address, credentials, options)
        name = _channel.SERVICE
        self.score: Callable[..., pb.ScoreResponse] = partial(
            self.channel.unary_unary(name + "Score", pb.ScoreRequest.SerializeToString, pb.ScoreResponse.FromString), metadata=metadata
        )
        self.route: Callable[..., pb.RouteResponse] = partial(
            self.channel.unary_unary(name + "Route", pb.RouteRequest.SerializeToString, pb.RouteResponse.FromString), metadata=metadata
        )
        self.get_model: Callable[..., pb.GetModelResponse] = partial(
            self.channel.unary_unary(name + "GetModel", pb.GetModelRequest.SerializeToString, pb.GetModelResponse.FromString),
            metadata=metadata,
        )
        self.generate: Callable[..., Iterator[pb.GenerateResponse]] = partial(
            self.channel.unary_stream(name + "Generate", pb.GenerateRequest.SerializeToString, pb.GenerateResponse.FromString),
            metadata=metadata,
        )
        self.score_stream: ScoreStream = partial(
            self.channel.stream_stream(name + "ScoreStream", pb.ScoreRequest.SerializeToString, pb.ScoreResponse.FromString),
            metadata=metadata,
        )


class Client:
    """A client of one or several servers that serve the same thing.

    Thread-safe. Connects at the first call. With several addresses single calls go round robin and `score_batch` spreads over all of them.
    `timeout` is the default for each call, in seconds (None: no deadline). Use it as a context manager, or call `close`.
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

    def close(self) -> None:
        """Ends the connections, and with them whatever is still running."""
        for connection in self._connections:
            connection.channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def score(self, request: t.ScoreRequest, *, timeout: float | None = None) -> t.ScoreResult:
        """Log-probabilities of continuations of one context."""
        message = _convert.score_message(request)
        return _convert.score_result(self._call(lambda c, left: c.score(message, timeout=left), timeout, request.id), request.id)

    def route(self, request: t.RouteRequest, *, timeout: float | None = None) -> t.RouteResult:
        """Which experts each token takes, without generating."""
        message = _convert.route_message(request)
        return _convert.route_result(self._call(lambda c, left: c.route(message, timeout=left), timeout, request.id))

    def get_model(self, *, timeout: float | None = None) -> t.Model:
        """What is being served."""
        return _convert.model(self._call(lambda c, left: c.get_model(pb.GetModelRequest(), timeout=left), timeout))

    def get_models(self, *, timeout: float | None = None) -> dict[str, t.Model]:
        """What each server serves, by address."""
        return {
            connection.address: _convert.model(
                self._call(lambda c, left: c.get_model(pb.GetModelRequest(), timeout=left), timeout, only=connection)
            )
            for connection in self._connections
        }

    def generate(self, request: t.GenerateRequest, *, timeout: float | None = None) -> Iterator[t.GenerateChunk]:
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
                for response in call:
                    begun = True
                    yield _convert.chunk(response)
                return
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, connection.address, request.id)
                wait = None if begun else self._retry.next_wait(error, attempt, deadline)
                if wait is None:
                    raise error from raised
                time.sleep(wait)
            finally:
                call.cancel()  # type: ignore[attr-defined]  # of grpc.Call; without effect on one that has ended

    def complete(self, request: t.GenerateRequest, *, timeout: float | None = None) -> t.Completion:
        """The whole answer at once."""
        return _convert.join(list(self.generate(request, timeout=timeout)))

    @overload
    def score_batch(
        self,
        requests: Iterable[t.ScoreRequest],
        *,
        in_flight: int = ...,
        timeout: float | None = ...,
        return_errors: Literal[False] = ...,
    ) -> Iterator[t.ScoreResult]: ...

    @overload
    def score_batch(
        self, requests: Iterable[t.ScoreRequest], *, in_flight: int = ..., timeout: float | None = ..., return_errors: Literal[True]
    ) -> Iterator[t.ScoreResult | SwitchyardError]: ...

    def score_batch(
        self, requests: Iterable[t.ScoreRequest], *, in_flight: int = 32, timeout: float | None = None, return_errors: bool = False
    ) -> Iterator[t.ScoreResult | SwitchyardError]:
        """Scores many requests over one stream a server, at most `in_flight` at once on each; results come in the order of `requests`.

        `requests` is read as room becomes free, never far ahead. A refused request raises, or with `return_errors` stands as an exception
        in its result's place. A server that goes away for good is left out, as long as another one remains. `timeout` is for the whole
        batch (default: none). Closing the iterator cancels what is running.
        """
        lanes = [(c.address, c.score_stream) for c in self._connections]
        return SyncBatch(lanes, in_flight, self._retry, deadline_of(timeout)).run(requests, return_errors)

    def _call(
        self,
        call: Callable[[_Connection, float | None], _Reply],
        timeout: float | None,
        request_id: str = "",
        only: _Connection | None = None,
    ) -> _Reply:
        deadline = deadline_of(self._timeout if timeout is None else timeout)
        for attempt in itertools.count():
            connection = only or next(self._turn)
            try:
                return call(connection, remaining(deadline))
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, connection.address, request_id)
                wait = self._retry.next_wait(error, attempt, deadline)
                if wait is None:
                    raise error from raised
                time.sleep(wait)
        raise AssertionError("unreachable")
