"""A generation: what the model says, as deltas, text and result, across restarts of the answer."""

from __future__ import annotations

import asyncio
import threading

import pytest
from scripted_logs import (
    EVENTS,
    FENCE,
    GREETING,
    attempt,
    completed,
    contents,
    delta,
    failed,
    job,
    logged,
    result,
)
from scripted_server import ScriptedServer, problem, reply, stream, watched

from tokentail import AsyncClient, Client
from tokentail.client import (
    LogExpired,
    Restarted,
)

LOG = GREETING


def test_deltas_come_one_by_one_and_the_text_grows(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))

    followed = client.follow("job_1")

    assert contents(followed.items) == ["Grüß", " dich,", " Welt 😀"]
    assert followed.generation.text == "Grüß dich, Welt 😀"
    assert followed.generation.ending["type"] == "completed"
    assert str(followed.generation.cursor) == LOG[-1][0]


SECOND = logged(attempt(2, "lost"), delta("Anew"), completed(), fence=FENCE + 5)


def test_a_new_attempt_says_that_all_before_it_is_void(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG[:3] + SECOND))

    followed = client.follow("job_1")

    assert followed.items[2:] == [Restarted("lost", 2), {"type": "delta", "content": "Anew"}]
    assert followed.generation.text == "Anew"


def test_an_attempt_that_continues_voids_nothing(client, server: ScriptedServer) -> None:
    more = logged(attempt(2, "handoff", continues=True), delta("!"), completed(), fence=FENCE + 5)
    server.on(*EVENTS, stream(LOG[:4] + more))

    followed = client.follow("job_1")

    assert followed.generation.text == "Grüß dich, Welt 😀!"
    assert Restarted("handoff", 2) not in followed.items


def test_a_reset_says_that_all_before_it_is_void(client, server: ScriptedServer) -> None:
    anew = logged(attempt(), delta("Anew"), completed(), fence=FENCE - 9)
    reset = 'event: reset\ndata: {"type":"reset","requested":"1-1"}\n\n'
    server.on(*EVENTS, stream([*LOG[:3], reset, *anew]))

    followed = client.follow("job_1")

    assert followed.items[2:] == [Restarted("reset"), {"type": "delta", "content": "Anew"}]


def test_a_connection_lost_right_after_a_reset_begins_at_the_start(client, server: ScriptedServer) -> None:
    """The cursor that the server could not prove must not come back."""
    reset = 'event: reset\ndata: {"type":"reset","requested":"1-1"}\n\n'
    server.on(*EVENTS, stream([*LOG[:3], reset]), stream(LOG))

    assert client.follow("job_1").generation.text == "Grüß dich, Welt 😀"
    assert "last-event-id" not in server.requests[-1].headers


def test_the_result_of_a_generation_needs_no_second_request(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))

    said = client.followed_result("job_1")

    assert (said.text, said.finish_reason, said.cost_usd) == ("Grüß dich, Welt 😀", "stop", 0.5)
    assert len(server.requests) == 1


def test_the_result_is_whole_also_when_following_began_in_the_middle(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))
    server.on("GET", "/v1/jobs/job_1", reply(200, job(status="completed", result=result("All of it"))))

    assert client.followed_result("job_1", LOG[1][0]).text == "All of it"


def test_the_result_outlives_the_log(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, problem(410, "log_expired"))
    server.on("GET", "/v1/jobs/job_1", reply(200, job(status="completed", result=result("Still here"))))

    assert client.followed_result("job_1").text == "Still here"
    with pytest.raises(LogExpired):
        client.follow("job_1")


def test_following_a_failed_job_ends_quietly_with_its_ending(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(logged(attempt(), delta("a"), failed("idle_timeout"))))

    followed = client.follow("job_1")

    assert contents(followed.items) == ["a"]
    assert followed.generation.ending["error"]["code"] == "idle_timeout"


def test_a_generation_that_was_left_goes_on_where_it_was(server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG))

    with Client(server.url) as client, client.follow("job_1") as generation:
        first = next(generation)
        generation.close()
        rest = list(generation)

    assert contents([first, *rest]) == ["Grüß", " dich,", " Welt 😀"]


async def test_a_cancelled_wait_loses_nothing(server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, upto=2, end="hold"), stream(LOG))

    async with AsyncClient(server.url) as client, client.follow("job_1") as generation:
        first = await anext(generation)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(generation), 0.05)
        rest = [item async for item in generation]

    assert contents([first, *rest]) == ["Grüß", " dich,", " Welt 😀"]


async def test_more_followers_than_a_usual_pool_holds_are_served_at_once(server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG, upto=2, end="hold"))

    async with AsyncClient(server.url) as client:
        generations = [client.follow("job_1") for _ in range(120)]
        first = await asyncio.wait_for(asyncio.gather(*(anext(one) for one in generations)), 20)
        await asyncio.gather(*(one.aclose() for one in generations))

    assert contents(first) == ["Grüß"] * 120


def test_the_result_of_a_new_attempt_is_whole_wherever_it_began(client, server: ScriptedServer) -> None:
    server.on(*EVENTS, stream(LOG[:3] + SECOND))

    assert client.followed_result("job_1", LOG[1][0]).text == "Anew"
    assert len(server.requests) == 1


def test_leaving_early_lets_go_of_the_connection(server: ScriptedServer) -> None:
    let_go = threading.Event()
    server.on(*EVENTS, watched(stream(LOG, upto=3, end="drop"), let_go))

    with Client(server.url) as client:
        with client.follow("job_1") as generation:
            next(generation)
        assert let_go.wait(30)


async def test_leaving_early_lets_go_of_the_connection_in_asyncio_too(server: ScriptedServer) -> None:
    let_go = threading.Event()
    server.on(*EVENTS, watched(stream(LOG, upto=3, end="drop"), let_go))

    async with AsyncClient(server.url) as client:
        async with client.follow("job_1") as generation:
            await anext(generation)
        assert await asyncio.to_thread(let_go.wait, 30)
