"""An Inference service in this process, without a model: a continuation's log-probability is minus its length.

What a request asks for in its text makes it misbehave: "busy N" is refused N times with RESOURCE_EXHAUSTED, "bad" is INVALID_ARGUMENT.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures

import grpc

from switchyard.v1 import inference_pb2 as pb
from switchyard.v1 import inference_pb2_grpc


class FakeInference(inference_pb2_grpc.InferenceServicer):
    """Keeps every request it saw. `gate`, while cleared, holds back the replies of ScoreStream."""

    def __init__(
        self,
        snapshot: str = "snap-1",
        break_stream_after: int = 0,
        bos: str = "",
        break_stream_with: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
    ) -> None:
        self.snapshot = snapshot
        self.break_stream_after = break_stream_after
        self.break_stream_with = break_stream_with
        self.bos = bos
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.requests: list[object] = []
        self.deadlines: list[float | None] = []
        self.attempts: Counter[str] = Counter()
        self.streams = 0
        self.open_questions = 0
        self.most_open = 0
        self.cancelled = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    # ------------------------------------------------------------------------------------------------------------------ helpers

    def generations(self) -> pb.Generations:
        experts = [pb.ExpertGeneration(name="law", generation="e1"), pb.ExpertGeneration(name="zero", generation="z", is_zero=True)]
        return pb.Generations(snapshot=self.snapshot, base="base-1", base_name="tiny", router="r1", router_name="top2", experts=experts)

    def saw(self, request: object, context: grpc.ServicerContext) -> None:
        with self.lock:
            self.requests.append(request)
            self.deadlines.append(context.time_remaining())

    def refusal(self, key: str) -> tuple[grpc.StatusCode, str] | None:
        with self.lock:
            self.attempts[key] += 1
            attempt = self.attempts[key]
        if key.startswith("busy") and attempt <= int(key.split()[1]):
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full: 256 requests are waiting"
        if key.startswith("large"):
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "the reply has 99 bytes, the server sends at most 9; ask for less"
        if key.startswith("bad"):
            return grpc.StatusCode.INVALID_ARGUMENT, "continuations[0]: expected text, found nothing"
        if key.startswith("unknown expert"):
            return grpc.StatusCode.NOT_FOUND, 'routing: expert "x" is not served; known experts: law'
        return None

    def tokens_of(self, text: str) -> list[int]:
        return [ord(c) for c in text]

    def score(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        response = pb.ScoreResponse(id=request.id, generations=self.generations(), usage=pb.Usage(prompt_tokens=3))
        for continuation in request.continuations:
            tokens = list(continuation.tokens.ids) or self.tokens_of(continuation.text)
            score = response.scores.add(logprob=-float(len(tokens)), is_greedy=len(tokens) == 1, tokens=len(tokens), context_tokens=2)
            score.per_token = -1.0
            if request.token_logprobs:
                score.token_logprobs.extend(pb.TokenLogProbs(token=token, text=chr(token), logprob=-1.0) for token in tokens)
        response.winners.sum = max(range(len(response.scores)), key=lambda i: response.scores[i].logprob)
        return response

    # ------------------------------------------------------------------------------------------------------------------ methods

    def Score(self, request: pb.ScoreRequest, context: grpc.ServicerContext) -> pb.ScoreResponse:
        self.saw(request, context)
        if refusal := self.refusal(request.text):
            context.abort(*refusal)
        return self.score(request)

    def ScoreStream(self, requests: Iterator[pb.ScoreRequest], context: grpc.ServicerContext) -> Iterator[pb.ScoreResponse]:
        """Answers in pairs and each pair backwards, so that the client has to restore the order."""
        with self.lock:
            self.streams += 1
            first = self.streams == 1
        context.add_callback(self.cancelled.set)
        held: list[pb.ScoreResponse] = []
        answered = 0
        inbox = _Inbox(requests, self, context)
        while not isinstance(request := inbox.next(wait=not held), _End):
            self.gate.wait()
            if request is not None:
                held.append(self._stream_reply(request))
            if len(held) == 2 or request is None:
                for response in reversed(held):
                    if first and self.break_stream_after and answered == self.break_stream_after:
                        context.abort(self.break_stream_with, "draining")
                    answered += 1
                    with self.lock:
                        self.open_questions -= 1
                    yield response
                held.clear()
        yield from held

    def _stream_reply(self, request: pb.ScoreRequest) -> pb.ScoreResponse:
        if refusal := self.refusal(request.text):
            error = pb.ScoreResponse.Error(code=refusal[0].value[0], message=refusal[1])
            return pb.ScoreResponse(id=request.id, error=error)
        return self.score(request)

    def Generate(self, request: pb.GenerateRequest, context: grpc.ServicerContext) -> Iterator[pb.GenerateResponse]:
        self.saw(request, context)
        context.add_callback(self.cancelled.set)
        if refusal := self.refusal(request.text):
            context.abort(*refusal)
        if request.echo_prompt_tokens:
            yield pb.GenerateResponse(prompt_tokens=pb.TokenIds(ids=self.tokens_of(self.bos + request.text)))
        for word in ("Bees", " make", " honey", "."):
            yield pb.GenerateResponse(id=request.id, text=word, tokens=[len(word)])
        finish = pb.GenerateResponse.Finish(
            reason=pb.GenerateResponse.REASON_STOP_TOKEN, generations=self.generations(), seed=7, usage=pb.Usage(generated_tokens=4)
        )
        yield pb.GenerateResponse(id=request.id, finish=finish)
        if request.text == "endless":
            self.cancelled.wait()

    def Route(self, request: pb.RouteRequest, context: grpc.ServicerContext) -> pb.RouteResponse:
        self.saw(request, context)
        tokens = [pb.TokenRoute(token=token, text=chr(token)) for token in self.tokens_of(self.bos + request.text + request.given_text)]
        routes = pb.Routes(profile=pb.RouteProfile(rows=len(tokens)), tokens=tokens)
        return pb.RouteResponse(id=request.id, routes=routes, generations=self.generations())

    def GetModel(self, request: pb.GetModelRequest, context: grpc.ServicerContext) -> pb.GetModelResponse:
        self.saw(request, context)
        return pb.GetModelResponse(
            generations=self.generations(), router_kind="dense2moe_mlp", top_k=2, layers=3, hidden_size=8, vocabulary=300,
            max_positions=64, dtype="f32", has_chat_template=True, server_version="0.1.0",
        )  # fmt: skip


class _End:
    pass


class _Inbox:
    """Reads the stream on a thread of its own, so that the service can tell "nothing yet" (None) from the end."""

    def __init__(self, requests: Iterator[pb.ScoreRequest], service: FakeInference, context: grpc.ServicerContext) -> None:
        self.items: list[pb.ScoreRequest | _End] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._read, args=(requests, service, context), daemon=True)
        self.thread.start()

    def _read(self, requests: Iterator[pb.ScoreRequest], service: FakeInference, context: grpc.ServicerContext) -> None:
        try:
            for request in requests:
                service.saw(request, context)
                with service.changed:
                    service.open_questions += 1
                    service.most_open = max(service.most_open, service.open_questions)
                    service.changed.notify_all()
                with self.changed:
                    self.items.append(request)
                    self.changed.notify()
        except Exception:  # grpc raises a bare Exception when the client went away
            pass
        with self.changed:
            self.items.append(_End())
            self.changed.notify()

    def next(self, wait: bool) -> pb.ScoreRequest | _End | None:
        with self.changed:
            while wait and not self.items:
                self.changed.wait()
            return self.items.pop(0) if self.items else None


class Running:
    """A fake server on a free port. Use as a context manager."""

    def __init__(self, service: FakeInference | None = None, credentials: grpc.ServerCredentials | None = None) -> None:
        self.service = service or FakeInference()
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        inference_pb2_grpc.add_InferenceServicer_to_server(self.service, self.server)  # type: ignore[no-untyped-call]  # generated
        add = self.server.add_insecure_port if credentials is None else lambda a: self.server.add_secure_port(a, credentials)
        self.address = f"127.0.0.1:{add('127.0.0.1:0')}"
        self.server.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *exc: object) -> None:
        self.service.gate.set()
        self.server.stop(grace=None).wait()
