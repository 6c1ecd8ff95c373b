"""Several commands over one raw connection."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tokentail.shared import redis as store
from tokentail.shared.exchange import exchange


async def test_each_command_has_its_reply_and_a_refusal_is_one(redis_url: str) -> None:
    connection = store.pool(redis_url).make_connection()
    await connection.connect()
    try:
        first, refusal, last = await exchange(connection, [("PING",), ("NONSENSE",), ("PING",)])
        assert (first, last) == (b"PONG", b"PONG")
        assert isinstance(refusal, ResponseError)
    finally:
        await connection.disconnect()


async def test_a_connection_that_was_ended_is_not_opened_again_in_silence(redis_url: str) -> None:
    # Given a connection that somebody ended, for its server is the primary no more
    connection = store.pool(redis_url).make_connection()
    await connection.connect()
    await connection.disconnect()
    # When commands are to go over it; Then its owner hears of that
    with pytest.raises(ConnectionError):
        await exchange(connection, [("PING",)])
    assert not connection.is_connected
