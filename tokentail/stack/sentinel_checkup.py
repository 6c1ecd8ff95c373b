"""What the doctor looks at where sentinels look after the primary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis

from tokentail.shared.opinion import NoPrimary, Opinion, choose
from tokentail.shared.redis_url import Address, SentinelUrl, parse_sentinel
from tokentail.stack.finding import Finding, Verdict

#: A sentinel answers from its memory.
TIMEOUT_SECONDS = 1.0
#: What a failover takes after the primary was found to be down: election, promotion, and our way to the new
#: one. One to two seconds were seen.
FAILOVER_SECONDS = 3.0


@dataclass(frozen=True)
class Sentineled:
    """A primary as its sentinels see it. `told` is what each said, or why it said nothing."""

    url: SentinelUrl
    told: Mapping[Address, Mapping[str, Any] | redis.RedisError]

    @property
    def answers(self) -> list[Mapping[str, Any]]:
        """What those said that know the primary."""
        return [told for told in self.told.values() if not isinstance(told, redis.RedisError)]

    def primary(self) -> Address:
        """Where it is. Raises NoPrimary."""
        answers = [_opinion(told) for told in self.told.values()]
        return choose(self.url.primary, answers, asked=len(answers)).address


def ask(url: str) -> Sentineled:
    """Ask every sentinel of the URL. Never raises for what it finds."""
    parsed = parse_sentinel(url)
    return Sentineled(parsed, {address: _ask(parsed, address) for address in parsed.hosts.addresses})


def client_of_sentinel(url: SentinelUrl, address: Address) -> Any:
    """A client of one sentinel."""
    options: dict[str, Any] = {**url.sentinel_credentials, **url.hosts.tls_options}
    return redis.Redis(
        host=address.host,
        port=address.port,
        ssl=url.hosts.is_tls,
        decode_responses=True,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        **options,
    )


def _ask(url: SentinelUrl, address: Address) -> Mapping[str, Any] | redis.RedisError:
    try:
        with client_of_sentinel(url, address) as client:
            told: dict[str, Any] = dict(client.sentinel_master(url.primary))
            told["address"] = client.sentinel_get_master_addr_by_name(url.primary)
            return told
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        return NoPrimary(str(error))
    except redis.RedisError as error:
        return error


def _opinion(told: Mapping[str, Any] | redis.RedisError) -> Opinion | redis.RedisError:
    if isinstance(told, redis.RedisError):
        return told
    address = Address(told["address"][0], int(told["address"][1]))
    is_down = (told["is_sdown"] or told["is_odown"]) and address == (told["ip"], told["port"])
    return Opinion(address, int(told["config-epoch"]), is_down)


def look(name: str, seen: Sentineled, lease_seconds: float) -> Iterator[Finding]:
    """The findings: whether the sentinels answer, agree and can act, and in time."""
    yield _reachable(name, seen)
    if seen.answers:
        yield _quorum(name, seen)
        yield _haste(name, seen.answers[0], lease_seconds)


def _reachable(name: str, seen: Sentineled) -> Finding:
    silent = [str(address) for address, told in seen.told.items() if isinstance(told, redis.RedisError)]
    found = f"{len(seen.told) - len(silent)} of {len(seen.told)} answer"
    if not seen.answers:
        reasons = {f"{address}: {told}" for address, told in seen.told.items()}
        return Finding(f"{name} sentinels", Verdict.FAIL, found, f"None can be asked: {'; '.join(reasons)}.")
    if silent:
        advice = f"No good answer from {', '.join(silent)}."
        return Finding(f"{name} sentinels", Verdict.WARN, found, advice)
    known = max(int(told["num-other-sentinels"]) for told in seen.answers) + 1
    if known > len(seen.told):
        advice = f"There are {known}: name them all in the URL, or it depends on those that it names."
        return Finding(f"{name} sentinels", Verdict.WARN, found, advice)
    return Finding(f"{name} sentinels", Verdict.OK, found)


def _quorum(name: str, seen: Sentineled) -> Finding:
    quorum = seen.answers[0]["quorum"]
    for address, told in seen.told.items():
        if isinstance(told, redis.RedisError):
            continue
        try:
            with client_of_sentinel(seen.url, address) as client:
                client.execute_command("SENTINEL CKQUORUM", seen.url.primary)
        except (redis.RedisError, OSError) as error:
            advice = f"{address} can't bring about a failover: {error}."
            return Finding(f"{name} quorum", Verdict.FAIL, str(quorum), advice)
    return Finding(f"{name} quorum", Verdict.OK, str(quorum))


def _haste(name: str, told: Mapping[str, Any], lease_seconds: float) -> Finding:
    seconds = int(told["down-after-milliseconds"]) / 1000
    found = f"down after {seconds:g} s"
    if seconds + FAILOVER_SECONDS < lease_seconds:
        return Finding(f"{name} failover", Verdict.OK, found)
    advice = (
        f"A failover takes longer than a lease ({lease_seconds:g} s), so running jobs begin anew: "
        "lower down-after-milliseconds, or raise TOKENTAIL_LEASE_SECONDS."
    )
    return Finding(f"{name} failover", Verdict.WARN, found, advice)
