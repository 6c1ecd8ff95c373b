"""Scripts whose tokens are text: the readable answer, the numbered one, and all that can go wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from tokentail.demo.steps import Ask, Cut, Delta, Fail, Finish, Garbage, Hang, Step, Wait

#: Roughly how a tokenizer cuts English: a word with the space before it, long words in pieces.
_PIECE = re.compile(r"\s*\S{1,7}|\s+")
#: Longer prompts are quoted in part: the answer is about the stream, not about the prompt.
_QUOTED_CHARACTERS = 160


def demo(ask: Ask) -> Iterator[Step]:
    """A readable answer that quotes the prompt."""
    yield from _say(
        f"You wrote:\n\n> {_quote(ask.prompt)}\n\n"
        "I am the **demo provider**. There is no model behind me, so I can't give you a clever answer, "
        "but I can show you how one travels:\n\n"
        "1. Your request became a *job*, and a worker claimed it.\n"
        "2. Each token that you read here is one entry of the job's **log**.\n"
        "3. You follow that log with a cursor. Close this page, come back, and it goes on where you left "
        "off; nobody asked me twice.\n\n"
        "Try it while I am still talking: reload, open a second window, or stop the worker. "
        "When you are done playing, put a real model into `models.yaml`, and it will stream in the same way."
    )
    yield Finish("stop")


def numbered(ask: Ask) -> Iterator[Delta]:
    """The nonce, then 0, 1, 2, … without an end: a missing, doubled or foreign token shows."""
    yield {"content": f"[{ask.nonce}] "}
    number = 0
    while True:
        yield {"content": f"{number} "}
        number += 1


def counted(ask: Ask) -> Iterator[Step]:
    """`tokens` numbered tokens."""
    yield from islice(numbered(ask), ask.params.tokens)
    yield Finish("stop")


def reasoning(ask: Ask) -> Iterator[Step]:
    """Thoughts in the member `field`, then an answer."""
    for piece in _pieces("The question is short. I should keep the answer short as well."):
        yield {ask.params.field: piece}
    yield from _say("Forty-two, after some thought.")
    yield Finish("stop")


def refusal(ask: Ask) -> Iterator[Step]:
    """The model declines, in the member that OpenAI has for it."""
    for piece in _pieces("I'm sorry, but I can't help with that request."):
        yield {"refusal": piece}
    yield Finish("stop")


def repeat(ask: Ask) -> Iterator[Step]:
    """The same chunk over and over: a table's rule, or a model that is caught in a loop."""
    for _ in range(ask.params.tokens):
        yield {"content": "- "}
    yield Finish("stop")


def length(ask: Ask) -> Iterator[Step]:
    """The answer stops at its token limit."""
    yield from islice(numbered(ask), ask.params.tokens)
    yield Finish("length")


def content_filter(ask: Ask) -> Iterator[Step]:
    """The provider's filter stops the answer."""
    yield from _beginning(ask)
    yield Finish("content_filter")


def wait(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then silence until the gate opens, then the rest."""
    tokens = islice(numbered(ask), ask.params.tokens)
    yield from islice(tokens, ask.params.after)
    yield Wait(ask.params.gate)
    yield from tokens
    yield Finish("stop")


def hang(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then nothing for ever."""
    yield from _beginning(ask)
    yield Hang(ask.params.comments)


def truncated(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then a clean end without a finish reason."""
    yield from _beginning(ask)


def cut(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then the connection is gone."""
    yield from _beginning(ask)
    yield Cut()


def error_mid_stream(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then an error inside the stream."""
    yield from _beginning(ask)
    yield Fail("The server had an error while processing your request. Sorry about that!")


def broken_json(ask: Ask) -> Iterator[Step]:
    """`after` tokens, then a line that is no JSON, then a finish as if nothing had happened."""
    yield from _beginning(ask)
    yield Garbage('{"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"content":"half a')
    yield Finish("stop")


def _beginning(ask: Ask) -> Iterator[Delta]:
    return islice(numbered(ask), ask.params.after)


def _say(text: str) -> Iterator[Delta]:
    return ({"content": piece} for piece in _pieces(text))


def _pieces(text: str) -> list[str]:
    return _PIECE.findall(text)


def _quote(prompt: str) -> str:
    line = " ".join(prompt.split()) or "(nothing)"
    return line if len(line) <= _QUOTED_CHARACTERS else line[: _QUOTED_CHARACTERS - 1] + "…"
