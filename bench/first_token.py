"""First token: from sending the request to having the first delta, at a client over real HTTP.

Ours: POST a job, read the answer, follow the job on the same connection: two requests, a queue, a worker, a
log and a reader in between. The peer: one POST, whose answer is the stream. Both stay connected, both are
warm and otherwise idle. Not measured: many clients at once, TLS, a network, a real provider's wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench import proxy
from bench.effort import Effort
from bench.report import Aim, Row, percentile
from bench.scenarios import FIRST_TOKEN, MESSAGES
from bench.stack import Stack
from bench.wire import Connection

#: The first of each are slower: connections to the provider, script caches, code seen for the first time.
_WARM_UP = 10
#: For a worker to finish the job before, which the follower's end does not wait for.
_PAUSE_SECONDS = 0.01

_BODY = {"model": FIRST_TOKEN, "messages": MESSAGES}

#: Durations in ms by name, in the order in which they are reached.
Sample = dict[str, float]


def measure(stack: Stack, effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    sides: dict[str, Callable[[Connection], Sample]] = {
        stack.api_url: _ours,
        stack.plain_url: _plain,
        stack.provider_url: _provider,
    }
    if stack.proxy is not None:
        sides[stack.proxy_url] = _proxy
    connections = {url: Connection(url) for url in sides}
    samples: dict[str, list[Sample]] = {url: [] for url in sides}
    for number in range(_WARM_UP + effort.first_token_pairs):
        for url, side in sides.items():
            sample = side(connections[url])
            if number >= _WARM_UP:
                samples[url].append(sample)
            time.sleep(_PAUSE_SECONDS)
    for connection in connections.values():
        connection.close()
    ours, plain, provider, *proxies = samples.values()
    rows, notes = _rows(ours, plain), _notes(ours, plain, provider)
    if proxies:
        rows.append(_beside_proxy(ours, *proxies))
    else:
        notes.append(proxy.MISSING)
    return rows, notes


def _ours(connection: Connection) -> Sample:
    began = time.perf_counter()
    connection.post("/v1/jobs", _BODY)
    job = connection.json()
    accepted = time.perf_counter()
    connection.get(job["links"]["events"])
    connection.until(b"event: delta\n")
    first = time.perf_counter()
    connection.finish()
    return {"accepted": (accepted - began) * 1000, "first": (first - began) * 1000}


def _plain(connection: Connection) -> Sample:
    return _streamed(connection, "/chat", _BODY, b'data: {"content":')


def _proxy(connection: Connection) -> Sample:
    return _streamed(connection, "/v1/chat/completions", {**_BODY, "stream": True}, proxy.TOKEN)


def _provider(connection: Connection) -> Sample:
    """What no side can do without: the provider's own time, without litellm."""
    return _streamed(connection, "/v1/chat/completions", {**_BODY, "stream": True}, b'"delta":{"content":')


def _streamed(connection: Connection, path: str, body: object, mark: bytes) -> Sample:
    began = time.perf_counter()
    connection.post(path, body)
    connection.until(mark)
    first = time.perf_counter()
    connection.finish()
    return {"first": (first - began) * 1000}


def _rows(ours: list[Sample], plain: list[Sample]) -> list[Row]:
    aims = {"p50": (0.5, Aim("difference", 5.0)), "p90": (0.9, Aim("difference", 5.0))}
    return [
        Row(
            f"first token, {name}",
            "ms",
            _at(ours, "first", share),
            _at(plain, "first", share),
            (len(ours), len(plain)),
            aim,
        )
        for name, (share, aim) in aims.items()
    ]


def _beside_proxy(ours: list[Sample], its: list[Sample]) -> Row:
    figures = _at(ours, "first", 0.5), _at(its, "first", 0.5)
    return Row(
        f"first token, p50, beside {proxy.NAME}", "ms", *figures, (len(ours), len(its)), Aim("ratio", 1.0)
    )


def _notes(ours: list[Sample], plain: list[Sample], provider: list[Sample]) -> list[str]:
    return [
        "First token: POST to first delta at the client. The peer is a FastAPI handler that loops over "
        "`litellm.acompletion(stream=True)`. Of tokentail's p50, "
        f"{_at(ours, 'accepted', 0.5):.1f} ms pass until the POST is answered; the provider alone takes "
        f"{_at(provider, 'first', 0.5):.1f} ms."
    ]


def _at(samples: list[Sample], name: str, share: float) -> float:
    return percentile([sample[name] for sample in samples], share)
