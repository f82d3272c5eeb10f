"""Requests and results as plain dataclasses.

Log-probabilities are natural logarithms, times are milliseconds. A figure that is undefined is None, never 0.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from switchyard.routing import Routing
from switchyard.v1 import inference_pb2 as pb


@dataclass(frozen=True)
class Message:
    """One message of a chat; `role` is "system", "user", "assistant", or what the model's template knows."""

    role: str
    content: str


@dataclass(frozen=True)
class Chat:
    """Messages for the model's own chat template, which the server applies."""

    messages: Sequence[Message]
    add_generation_prompt: bool = True


Prompt: TypeAlias = str | Sequence[int] | Chat
"""Text, token ids, or a chat."""


class RouteLevel(enum.Enum):
    """How much detail about routes a reply carries."""

    NONE = pb.ROUTE_LEVEL_NONE
    SUMMARY = pb.ROUTE_LEVEL_SUMMARY
    LAYER = pb.ROUTE_LEVEL_LAYER
    TOKEN = pb.ROUTE_LEVEL_TOKEN


class Boundary(enum.Enum):
    """Where a text context ends and its continuation begins; see `Boundary` in inference.proto."""

    LM_EVAL = pb.BOUNDARY_LM_EVAL
    JOINT = pb.BOUNDARY_JOINT


@dataclass(frozen=True)
class Pinned:
    """Generations the server must be serving; empty fields pin nothing. Otherwise the call fails with FailedPreconditionError."""

    snapshot: str = ""
    base: str = ""
    router: str = ""


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn. What is None is left to the model's generation_config.json; temperature 0 is greedy."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class GenerateRequest:
    """What to continue, and how. `max_tokens` 0 is the server's default (256)."""

    prompt: Prompt
    max_tokens: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    stop: Sequence[str] = ()
    stop_tokens: Sequence[int] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    """None: no log-probabilities; n: of each token and of the n most likely."""
    routing: Routing | None = None
    routes: RouteLevel = RouteLevel.NONE
    pinned: Pinned | None = None
    truncate_prompt: bool = False
    """Drop the oldest prompt tokens instead of refusing a prompt that is too long."""
    echo_prompt_tokens: bool = False
    add_special_tokens: bool = True
    """False: a text prompt goes without the tokenizer's own prefix (BOS)."""
    id: str = ""


@dataclass(frozen=True)
class ScoreRequest:
    """A context and 1 to 256 continuations of it. Token continuations need a token context."""

    context: Prompt
    continuations: Sequence[str] | Sequence[Sequence[int]]
    boundary: Boundary = Boundary.LM_EVAL
    unconditional: str | Sequence[int] | None = None
    """The context of PMI: log p(continuation | context) - log p(continuation | unconditional)."""
    token_logprobs: bool = False
    routing: Routing | None = None
    routes: RouteLevel = RouteLevel.NONE
    pinned: Pinned | None = None
    truncate_context: bool = False
    """Drop the oldest context tokens instead of refusing what is too long."""
    recompute_context: bool = False
    """Share nothing, for measuring what sharing is worth."""
    id: str = ""


@dataclass(frozen=True)
class RouteRequest:
    """A prompt, and text that follows it, whose routes are wanted."""

    prompt: Prompt
    given_text: str = ""
    level: RouteLevel = RouteLevel.SUMMARY
    routing: Routing | None = None
    pinned: Pinned | None = None
    add_special_tokens: bool = True
    """As in GenerateRequest."""
    id: str = ""


@dataclass(frozen=True)
class Expert:
    """A served expert and its content hash; `is_zero` marks the untouched feed-forward block."""

    name: str
    generation: str
    is_zero: bool


@dataclass(frozen=True)
class Generations:
    """Content hashes of what answered. `snapshot` is the hash over everything else; `router` is empty without one."""

    snapshot: str
    base: str
    base_name: str
    router: str
    router_name: str
    experts: tuple[Expert, ...]


@dataclass(frozen=True)
class Usage:
    """Tokens of one request: of the prompt, found in the prefix cache, put through the model, generated."""

    prompt_tokens: int
    cached_tokens: int
    computed_tokens: int
    generated_tokens: int


@dataclass(frozen=True)
class Timings:
    """How long one request took, on the server."""

    queue_ms: float
    prefill_ms: float
    total_ms: float
    tokens_per_second: float


@dataclass(frozen=True)
class TokenLogProb:
    """A token with its log-probability, and the most likely alternatives where asked for."""

    token: int
    text: str
    logprob: float
    top: tuple[TokenLogProb, ...] = ()


@dataclass(frozen=True)
class GenerateChunk:
    """The next piece of an answer. `prompt_tokens` comes in the first piece when it was asked for."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogProb, ...] = ()
    prompt_tokens: tuple[int, ...] = ()
    finish: Finish | None = None
    """Only in the last piece."""


class FinishReason(enum.Enum):
    """Why an answer ended: the model ended it, a stop string came, `max_tokens` were reached."""

    STOP_TOKEN = pb.GenerateResponse.REASON_STOP_TOKEN
    STOP_STRING = pb.GenerateResponse.REASON_STOP_STRING
    LENGTH = pb.GenerateResponse.REASON_LENGTH


@dataclass(frozen=True)
class Finish:
    """How an answer ended. `seed` repeats a sampled answer."""

    reason: FinishReason
    stop_string: str
    usage: Usage
    timings: Timings
    generations: Generations
    routes: pb.Routes | None
    seed: int
    truncated_tokens: int


@dataclass(frozen=True)
class Completion:
    """A whole answer: the pieces of a generation put together."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[TokenLogProb, ...]
    prompt_tokens: tuple[int, ...]
    finish: Finish


@dataclass(frozen=True)
class ContinuationScore:
    """One continuation: the sum of its tokens' log-probabilities, and that sum by every length in use.

    `is_greedy`: greedy decoding of the context gives exactly this. `characters` and `bytes` are counted without leading blanks.
    `context_tokens`: how many tokens the model saw before the first scored one.
    """

    logprob: float
    is_greedy: bool
    tokens: int
    characters: int
    bytes: int
    context_tokens: int
    per_token: float | None
    per_character: float | None
    per_byte: float | None
    pmi: float | None
    token_logprobs: tuple[TokenLogProb, ...] = ()


@dataclass(frozen=True)
class Winners:
    """Index of the best continuation by each rule, the first of equals; None where a figure is undefined for any continuation."""

    sum: int
    per_token: int | None
    per_character: int | None
    per_byte: int | None
    pmi: int | None


@dataclass(frozen=True)
class ScoreResult:
    """Scores in the order of the request's continuations."""

    scores: tuple[ContinuationScore, ...]
    winners: Winners
    usage: Usage
    timings: Timings
    generations: Generations
    routes: pb.Routes | None
    truncated_tokens: int
    id: str = ""


@dataclass(frozen=True)
class RouteResult:
    """The routes of a prompt, as the protobuf message: profile, layers and tokens by the level asked for."""

    routes: pb.Routes
    usage: Usage
    timings: Timings
    generations: Generations
    id: str = ""


@dataclass(frozen=True)
class Model:
    """What is being served. `untrained`: an artifact says of itself that it is an untrained fixture."""

    generations: Generations
    router_kind: str
    top_k: int
    layers: int
    hidden_size: int
    vocabulary: int
    max_positions: int
    dtype: str
    has_chat_template: bool
    server_version: str
    untrained: bool
