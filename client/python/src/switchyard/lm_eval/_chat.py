"""Chats that travel through lm-eval as text, and arrive at the server as chats.

lm-eval wants a rendered string from `apply_chat_template`; the template is on the server. So the string is the messages in JSON behind a
mark, and where lm-eval hands it back as a context, it becomes a chat again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from switchyard.types import Chat, Message

_MARK = "switchyard-chat:"


def pack(messages: Sequence[dict[str, str]]) -> str:
    """The messages as one string."""
    return _MARK + json.dumps([{"role": m["role"], "content": m["content"]} for m in messages], ensure_ascii=False)


def unpack(text: str) -> str | Chat:
    """The chat behind a packed string; other text as it is. ValueError when something was added to it."""
    if not text.startswith(_MARK):
        return text
    try:
        messages = json.loads(text[len(_MARK) :])
    except json.JSONDecodeError as error:
        raise ValueError(
            f"a chat was changed after apply_chat_template ({error}); give a local tokenizer (tokenizer=DIRECTORY) for this task"
        ) from error
    return Chat([Message(m["role"], m["content"]) for m in messages])
