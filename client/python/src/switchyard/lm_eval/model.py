"""`SwitchyardLM`: a Switchyard server as an lm-evaluation-harness model."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from switchyard import (
    Chat,
    Client,
    GenerateRequest,
    InvalidArgumentError,
    Pinned,
    Routing,
    Sampling,
    ScoreRequest,
    ScoreResult,
    SwitchyardError,
)
from switchyard.lm_eval import _chat, _text

_log = logging.getLogger(__name__)

# The server takes 256 continuations in a request; more of one context make further requests, which find it in the prefix cache.
_MOST_CONTINUATIONS = 64
_MOST_STOPS, _LONGEST_STOP = 16, 256  # the server's limits; what is beyond them is cut here

Encoded = tuple[tuple[str, str], list[int], list[int]]


@register_model("switchyard")
class SwitchyardLM(TemplateLM):
    """Scores and generates on one or several Switchyard servers, as lm-eval's own Hugging Face backend would locally.

    The choices of a question share their context, so they go into one Score call; many calls are under way at once. Text becomes tokens on
    the server, or here when `tokenizer` names a directory, which is needed for rolling documents longer than the model's context, for
    `max_length`, and for a task's `gen_prefix` with a chat template.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:8500",
        routing: str = "learned",
        tokenizer: str | None = None,
        in_flight: int = 32,
        timeout: float | None = None,
        max_length: int | None = None,
        max_gen_toks: int = 256,
        add_bos_token: bool | None = None,
        pin: bool = True,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
    ) -> None:
        """Connects and checks that every server serves the same snapshot, which `pin` then holds on to.

        `address`: HOST:PORT, several joined by "+". `routing`: what `Routing.parse` takes. `timeout`: seconds for one generation, or one
        whole batch of scores. `add_bos_token=False` leaves out the tokens that the tokenizer puts before a text. The last three are
        what lm-eval passes to every model; the server does its own batching.
        """
        super().__init__()
        self._client = Client(address.split("+"))
        self._routing = Routing.parse(routing)
        self._timeout = timeout
        self._in_flight = in_flight
        self._max_gen_toks = max_gen_toks
        models = self._client.get_models(timeout=timeout)
        self._model = next(iter(models.values()))
        snapshots = {where: m.generations.snapshot for where, m in models.items()}
        if len(set(snapshots.values())) > 1:
            raise ValueError(f"the servers serve different snapshots: {snapshots}")
        self._pinned = Pinned(snapshot=self._model.generations.snapshot) if pin else None
        prefix = _text.find_prefix(self._client, self._routing) if tokenizer is None else ""
        self._prefix = "" if add_bos_token is False else prefix
        self.tokenizer = None if tokenizer is None else _text.load_tokenizer(tokenizer, self._client, self._model)
        self._add_special_tokens = add_bos_token is not False
        if max_length is not None and self.tokenizer is None:
            raise ValueError("max_length needs a local tokenizer (tokenizer=DIRECTORY)")
        self._max_length = min(max_length or self._model.max_positions, self._model.max_positions)
        if batch_size not in (None, "auto", 1, "1"):
            _log.info("batch_size=%s has no effect: the server batches what is under way (in_flight=%d)", batch_size, in_flight)

    # ------------------------------------------------------------------------------------------------------ properties lm-eval reads

    @property
    def max_length(self) -> int:
        """Positions of the model, or fewer where `max_length` says so."""
        return self._max_length

    @property
    def max_gen_toks(self) -> int:
        """How much is generated where a task does not say."""
        return self._max_gen_toks

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text. Needs a local tokenizer."""
        return int(self._local_tokenizer().eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before an empty context: BOS, or EOS where there is no BOS. Needs a local tokenizer."""
        bos = self._local_tokenizer().bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        """Names the chat template in lm-eval's request cache."""
        if self.tokenizer is not None:
            return str(self.tokenizer.name_or_path).replace("/", "__")
        return "switchyard-" + self._model.generations.base.replace(":", "-").replace("/", "-")

    def get_model_info(self) -> dict[str, Any]:
        """What goes into the results file: the generations that answered."""
        g = self._model.generations
        return {
            "switchyard_snapshot": g.snapshot,
            "switchyard_base": {"name": g.base_name, "generation": g.base},
            "switchyard_router": {"name": g.router_name, "generation": g.router, "kind": self._model.router_kind},
            "switchyard_experts": {e.name: e.generation for e in g.experts},
            "switchyard_server_version": self._model.server_version,
            "model_dtype": self._model.dtype,
        }

    # ------------------------------------------------------------------------------------------------------ text

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids by the local tokenizer, by the Hugging Face backend's rules."""
        tokenizer = self._local_tokenizer()
        if add_special_tokens is None:
            begins_with_bos = string.startswith(tokenizer.decode([self.prefix_token_id]))
            add_special_tokens = self._add_special_tokens and not begins_with_bos
        return list(tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as text: rendered by the local tokenizer, or packed for the server, which renders it."""
        if self.tokenizer is not None:
            rendered = self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
            return str(rendered)
        if not self._model.has_chat_template:
            raise ValueError(f"the served base {self._model.generations.base_name} has no chat template")
        if not add_generation_prompt:
            raise NotImplementedError("an answer that is begun for the model (gen_prefix) needs a local tokenizer: tokenizer=DIRECTORY")
        return _chat.pack(chat_history)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """What the results file says about the template."""
        if self.tokenizer is not None:
            template: str | None = super().chat_template(chat_template)
            return template
        if isinstance(chat_template, str):
            raise ValueError(f"chat template {chat_template!r}: the server has one template only; choose with a local tokenizer")
        return f"the template of {self._model.generations.base_name}, applied by the server" if chat_template else None

    def _local_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise ValueError("this needs a local tokenizer: tokenizer=DIRECTORY in the model's arguments")
        return self.tokenizer

    def _context(self, text: str) -> str | Chat:
        """A context as the server should see it: with the tokenizer's own prefix, which Score does not add to text."""
        context = _chat.unpack(text)
        return context if isinstance(context, Chat) or not context else self._prefixed(context)

    def _prefixed(self, text: str) -> str:
        return text if text.startswith(self._prefix) else self._prefix + text

    # ------------------------------------------------------------------------------------------------------ scores

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Sum of log-probabilities, and whether greedy decoding gives the continuation, for each (context, continuation)."""
        if self.tokenizer is not None:
            answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
            return answers
        pairs = [request.args for request in requests]
        groups = _grouped([context for context, _ in pairs])
        calls = [
            ScoreRequest(self._context(pairs[g[0]][0]), [pairs[i][1] for i in g], truncate_context=True, **self._how(f"request {g[0]}"))
            for g in groups
        ]
        return self._scored(calls, groups, [("loglikelihood", pair) for pair in pairs], disable_tqdm)

    def _loglikelihood_tokens(self, requests: list[Encoded], disable_tqdm: bool = False, **_: Any) -> list[tuple[float, bool]]:
        for number, (_key, context, continuation) in enumerate(requests):
            if not context or not continuation or len(continuation) > self._most_tokens() - 1:
                raise ValueError(
                    f"request {number}: context of {len(context)} and continuation of {len(continuation)} tokens; both need at least "
                    f"one, and the continuation must leave one to the context of at most {self._most_tokens()}"
                )
        groups: list[list[int]] = []
        calls = []
        truncated = 0
        for group in _grouped([tuple(context) for _, context, _ in requests]):
            # Continuations of different lengths leave a long context different room.
            for part in _same([self._room(requests[i]) for i in group], group):
                context = requests[part[0]][1]
                kept = context[-self._room(requests[part[0]]) :]
                truncated += len(part) if len(kept) < len(context) else 0
                groups.append(part)
                calls.append(ScoreRequest(kept, [requests[i][2] for i in part], **self._how(f"request {part[0]}")))
        _warn_truncated(truncated)
        keys = [("loglikelihood", request[0]) if request[0] is not None else None for request in requests]
        return self._scored(calls, groups, keys, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, after BOS (or EOS where there is no BOS)."""
        texts = [request.args[0] for request in requests]
        if self.tokenizer is not None:
            totals = self._rolled(texts, disable_tqdm)
        else:
            wanted = [i for i, text in enumerate(texts) if text or self._prefix]
            calls = [ScoreRequest("", [self._prefixed(texts[i])], **self._how(f"text {i}")) for i in wanted]
            totals = [0.0] * len(texts)
            try:
                scored = self._scored(calls, [[i] for i in range(len(calls))], [None] * len(calls), disable_tqdm)
            except InvalidArgumentError as error:
                raise ValueError(f"{error}; windows over longer texts need a local tokenizer: tokenizer=DIRECTORY") from error
            for i, (logprob, _) in zip(wanted, scored, strict=True):
                totals[i] = logprob
        for text, total in zip(texts, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), total)
        return totals

    def _rolled(self, texts: list[str], disable_tqdm: bool) -> list[float]:
        windows: list[Encoded] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            # One window is the context's token more than its length, which the server counts among the model's positions.
            length = min(self._max_length, self._model.max_positions - 1)
            rolling = get_rolling_token_windows(self.tok_encode(text), self.prefix_token_id, length, 1)
            for context, continuation in map(make_disjoint_window, rolling):
                windows.append((None, context, continuation))  # type: ignore[arg-type]  # None: not a request of its own for the cache
                owners.append(number)
        totals = [0.0] * len(texts)
        for owner, (logprob, _) in zip(owners, self._loglikelihood_tokens(windows, disable_tqdm), strict=True):
            totals[owner] += logprob
        return totals

    def _how(self, name: str) -> dict[str, Any]:
        return {"routing": self._routing, "pinned": self._pinned, "id": name}

    def _most_tokens(self) -> int:
        """Of context and continuation: the Hugging Face backend's length and the one token that is never an input; the server's limit."""
        return min(self._max_length + 1, self._model.max_positions)

    def _room(self, request: Encoded) -> int:
        """How many tokens of a request's context can stay."""
        return min(len(request[1]), self._most_tokens() - len(request[2]))

    def _scored(
        self,
        calls: Sequence[ScoreRequest],
        groups: Sequence[Sequence[int]],
        keys: Sequence[tuple[str, Any] | None],
        disable_tqdm: bool,
    ) -> list[tuple[float, bool]]:
        """Answers in the order of lm-eval's requests: `groups` says which of them each call holds."""
        answers: list[tuple[float, bool]] = [(0.0, False)] * sum(map(len, groups))
        truncated = 0
        with tqdm(total=len(answers), disable=disable_tqdm, desc="Running loglikelihood requests") as bar:
            results: Iterator[ScoreResult] = self._client.score_batch(calls, in_flight=self._in_flight, timeout=self._timeout)
            for group, result in zip(groups, results, strict=True):
                truncated += len(group) if result.truncated_tokens else 0
                for place, score in zip(group, result.scores, strict=True):
                    answers[place] = (score.logprob, score.is_greedy)
                    key = keys[place]
                    if key is not None:
                        self.cache_hook.add_partial(key[0], key[1], answers[place])
                bar.update(len(group))
        _warn_truncated(truncated)
        return answers

    # ------------------------------------------------------------------------------------------------------ generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """An answer to each (context, settings), without the stop string that ended it."""
        calls = [self._generation(request.args[0], request.args[1], i) for i, request in enumerate(requests)]
        answers: list[str] = []
        pool = ThreadPoolExecutor(max_workers=self._in_flight, thread_name_prefix="generate-until")
        with tqdm(total=len(requests), disable=disable_tqdm, desc="Running generate_until requests") as bar:
            try:
                for request, (_, until), text in zip(requests, calls, pool.map(self._complete, [call for call, _ in calls]), strict=True):
                    answer: str = postprocess_generated_text(text, until, None)
                    answers.append(answer)
                    self.cache_hook.add_partial("generate_until", request.args[:2], answer)
                    bar.update(1)
            finally:
                pool.shutdown(cancel_futures=True)
        return answers

    def _complete(self, call: GenerateRequest) -> str:
        return self._client.complete(call, timeout=self._timeout).text

    def _generation(self, context: str, settings: dict[str, Any], number: int) -> tuple[GenerateRequest, list[str]]:
        """The call for one request, and all its stop strings."""
        wanted = dict(normalize_gen_kwargs(settings, self._max_gen_toks))
        until = [stop for stop in wanted.pop("until") if stop]
        max_tokens = wanted.pop("max_gen_toks")
        sampling = _sampling(wanted)
        if wanted:
            raise ValueError(f"generation settings that the server does not have: {', '.join(sorted(wanted))}")
        prompt: str | Chat | list[int]
        if self.tokenizer is not None:
            prompt = self.tok_encode(context)
        else:
            prompt = _chat.unpack(context)
            if isinstance(prompt, str):
                prompt = prompt.removeprefix(self._prefix)  # Generate adds it by itself
        stops = [stop for stop in until if len(stop.encode()) <= _LONGEST_STOP][:_MOST_STOPS]
        call = GenerateRequest(
            prompt, max_tokens=max_tokens, sampling=sampling, stop=stops, truncate_prompt=True, **self._how(f"request {number}")
        )
        return call, until


