"""When a failed call is made again, and after how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from switchyard.errors import SwitchyardError


@dataclass(frozen=True)
class Retry:
    """Calls that fail because the server is busy (RESOURCE_EXHAUSTED) or away (UNAVAILABLE) are repeated `retries` times.

    The wait doubles from `first_wait` to `longest_wait` seconds, with up to half taken off at random, so that calls that were refused
    together do not come back together. No retry begins after the call's deadline.
    """

    retries: int = 8
    first_wait: float = 0.1
    longest_wait: float = 5.0

    def wait(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt`, counted from 0."""
        return min(self.longest_wait, self.first_wait * 2.0 ** min(attempt, 30)) * random.uniform(0.5, 1.0)

    def next_wait(self, error: SwitchyardError, attempt: int, deadline: float | None) -> float | None:
        """Seconds until the next attempt, or None when this error is final."""
        if not error.transient or attempt >= self.retries:
            return None
        wait = self.wait(attempt)
        return None if deadline is not None and time.monotonic() + wait >= deadline else wait


def deadline_of(timeout: float | None) -> float | None:
    """The monotonic time at which a call with this timeout ends."""
    return None if timeout is None else time.monotonic() + timeout


def remaining(deadline: float | None) -> float | None:
    """Seconds until then, never below 0."""
    return None if deadline is None else max(0.0, deadline - time.monotonic())
