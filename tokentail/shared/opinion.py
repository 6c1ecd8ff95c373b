"""What sentinels say of a primary, and whom of them to believe."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from redis import exceptions as driver
from redis.exceptions import RedisError

from tokentail.shared.redis_url import Address

_UNKNOWN = re.compile("No such (?:master|primary)")


class NoPrimary(driver.ConnectionError):
    """There is no primary to connect to just now. Its text is a sentence for an operator.

    One of the driver's errors, not of ours: it is raised inside the driver, which disconnects what fails to
    introduce itself for those only.
    """


class Leaving(NoPrimary):
    """A failover is under way: what the old primary is told now may be forgotten in a moment."""


class UnknownPrimary(NoPrimary):
    """Most sentinels answer, and know no primary by this name: the URL is wrong, or it is too early."""


@dataclass(frozen=True)
class Opinion:
    """What one sentinel says of the primary. Each failover has a higher epoch than the one before.

    `is_leaving`: this sentinel has begun to replace it.
    """

    address: Address
    epoch: int
    is_down: bool = False
    is_leaving: bool = False

    @classmethod
    def parse(cls, master: Sequence[bytes], address: Sequence[bytes]) -> Opinion:
        """From the answers to SENTINEL MASTER, a list of names and values, and GET-MASTER-ADDR-BY-NAME.

        While a sentinel makes another server the primary, the first already has the failover's epoch but
        still the old address, and tells of the old server whether it is down.
        """
        told = {master[i].decode(): master[i + 1].decode() for i in range(0, len(master), 2)}
        now, flags = Address(address[0].decode(), int(address[1])), set(told["flags"].split(","))
        is_of_this = now == (told["ip"], int(told["port"]))
        return cls(
            now,
            int(told["config-epoch"]),
            is_down=is_of_this and bool({"s_down", "o_down"} & flags),
            is_leaving=is_of_this and "failover_in_progress" in flags,
        )


def choose(
    name: str, answers: Sequence[Opinion | RedisError], *, asked: int, known_epoch: int = 0
) -> Opinion:
    """Whom to believe. Raises NoPrimary.

    A sentinel that was cut off, or slept, names the old primary in good faith: the newest epoch counts. Any
    two majorities have a sentinel in common, so one of a majority knows of the newest failover. Fewer are
    believed unless they tell less than was known before (`known_epoch`).
    """
    opinions = [answer for answer in answers if isinstance(answer, Opinion)]
    if not opinions:
        raise _nobody(name, answers, asked)
    newest = max(opinion.epoch for opinion in opinions)
    if newest < known_epoch and len(opinions) <= asked / 2:
        raise NoPrimary("Most sentinels of Redis are away, and the others have missed a failover.")
    up_to_date = [opinion for opinion in opinions if opinion.epoch == newest]
    if any(opinion.is_leaving for opinion in up_to_date):
        raise Leaving("The sentinels of Redis are just choosing another primary.")
    for opinion in up_to_date:
        if not opinion.is_down:
            return opinion
    # Connecting would only cost the time until it fails; a new one will be named in a moment.
    raise NoPrimary("The primary of Redis is down, and its sentinels have not chosen another yet.")


def _nobody(name: str, answers: Sequence[Opinion | RedisError], asked: int) -> NoPrimary:
    """Why none of these answers helps."""
    if sum(bool(_UNKNOWN.search(str(answer))) for answer in answers) > asked / 2:
        return UnknownPrimary(f"The sentinels of Redis know no primary called {name!r}.")
    if any(not isinstance(answer, NoPrimary) for answer in answers):
        return NoPrimary("The sentinels of Redis refuse to tell where the primary is.")
    return NoPrimary("No sentinel of Redis answers.")