def _sampling(wanted: dict[str, Any]) -> Sampling:
    """Takes what concerns sampling out of a task's settings. Without do_sample decoding is greedy, whatever else is set."""
    do_sample = wanted.pop("do_sample", False)
    temperature = float(wanted.pop("temperature", 0.0))
    if wanted.get("num_beams") == 1:
        del wanted["num_beams"]
    given = {name: wanted.pop(name) for name in ("top_k", "top_p", "min_p", "repetition_penalty", "seed") if name in wanted}
    return Sampling(temperature=temperature if do_sample else 0.0, **given)


def _grouped(keys: Sequence[Hashable]) -> list[list[int]]:
    """Places with the same key, in order of first appearance, at most _MOST_CONTINUATIONS in a group."""
    groups: list[list[int]] = []
    open_group: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        group = open_group.get(key)
        if group is None or len(group) == _MOST_CONTINUATIONS:
            group = open_group[key] = []
            groups.append(group)
        group.append(place)
    return groups


def _same(values: Sequence[int], places: Sequence[int]) -> list[list[int]]:
    """The places, split by their values."""
    parts: dict[int, list[int]] = {}
    for value, place in zip(values, places, strict=True):
        parts.setdefault(value, []).append(place)
    return list(parts.values())


def _warn_truncated(requests: int) -> None:
    if requests:
        _log.warning("%d requests were longer than the model's context; the oldest tokens of their contexts were dropped", requests)


__all__ = ["SwitchyardError", "SwitchyardLM"]
