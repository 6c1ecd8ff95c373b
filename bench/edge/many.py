"""Many logs: one follower on each of a thousand jobs, at full and at half load."""

from __future__ import annotations

from bench import output
from bench.edge import peers
from bench.edge.effort import EdgeEffort
from bench.edge.place import Place
from bench.edge.plan import Plan
from bench.edge.rounds import Rounds, cpu
from bench.processes import cpu_seconds
from bench.report import Aim, Found, Row

#: Of each job, at full load.
_RATE = 20.0
#: Long enough for what the appends alone cost.
_ALONE_SECONDS = 3.0


def measure(place: Place, effort: EdgeEffort) -> Found:
    """At full load beside a loop per follower, at half load alone."""
    others, missing = peers.started(place, [peers.xread_loop])
    full = Plan(logs=effort.jobs, followers=1, rate=_RATE, seconds=effort.seconds)
    half = Plan(logs=effort.jobs, followers=1, rate=_RATE / 2, seconds=effort.seconds)
    at_full, at_half = Rounds("many logs", place.ours.name), Rounds("many logs, half load", place.ours.name)
    for _ in range(effort.rounds):
        at_full.run(place, [place.ours, *others], full)
        at_half.run(place, [place.ours], half)
    alone_us = _appends_alone(place, full)
    rows = [
        at_full.row("API CPU per delivered event", "µs", cpu, aim=Aim("value", 25)),
        at_full.row("API CPU per delivered event, beside a loop", "µs", cpu, peers.LOOP),
        at_full.row("Redis CPU per entry", "µs", lambda o: o.redis_us, peers.LOOP, Aim("value", 6)),
        Row("many logs: Redis CPU per entry, nobody reads", "µs", alone_us, None, (1,)),
        at_full.row("delivery, p50", "ms", lambda o: o.p50_ms),
        at_full.row("delivery, p99", "ms", lambda o: o.p99_ms),
        at_half.row("API CPU per delivered event", "µs", cpu),
        at_half.row("delivery, p50", "ms", lambda o: o.p50_ms, aim=Aim("value", 5)),
        at_half.row("delivery, p99", "ms", lambda o: o.p99_ms, aim=Aim("value", 25)),
        at_full.row("Redis connections", "", lambda o: o.connections, aim=Aim("value", 5)),
    ]
    about = (
        f"Many logs: one follower on each of {effort.jobs} jobs, {_RATE:.0f} events/s each, for "
        f"{effort.seconds:g} s; at half load {_RATE / 2:.0f}. Redis CPU holds the appends and the reads. "
        f"With {peers.LOOP} there are {peers.LOOP_SHARE:.0%} of the jobs: one core can't serve more."
    )
    notes = [about, *missing, *at_full.notes(), *at_half.notes()]
    return Found([row for row in rows if row is not None], notes)


def _appends_alone(place: Place, plan: Plan) -> float:
    """What an entry costs Redis that nobody reads, in µs: the rest is the readers' share."""
    output.progress("many logs: appends alone")
    feed = place.ours.feed
    feed.open(plan.logs)
    before = cpu_seconds(place.redis.pid)
    each = feed.run(plan.rate, _ALONE_SECONDS)
    spent = cpu_seconds(place.redis.pid) - before
    feed.end()
    return spent / (each * plan.logs) * 1e6
