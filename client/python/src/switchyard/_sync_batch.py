"""score_batch with threads: one reader a server, and gRPC's own thread that sends; the caller's thread feeds and collects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

import grpc

from switchyard._batch import Book, Lane, Outcome, Question
from switchyard.errors import SwitchyardError, error_for, from_rpc_error
from switchyard.retry import Retry, remaining
from switchyard.types import ScoreRequest
from switchyard.v1 import inference_pb2 as pb

ScoreStream = Callable[..., Iterator[pb.ScoreResponse]]


class SyncBatch:
    """One batch. `run` may be called once."""

    def __init__(self, streams: list[tuple[str, ScoreStream]], in_flight: int, retry: Retry, deadline: float | None) -> None:
        """`streams`: address and method of each server."""
        self._book = Book([address for address, _ in streams], in_flight, retry)
        self._streams = [stream for _, stream in streams]
        self._deadline = deadline
        self._changed = threading.Condition()  # guards what follows and the book
        self._closed = False
        self._calls: dict[int, grpc.Call] = {}

    def run(self, requests: Iterable[ScoreRequest], return_errors: bool) -> Iterator[Outcome]:
        """Results in order."""
        threads = [
            threading.Thread(target=self._read, args=(number, lane), name=f"score-batch-{lane.address}", daemon=True)
            for number, lane in enumerate(self._book.lanes)
        ]
        source = iter(requests)
        try:
            for thread in threads:
                thread.start()
            while (outcome := self._next(source)) is not None:
                if isinstance(outcome, SwitchyardError) and not return_errors:
                    raise outcome
                yield outcome
        finally:
            self._close(threads)

    # ------------------------------------------------------------------------------------------------------ the caller's thread

    def _next(self, source: Iterator[ScoreRequest]) -> Outcome | None:
        """Reads requests while there is room, then waits for the next result. None at the end."""
        while True:
            with self._changed:
                while True:
                    if self._book.error is not None:
                        raise self._book.error
                    if self._book.has_room():
                        break
                    if (outcome := self._book.next_result()) is not None:
                        self._changed.notify_all()
                        return outcome
                    if self._book.exhausted:
                        return None
                    self._changed.wait()
            # The caller's iterator runs without the lock: it may take its time.
            try:
                request = next(source)
            except StopIteration:
                with self._changed:
                    self._book.complete()
                    self._changed.notify_all()
                continue
            with self._changed:
                self._book.add(request)
                self._changed.notify_all()

    def _close(self, threads: list[threading.Thread]) -> None:
        with self._changed:
            self._closed = True
            unanswered = not self._book.finished
            self._changed.notify_all()
        # Streams without an open question end by themselves; the server is not waited for.
        if not unanswered:
            for thread in threads:
                thread.join(timeout=1.0)
        with self._changed:
            calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        for thread in threads:
            thread.join()

    # ------------------------------------------------------------------------------------------------------ threads

    def _read(self, number: int, lane: Lane) -> None:
        """Opens the lane's stream, again after a failure, and files its replies. Ends with the batch."""
        while self._wait_for_turn(lane):
            ended = threading.Event()
            error: SwitchyardError | None = None
            try:
                call = self._streams[number](self._questions(lane, ended), timeout=remaining(self._deadline))
                with self._changed:
                    self._calls[number] = call  # type: ignore[assignment]  # grpc's streams are calls, too
                    closed = self._closed
                if closed:
                    call.cancel()  # type: ignore[attr-defined]
                for response in call:
                    with self._changed:
                        self._book.answer(lane, response)
                        self._changed.notify_all()
            except grpc.RpcError as raised:
                error = from_rpc_error(raised, lane.address)
            except ValueError as raised:  # the channel was closed
                error = error_for(grpc.StatusCode.CANCELLED, str(raised), lane.address)
            with self._changed:
                ended.set()
                self._calls.pop(number, None)
                if not (self._closed or self._book.finished):
                    error = error or error_for(grpc.StatusCode.UNAVAILABLE, "the server ended the stream early", lane.address)
                    self._book.stream_ended(lane, error)
                self._changed.notify_all()

    def _wait_for_turn(self, lane: Lane) -> bool:
        """Blocks until the lane has something to ask. False: nothing will come any more."""
        with self._changed:
            while not (self._closed or self._book.finished or lane.dead):
                if (wait := self._book.pause(lane)) == 0:
                    return True
                self._changed.wait(wait)
            return False

    def _questions(self, lane: Lane, ended: threading.Event) -> Iterator[pb.ScoreRequest]:
        """What gRPC's sending thread sends. Ends with the stream, or when every question of the batch is answered."""
        while True:
            with self._changed:
                question = self._take(lane, ended)
            if question is None:
                return
            yield question.message

    def _take(self, lane: Lane, ended: threading.Event) -> Question | None:
        while not (self._closed or self._book.finished or ended.is_set()):
            taken = self._book.take(lane)
            if isinstance(taken, Question):
                return taken
            self._changed.wait(taken)
        return None
