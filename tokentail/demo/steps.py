"""What a script is made of. Scripts say what the model does; the player does it in time, over the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tokentail.demo.params import Params

#: One token: the `delta` of one chunk, as OpenAI writes it.
Delta = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a script knows of its request. The nonce belongs to this request alone."""

    nonce: str
    prompt: str
    params: Params


@dataclass(frozen=True, slots=True)
class Finish:
    """The model says why it stopped. A script that ends without this one is a truncated stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing more until this gate is opened."""

    gate: str


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing more, for ever; with `comments` the connection looks alive nevertheless."""

    comments: bool


@dataclass(frozen=True, slots=True)
class Garbage:
    """A line that is no JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Fail:
    """An error after the answer has begun, as providers send it inside the stream."""

    message: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is dropped in the middle of the body."""


Step = Delta | Finish | Wait | Hang | Garbage | Fail | Cut
Script = Callable[[Ask], Iterator[Step]]
