"""The whole path: from the provider's socket to the client's, for jobs that all run at once.

CPU of all processes in between, per token: of ours the API and the worker, of the peers their one process.
Each job has one client, which submits it and follows it. Not counted: the provider, the clients, and Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from bench import proxy, scenarios
from bench.effort import Effort
from bench.processes import SETTLE_SECONDS, Process
from bench.report import Aim, Found, Row
from bench.scenarios import MESSAGES
from bench.stack import Stack
from bench.wire import Connection

_PLAIN = "plain FastAPI and litellm"


@dataclass(frozen=True, slots=True)
class _Side:
    """`ask` makes one client's request for a scenario on a connection and reads it to the end; `mark` is what
    each token's event holds."""

    name: str
    url: str
    processes: tuple[Process, ...]
    ask: Callable[[Connection, str], None]
    mark: bytes

    def cpu_seconds(self) -> float:
        return sum(process.cpu_seconds() for process in self.processes)


def measure(stack: Stack, effort: Effort) -> Found:
    """Beside the plain pattern, and beside the LiteLLM proxy if it is there."""
    sides = [
        _Side("tokentail", stack.api_url, (stack.api, stack.worker), _ours, b"event: delta\n"),
        _Side(_PLAIN, stack.plain_url, (stack.plain,), _plain, b'data: {"content":'),
    ]
    notes = [
        "Whole path: CPU of all processes between provider and client per token, "
        f"{effort.paced_streams} jobs at once at 30 tokens/s, one client each; of tokentail the API and the "
        "worker together. Redis is not in it."
    ]
    if stack.proxy is not None:
        sides.append(_Side(proxy.NAME, stack.proxy_url, (stack.proxy,), _proxy, proxy.TOKEN))
    else:
        notes.append(proxy.MISSING)
    costs: dict[str, list[float]] = {side.name: [] for side in sides}
    # The first round makes connections and warms code: thrown away.
    for number in range(effort.cpu_rounds + 1):
        for side in sides:
            cost = _per_token(side, effort)
            if number:
                costs[side.name].append(cost)
    return Found(_rows(costs), notes)


def _rows(costs: dict[str, list[float]]) -> list[Row]:
    ours = costs.pop("tokentail")
    return [
        Row(
            f"whole path: CPU per token, beside {name}",
            "µs",
            median(ours),
            median(its),
            (len(ours), len(its)),
            Aim("ratio", 1.0),
        )
        for name, its in costs.items()
    ]


def _per_token(side: _Side, effort: Effort) -> float:
    """In µs. Raises RuntimeError if a client did not get every token."""
    before = side.cpu_seconds()
    with ThreadPoolExecutor(effort.paced_streams) as clients:
        asked = [clients.submit(_count, side, scenarios.paced(effort)) for _ in range(effort.paced_streams)]
        counts = [client.result() for client in asked]
    time.sleep(SETTLE_SECONDS)
    spent = side.cpu_seconds() - before
    if set(counts) != {effort.paced_tokens}:
        raise RuntimeError(f"{side.name}: {sorted(set(counts))} tokens instead of {effort.paced_tokens}.")
    return spent / sum(counts) * 1e6


def _count(side: _Side, scenario: str) -> int:
    connection = Connection(side.url)
    try:
        side.ask(connection, scenario)
        connection.finish()
        return connection.count(side.mark)
    finally:
        connection.close()


def _ours(connection: Connection, scenario: str) -> None:
    connection.post("/v1/jobs", {"model": scenario, "messages": MESSAGES})
    connection.get(connection.json()["links"]["events"])


def _plain(connection: Connection, scenario: str) -> None:
    connection.post("/chat", {"model": scenario, "messages": MESSAGES})


def _proxy(connection: Connection, scenario: str) -> None:
    connection.post("/v1/chat/completions", {"model": scenario, "messages": MESSAGES, "stream": True})
