"""Between the dataclasses and the protobuf messages. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from switchyard import types as t
from switchyard.errors import error_for
from switchyard.v1 import inference_pb2 as pb

# ---------------------------------------------------------------------------------------------------------------------------- requests


def chat_message(chat: t.Chat) -> pb.Chat:
    """A chat for the server's template."""
    messages = [pb.ChatMessage(role=m.role, content=m.content) for m in chat.messages]
    return pb.Chat(messages=messages, add_generation_prompt=chat.add_generation_prompt)


def pinned_message(pinned: t.Pinned | None) -> pb.PinnedGenerations | None:
    """Pins, or nothing."""
    return None if pinned is None else pb.PinnedGenerations(snapshot=pinned.snapshot, base=pinned.base, router=pinned.router)


def _set_prompt(message: pb.GenerateRequest | pb.RouteRequest | pb.ScoreRequest, prompt: t.Prompt) -> None:
    if isinstance(prompt, str):
        message.text = prompt
    elif isinstance(prompt, t.Chat):
        message.chat.CopyFrom(chat_message(prompt))
    else:
        message.tokens.SetInParent()  # an empty list of tokens is a context, too
        message.tokens.ids.extend(prompt)


def generate_message(request: t.GenerateRequest) -> pb.GenerateRequest:
    """The wire form of a GenerateRequest."""
    s = request.sampling
    message = pb.GenerateRequest(
        id=request.id,
        sampling=pb.Sampling(
            temperature=s.temperature,
            top_k=s.top_k,
            top_p=s.top_p,
            min_p=s.min_p,
            repetition_penalty=s.repetition_penalty,
            seed=s.seed,
        ),
        max_tokens=request.max_tokens,
        stop=request.stop,
        stop_tokens=request.stop_tokens,
        ignore_eos=request.ignore_eos,
        logprobs=request.logprobs,
        routing=request.routing.message if request.routing else None,
        routes=request.routes.value,
        pinned=pinned_message(request.pinned),
        truncate_prompt=request.truncate_prompt,
        echo_prompt_tokens=request.echo_prompt_tokens,
        add_special_tokens=request.add_special_tokens,
    )
    _set_prompt(message, request.prompt)
    return message


def score_message(request: t.ScoreRequest) -> pb.ScoreRequest:
    """The wire form of a ScoreRequest."""
    message = pb.ScoreRequest(
        id=request.id,
        continuations=[
            pb.Continuation(text=c) if isinstance(c, str) else pb.Continuation(tokens=pb.TokenIds(ids=c)) for c in request.continuations
        ],
        boundary=request.boundary.value,
        token_logprobs=request.token_logprobs,
        routing=request.routing.message if request.routing else None,
        routes=request.routes.value,
        pinned=pinned_message(request.pinned),
        truncate_context=request.truncate_context,
        recompute_context=request.recompute_context,
    )
    _set_prompt(message, request.context)
    if isinstance(request.unconditional, str):
        message.unconditional_text = request.unconditional
    elif request.unconditional is not None:
        message.unconditional_tokens.CopyFrom(pb.TokenIds(ids=request.unconditional))
    return message


def route_message(request: t.RouteRequest) -> pb.RouteRequest:
    """The wire form of a RouteRequest."""
    message = pb.RouteRequest(
        id=request.id,
        given_text=request.given_text,
        level=request.level.value,
        routing=request.routing.message if request.routing else None,
        pinned=pinned_message(request.pinned),
        add_special_tokens=request.add_special_tokens,
    )
    _set_prompt(message, request.prompt)
    return message


# ---------------------------------------------------------------------------------------------------------------------------- results


