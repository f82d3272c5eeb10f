"""How text becomes tokens: on the server, or here with a local tokenizer. Both do what lm-eval's Hugging Face backend does."""

from __future__ import annotations

from typing import Any

from switchyard import Client, Model, RouteLevel, RouteRequest, Routing, ScoreRequest, SwitchyardError

_PROBE = "The quick brown fox: 123."


def find_prefix(client: Client, routing: Routing | None) -> str:
    """The text of what the server's tokenizer puts before every text (such as "<|begin_of_text|>"); mostly nothing.

    The Hugging Face backend scores with these tokens, the Score call adds none to text, so the plug-in writes them out. A first
    Score call also shows at once whether the routing that was asked for is served.
    """
    plain = [p.token for p in _score(client, routing, _PROBE)]
    whole = client.route(RouteRequest(_PROBE, level=RouteLevel.TOKEN, routing=Routing.base())).routes.tokens
    ids = [token.token for token in whole]
    if ids == plain:
        return ""
    prefix = "".join(token.text for token in whole[: max(0, len(ids) - len(plain))])
    if ids[len(ids) - len(plain) :] == plain and [p.token for p in _score(client, routing, prefix + _PROBE)] == ids:
        return prefix
    raise ValueError(
        f"this model's tokenizer surrounds text in a way that text alone cannot express: {_PROBE!r} is {ids}, and {plain} without special "
        "tokens; give a local tokenizer (tokenizer=DIRECTORY)"
    )


def _score(client: Client, routing: Routing | None, text: str) -> Any:
    result = client.score(ScoreRequest("", [text], token_logprobs=True, routing=routing))
    return result.scores[0].token_logprobs


def load_tokenizer(path: str, client: Client, model: Model) -> Any:
    """A Hugging Face tokenizer from a local directory, checked against the server's."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError("tokenizer=DIRECTORY needs the transformers package: pip install switchyard-client[tokenizer]") from error
    tokenizer = AutoTokenizer.from_pretrained(path)
    try:
        routes = client.route(RouteRequest(_PROBE, level=RouteLevel.TOKEN, routing=Routing.base()))
    except SwitchyardError as error:
        raise ValueError(f"tokenizer {path}: cannot be compared with the server's: {error}") from error
    served = [token.token for token in routes.routes.tokens]
    local = list(tokenizer.encode(_PROBE))
    if served != local:
        raise ValueError(f"tokenizer {path}: {_PROBE!r} is {local} here and {served} on the server ({model.generations.base_name})")
    return tokenizer
