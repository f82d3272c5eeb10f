"""Client of the Switchyard model server.

Example::

    from switchyard import Client, Routing, ScoreRequest

    with Client("127.0.0.1:8500") as client:
        result = client.score(ScoreRequest("The capital of France is", [" Paris", " Rome"], routing=Routing.base()))
        print(result.winners.sum, [s.logprob for s in result.scores])
"""

from switchyard.aio import AsyncClient
from switchyard.client import Client
from switchyard.errors import (
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    SwitchyardError,
    UnauthenticatedError,
    UnavailableError,
)
from switchyard.retry import Retry
from switchyard.routing import Routing
from switchyard.security import Security
from switchyard.types import (
    Boundary,
    Chat,
    Completion,
    ContinuationScore,
    Expert,
    Finish,
    FinishReason,
    GenerateChunk,
    GenerateRequest,
    Generations,
    Message,
    Model,
    Pinned,
    RouteLevel,
    RouteRequest,
    RouteResult,
    Sampling,
    ScoreRequest,
    ScoreResult,
    Timings,
    TokenLogProb,
    Usage,
    Winners,
)

__all__ = [
    "AsyncClient",
    "Boundary",
    "CancelledError",
    "Chat",
    "Client",
    "Completion",
    "ContinuationScore",
    "DeadlineExceededError",
    "Expert",
    "FailedPreconditionError",
    "Finish",
    "FinishReason",
    "GenerateChunk",
    "GenerateRequest",
    "Generations",
    "InternalError",
    "InvalidArgumentError",
    "Message",
    "Model",
    "NotFoundError",
    "PermissionDeniedError",
    "Pinned",
    "ResourceExhaustedError",
    "Retry",
    "RouteLevel",
    "RouteRequest",
    "RouteResult",
    "Routing",
    "Sampling",
    "ScoreRequest",
    "ScoreResult",
    "Security",
    "SwitchyardError",
    "Timings",
    "TokenLogProb",
    "UnauthenticatedError",
    "UnavailableError",
    "Usage",
    "Winners",
]
