"""What the demo provider tells about its clients."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from demo_client import Provider


async def test_a_request_that_was_answered_is_finished_at_once(provider: Provider) -> None:
    # When an answer has been read
    await provider.chunks("counted?tokens=7&pace_ms=1")
    # Then it is down as finished, with its tokens and its times
    stats = await provider.stats()
    (request,) = stats["requests"]
    assert (request["state"], request["tokens"], request["status"]) == ("finished", 7, 200)
    assert request["started_monotonic"] <= request["first_token_monotonic"] <= request["ended_monotonic"]
    assert (stats["started"], stats["open_streams"]) == (1, 0)
    assert stats["ended"] == {"finished": 1, "client_closed": 0, "error": 0}


@pytest.mark.parametrize("model", ["error-500", "error-mid-stream", "gpt-9"])
async def test_a_failure_is_an_error(provider: Provider, model: str) -> None:
    await provider.post(model)
    assert [request["state"] for request in (await provider.stats())["requests"]] == ["error"]


async def test_a_cut_is_an_error_and_not_the_clients_doing(provider: Provider) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await provider.post("cut")
    assert (await provider.stats())["requests"][0]["state"] == "error"


@pytest.mark.parametrize(
    "model",
    [
        "hang",
        "hang?comments=1",
        "hang-first?head=0",
        "wait",
        "counted?tokens=1000000",
        "counted?pace_ms=50&tokens=1000",
    ],
)
async def test_a_client_that_goes_is_noticed_at_once(provider: Provider, model: str) -> None:
    # Given a client in the middle of an answer
    async with httpx.AsyncClient(base_url=provider.url, verify=False) as client:
        reading = asyncio.create_task(client.post("/v1/chat/completions", json=provider.ask(model)))
        await provider.stats_when(lambda stats: stats["open_streams"] == 1)
        # When it goes
        reading.cancel()
        await asyncio.wait([reading])
        left = time.monotonic()
        # Then the provider knows at once, and stops
        stats = await provider.stats_when(lambda stats: stats["open_streams"] == 0)
    (request,) = stats["requests"]
    assert request["state"] == "client_closed"
    assert request["ended_monotonic"] - left < 0.25


async def test_a_client_that_does_not_read_is_not_waited_for(provider: Provider) -> None:
    # Given a client that has stopped reading, so that the provider's buffers are full
    async with provider.streaming("counted?tokens=1000000"):
        await provider.stats_when(lambda stats: stats["requests"][0]["tokens"] > 0)
    # When it goes
    # Then the stream ends although nothing could be written
    stats = await provider.stats_when(lambda stats: stats["open_streams"] == 0)
    assert stats["requests"][0]["state"] == "client_closed"


async def test_open_connections_are_counted_without_the_one_that_asks(provider: Provider) -> None:
    # Given two other clients that hang
    async with httpx.AsyncClient(base_url=provider.url, verify=False) as client:
        hanging = [
            asyncio.create_task(client.post("/v1/chat/completions", json=provider.ask("hang")))
            for _ in range(2)
        ]
        # When the provider is asked
        # Then it counts their connections
        await provider.stats_when(lambda stats: stats["open_connections"] == 2)
        for task in hanging:
            task.cancel()
    # And after they have gone, none
    await asyncio.wait(hanging)
    await provider.stats_when(lambda stats: stats["open_connections"] == 0)


async def test_what_reached_the_provider_can_be_seen_but_for_key_and_messages(provider: Provider) -> None:
    # When a request is made with a key
    headers = {"authorization": "Bearer not-a-secret", "x-mark": "here"}
    body = provider.ask("counted?tokens=1", temperature=0.5, stream=False)
    await provider.http.post("/v1/chat/completions", json=body, headers=headers)
    # Then its parameters and headers are on record, the key and the messages aren't
    (request,) = (await provider.stats())["requests"]
    assert request["names"] == ["messages", "model", "stream", "temperature"]
    assert request["parameters"] == {"model": "counted?tokens=1", "temperature": 0.5, "stream": False}
    assert request["headers"]["x-mark"] == "here"
    assert request["authorized"] is True
    assert "authorization" not in request["headers"]


async def test_the_nonce_leads_to_the_request(provider: Provider) -> None:
    answer = await provider.whole("counted?tokens=1")
    (request,) = (await provider.stats())["requests"]
    assert answer["choices"][0]["message"]["content"] == f"[{request['id']}] "


async def test_a_reset_lets_go_who_waits_and_shuts_the_gates(provider: Provider) -> None:
    async with provider.streaming("wait?gate=mine") as response:
        # Given a stream that waits at a gate
        await provider.stats_when(lambda stats: stats["requests"][0]["tokens"] == 3)
        # When the provider is reset
        await provider.http.post("/reset")
        # Then the stream goes on to its end
        await response.aread()
    # And the next one waits again
    async with provider.streaming("wait?gate=mine"):
        await provider.stats_when(lambda stats: stats["requests"][0]["tokens"] == 3)


async def test_a_reset_forgets_requests_and_failures(provider: Provider) -> None:
    # Given a failure that is used up
    await provider.post("error-500?times=1")
    # When the provider is reset
    await provider.http.post("/reset")
    # Then it fails again, and knows of no request before
    assert (await provider.post("error-500?times=1")).status_code == 500
    assert (await provider.stats())["started"] == 1
