from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_server import FakeInference, Running

from switchyard import Client, Retry

QUICK = Retry(retries=4, first_wait=0.001, longest_wait=0.01)


@pytest.fixture
def running() -> Iterator[Running]:
    with Running() as server:
        yield server


@pytest.fixture
def service(running: Running) -> FakeInference:
    return running.service


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.address, retry=QUICK) as c:
        yield c
