"""Fan-out: a thousand followers of one job at a reader's pace."""

from __future__ import annotations

from dataclasses import replace

from bench.edge import nchan, peers, resumable
from bench.edge.cores import NOTE
from bench.edge.effort import EdgeEffort
from bench.edge.place import Place
from bench.edge.plan import Plan
from bench.edge.rounds import Rounds, cpu
from bench.plot import bars
from bench.report import Aim, Found, Row

_RATE = 30.0

#: The same process, asked in OpenAI's words.
_CHAT = "Chat Completions"

#: At most so many times a peer's cost.
_RATIOS = {nchan.NAME: Aim("ratio", 1.0), peers.LOOP: Aim("ratio", 0.15)}


def measure(place: Place, effort: EdgeEffort) -> Found:
    """Beside all peers."""
    plan = Plan(logs=1, followers=effort.followers, rate=_RATE, seconds=effort.seconds)
    others, missing = peers.started(place, [nchan.side, peers.xread_loop, resumable.side, peers.bare_write])
    chat = replace(place.ours, name=_CHAT, path="/v1/chat/completions/{}/stream", before=0)
    rounds = Rounds("fan-out", place.ours.name)
    for _ in range(effort.rounds):
        rounds.run(place, [place.ours, chat, *others], plan)
    about = (
        f"Fan-out: {effort.followers} followers of one job at {_RATE:.0f} events/s for {effort.seconds:g} s. "
        "CPU is user and system time of the server's process per event that reached a client. Delivery is "
        "from the producer's appender to the client's read, which comes after the reads of all clients "
        f"before it. {NOTE} With {peers.LOOP} there are {peers.LOOP_SHARE:.0%} of the followers, with "
        f"{resumable.NAME} {resumable.SHARE:.0%}: the cores can't take more."
    )
    return Found(_rows(rounds), [about, *_floor(rounds), *missing, *rounds.notes()], _picture(rounds, plan))


def _rows(rounds: Rounds) -> list[Row]:
    rows = [
        rounds.row(f"API CPU per delivered event, beside {peer}", "µs", cpu, peer, _RATIOS.get(peer))
        for peer in rounds.peers
        if peer != _CHAT
    ]
    rows += [
        rounds.row("API CPU per delivered event", "µs", cpu, rounds.ours, Aim("ratio", 1.5), of=_CHAT),
        rounds.row("delivery, p50", "ms", lambda o: o.p50_ms, nchan.NAME, Aim("value", 5)),
        rounds.row("delivery, p99", "ms", lambda o: o.p99_ms, nchan.NAME, Aim("value", 25)),
        rounds.row("Redis connections", "", lambda o: o.connections, aim=Aim("value", 5)),
        rounds.row("reading commands per entry", "", lambda o: o.reads_per_entry),
    ]
    return [row for row in rows if row is not None]


def _floor(rounds: Rounds) -> list[str]:
    p50 = rounds.median(peers.BARE, lambda o: o.p50_ms)
    p99 = rounds.median(peers.BARE, lambda o: o.p99_ms)
    if p50 is None or p99 is None:
        return []
    return [
        f"Fan-out: {peers.BARE} to all of them took {p50:.1f} ms until the median client had read it, "
        f"{p99:.1f} ms for 99 %, which is mostly what the load itself takes."
    ]


def _picture(rounds: Rounds, plan: Plan) -> str | None:
    medians = {name: rounds.median(name, cpu) for name in rounds.outcomes}
    costs = {name: cost for name, cost in medians.items() if cost is not None}
    title = (
        f"Server CPU per delivered event, {plan.followers} followers of one job at {plan.rate:.0f} events/s"
    )
    return bars(title, "µs", costs, ours=rounds.ours) if costs else None