class _HasTokens(Protocol):
    @property
    def token(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def logprob(self) -> float: ...


def _generations(m: pb.Generations) -> t.Generations:
    experts = tuple(t.Expert(e.name, e.generation, e.is_zero) for e in m.experts)
    return t.Generations(m.snapshot, m.base, m.base_name, m.router, m.router_name, experts)


def _usage(m: pb.Usage) -> t.Usage:
    return t.Usage(m.prompt_tokens, m.cached_tokens, m.computed_tokens, m.generated_tokens)


def _timings(m: pb.Timings) -> t.Timings:
    return t.Timings(m.queue_ms, m.prefill_ms, m.total_ms, m.tokens_per_second)


def _alternatives(tokens: Iterable[_HasTokens]) -> tuple[t.TokenLogProb, ...]:
    return tuple(t.TokenLogProb(a.token, a.text, a.logprob) for a in tokens)


def _logprobs(tokens: Iterable[pb.TokenLogProbs]) -> tuple[t.TokenLogProb, ...]:
    return tuple(t.TokenLogProb(m.token, m.text, m.logprob, _alternatives(m.top)) for m in tokens)


def chunk(m: pb.GenerateResponse) -> t.GenerateChunk:
    """One message of a generation."""
    finish = None
    if m.HasField("finish"):
        f = m.finish
        finish = t.Finish(
            reason=t.FinishReason(f.reason),
            stop_string=f.stop_string,
            usage=_usage(f.usage),
            timings=_timings(f.timings),
            generations=_generations(f.generations),
            routes=f.routes if f.HasField("routes") else None,
            seed=f.seed,
            truncated_tokens=f.truncated_tokens,
        )
    return t.GenerateChunk(m.text, tuple(m.tokens), _logprobs(m.logprobs), tuple(m.prompt_tokens.ids), finish)


def join(chunks: list[t.GenerateChunk], address: str = "") -> t.Completion:
    """A whole answer; an answer without its last message is an error."""
    finish = chunks[-1].finish if chunks else None
    if finish is None:
        raise error_for(13, "the answer ended without its last message", address)
    return t.Completion(
        text="".join(c.text for c in chunks),
        tokens=tuple(token for c in chunks for token in c.tokens),
        logprobs=tuple(p for c in chunks for p in c.logprobs),
        prompt_tokens=tuple(token for c in chunks for token in c.prompt_tokens),
        finish=finish,
    )


def _score(m: pb.ContinuationScore) -> t.ContinuationScore:
    return t.ContinuationScore(
        logprob=m.logprob,
        is_greedy=m.is_greedy,
        tokens=m.tokens,
        characters=m.characters,
        bytes=m.bytes,
        context_tokens=m.context_tokens,
        per_token=m.per_token if m.HasField("per_token") else None,
        per_character=m.per_character if m.HasField("per_character") else None,
        per_byte=m.per_byte if m.HasField("per_byte") else None,
        pmi=m.pmi if m.HasField("pmi") else None,
        token_logprobs=_logprobs(m.token_logprobs),
    )


def _winners(m: pb.ScoreWinners) -> t.Winners:
    return t.Winners(
        sum=m.sum,
        per_token=m.per_token if m.HasField("per_token") else None,
        per_character=m.per_character if m.HasField("per_character") else None,
        per_byte=m.per_byte if m.HasField("per_byte") else None,
        pmi=m.pmi if m.HasField("pmi") else None,
    )


def score_result(m: pb.ScoreResponse, request_id: str) -> t.ScoreResult:
    """One reply to a ScoreRequest, under the caller's own id."""
    return t.ScoreResult(
        scores=tuple(_score(s) for s in m.scores),
        winners=_winners(m.winners),
        usage=_usage(m.usage),
        timings=_timings(m.timings),
        generations=_generations(m.generations),
        routes=m.routes if m.HasField("routes") else None,
        truncated_tokens=m.truncated_tokens,
        id=request_id,
    )


def route_result(m: pb.RouteResponse) -> t.RouteResult:
    """The reply to a RouteRequest."""
    return t.RouteResult(m.routes, _usage(m.usage), _timings(m.timings), _generations(m.generations), m.id)


def model(m: pb.GetModelResponse) -> t.Model:
    """The reply to GetModel."""
    return t.Model(
        generations=_generations(m.generations),
        router_kind=m.router_kind,
        top_k=m.top_k,
        layers=m.layers,
        hidden_size=m.hidden_size,
        vocabulary=m.vocabulary,
        max_positions=m.max_positions,
        dtype=m.dtype,
        has_chat_template=m.has_chat_template,
        server_version=m.server_version,
        untrained=m.untrained,
    )
