"""The bookkeeping of score_batch: which question is where, what comes next, what is tried again. No I/O, no threads.

Each server has one ScoreStream, a `Lane`. Lanes take questions as they have room, so a slow server gets fewer; a server that goes away
gives its questions back to the others. Results leave in the order of the questions.

Thread-compatible: the callers hold a lock, or run on one event loop.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import grpc

from switchyard import _convert
from switchyard.errors import SwitchyardError, error_for
from switchyard.retry import Retry
from switchyard.types import ScoreRequest, ScoreResult
from switchyard.v1 import inference_pb2 as pb

Outcome = ScoreResult | SwitchyardError


@dataclass
class Question:
    """A request with its place in the batch. On the wire its id is that place; the caller's own id comes back with the result."""

    index: int
    own_id: str
    message: pb.ScoreRequest
    attempts: int = 0


@dataclass
class Lane:
    """One server's stream: what it is working on, and until when it wants to be left alone."""

    address: str
    working: dict[str, Question] = field(default_factory=dict)
    failures: int = 0
    paused_until: float = 0.0
    dead: SwitchyardError | None = None


class Book:
    """All questions of one batch that were read and not yet handed out as results: at most `window` of them."""

    def __init__(self, addresses: list[str], in_flight: int, retry: Retry) -> None:
        """`in_flight` is per server. Room for finished questions behind a slow one: three times as many."""
        if in_flight < 1:
            raise ValueError(f"in_flight: expected >= 1, found {in_flight}")
        self.lanes = [Lane(address) for address in addresses]
        self.error: SwitchyardError | None = None
        self._in_flight = in_flight
        self._window = 4 * in_flight * len(addresses)
        self._retry = retry
        self._waiting: deque[Question] = deque()
        self._ready: dict[int, Outcome] = {}
        self._added = 0
        self._taken_out = 0
        self._complete = False

    def has_room(self) -> bool:
        """Whether another question may be read from the caller."""
        return not self._complete and self._added - self._taken_out < self._window

    def add(self, request: ScoreRequest) -> None:
        """A question from the caller. ValueError or TypeError when it cannot be expressed, such as a token id out of range."""
        message = _convert.score_message(request)
        message.id = str(self._added)
        self._waiting.append(Question(self._added, request.id, message))
        self._added += 1

    def complete(self) -> None:
        """The caller has no more questions."""
        self._complete = True

    @property
    def finished(self) -> bool:
        """Every question was answered, or the batch has failed."""
        return self.error is not None or (self._complete and self._added == self._taken_out + len(self._ready))

    def pause(self, lane: Lane) -> float | None:
        """0 when a question waits that the lane could take now; else the seconds until then, or None until something changes."""
        if len(lane.working) >= self._in_flight or not self._waiting:
            return None
        return max(0.0, lane.paused_until - time.monotonic())

    def take(self, lane: Lane) -> Question | float | None:
        """The lane's next question; or the seconds until it may ask again; or None until something changes."""
        if wait := self.pause(lane):
            return wait
        if wait is None:
            return None
        question = self._waiting.popleft()
        lane.working[str(question.index)] = question
        return question

    def answer(self, lane: Lane, response: pb.ScoreResponse) -> None:
        """A reply came. A busy server's refusal puts the question back and pauses the lane."""
        lane.failures = 0
        question = lane.working.pop(response.id, None)
        if question is None:
            self.error = error_for(13, f"a reply to {response.id!r}, which was not asked", lane.address)
            return
        if not response.HasField("error"):
            self._ready[question.index] = _convert.score_result(response, question.own_id)
            return
        error = error_for(response.error.code, response.error.message, lane.address, question.own_id)
        if error.transient and question.attempts < self._retry.retries:
            lane.paused_until = time.monotonic() + self._retry.wait(question.attempts)
            question.attempts += 1
            self._put_back([question])
        else:
            self._ready[question.index] = error

    def stream_ended(self, lane: Lane, error: SwitchyardError) -> None:
        """The lane's stream broke: its questions go back, and it may open another one after a pause, or is given up.

        A server that stops ends with CANCELLED what is open for longer than its drain.
        """
        self._put_back(sorted(lane.working.values(), key=lambda q: q.index))
        lane.working.clear()
        if not error.transient and error.code is not grpc.StatusCode.CANCELLED:
            self.error = error
        elif lane.failures < self._retry.retries:
            lane.paused_until = time.monotonic() + self._retry.wait(lane.failures)
            lane.failures += 1
        else:
            lane.dead = error
            if all(other.dead for other in self.lanes):
                self.error = error

    def next_result(self) -> Outcome | None:
        """The next result in order, when it is there."""
        outcome = self._ready.pop(self._taken_out, None)
        if outcome is not None:
            self._taken_out += 1
        return outcome

    @property
    def exhausted(self) -> bool:
        """Every result was handed out."""
        return self._complete and self._added == self._taken_out

    def _put_back(self, questions: list[Question]) -> None:
        self._waiting.extendleft(reversed(questions))
