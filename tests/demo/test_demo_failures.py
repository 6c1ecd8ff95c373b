"""How the demo provider fails when it is told to."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from demo_client import Provider, data_lines


async def test_an_unknown_scenario_is_refused_in_openai_shape(provider: Provider) -> None:
    response = await provider.post("gpt-9")
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("model", "param"),
    [
        ("counted?tokenz=5", "tokenz"),
        ("counted?tokens=many", "tokens"),
        ("counted?tokens=-1", "tokens"),
        ("counted?tokens", "tokens"),
        ("counted?tokens=1&tokens=2", "tokens"),
        ("counted?pace_ms=nan", "pace_ms"),
        ("counted?head=yes", "head"),
        ("demo?tokens=5", "tokens"),
        ("reasoning?field=thoughts", "field"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(provider: Provider, model: str, param: str) -> None:
    response = await provider.post(model)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"model": "demo"}', b'{"model": "demo", "messages": []}'])
async def test_a_broken_request_is_refused(provider: Provider, body: bytes) -> None:
    response = await provider.http.post("/v1/chat/completions", content=body)
    assert response.status_code == 400


@pytest.mark.parametrize("name", ["stream_options", "max_tokens", "max_completion_tokens"])
async def test_a_parameter_of_the_wrong_type_is_refused_by_name(provider: Provider, name: str) -> None:
    response = await provider.post("fast", **{name: "much"})
    assert (response.status_code, response.json()["error"]["param"]) == (400, name)


async def test_a_rate_limit_says_when_to_come_back(provider: Provider) -> None:
    response = await provider.post("rate-limited?retry_after=7")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("model", ["rate-limited", "error-500", "overloaded"])
async def test_a_retry_succeeds_after_so_many_failures(provider: Provider, model: str) -> None:
    # When the same request is made again and again
    statuses = [(await provider.post(f"{model}?times=2")).status_code for _ in range(4)]
    # Then the first two fail
    assert [status == 200 for status in statuses] == [False, False, True, True]


async def test_failures_are_counted_by_key(provider: Provider) -> None:
    # Given a key whose failure is used up
    await provider.post("error-500?times=1&key=a")
    # When another key is used, and the first again
    other = await provider.post("error-500?times=1&key=b")
    first = await provider.post("error-500?times=1&key=a")
    # Then each has its own
    assert (other.status_code, first.status_code) == (500, 200)


async def test_failures_can_begin_again_after_a_success(provider: Provider) -> None:
    statuses = [(await provider.post("error-500?times=1&again=1")).status_code for _ in range(4)]
    assert statuses == [500, 200, 500, 200]


@pytest.mark.parametrize(("model", "status"), [("bad-request", 400), ("unauthorized", 401)])
async def test_a_request_can_be_rejected_for_good(provider: Provider, model: str, status: int) -> None:
    assert (await provider.post(model)).status_code == status


async def test_a_rejection_can_hold_a_key_and_a_url(provider: Provider) -> None:
    message = (await provider.post("unauthorized")).json()["error"]["message"]
    assert "sk-fake-" in message
    assert "https://" in message


async def test_stream_options_can_be_refused(provider: Provider) -> None:
    # Given a server that does not know stream_options
    # When they are sent, or not
    with_them = await provider.post("refuses-stream-options", stream_options={"include_usage": True})
    without = await provider.post("refuses-stream-options")
    # Then they are a bad request
    assert with_them.json()["error"]["param"] == "stream_options"
    assert (with_them.status_code, without.status_code) == (400, 200)


async def test_an_error_can_stand_in_the_stream(provider: Provider) -> None:
    *tokens, error = data_lines((await provider.post("error-mid-stream?after=2")).text)
    assert error.startswith('{"error":')
    assert len(tokens) == 3  # the opening and two tokens


@pytest.mark.parametrize("after", [0, 5, 20_000])
async def test_a_cut_delivers_its_tokens_and_then_drops_the_connection(
    provider: Provider, after: int
) -> None:
    async with provider.streaming(f"cut?after={after}") as response:
        # When the answer is read to its end
        read = bytearray()
        with pytest.raises(httpx.RemoteProtocolError):
            await _read_into(read, response)
    # Then every token has arrived, and the body is incomplete
    assert read.count(b"data: {") == after + 1


@pytest.mark.parametrize("body", [{"stream": False}, {"model": "cut?after=0&head=0"}])
async def test_a_cut_can_come_before_the_head(provider: Provider, body: dict[str, object]) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await provider.http.post("/v1/chat/completions", json=provider.ask("cut") | body)


@pytest.mark.parametrize("done", [0, 1])
async def test_a_truncated_stream_ends_cleanly_without_a_reason(provider: Provider, done: int) -> None:
    lines = data_lines((await provider.post(f"truncated?after=2&done={done}")).text)
    assert ("[DONE]" in lines) is bool(done)
    assert not any('"finish_reason":"' in line for line in lines)


async def test_a_truncated_stream_tells_no_usage(provider: Provider) -> None:
    response = await provider.post("truncated", stream_options={"include_usage": True})
    assert '"usage":{' not in response.text


async def test_a_line_can_be_no_json(provider: Provider) -> None:
    lines = data_lines((await provider.post("broken-json?after=2")).text)
    assert lines[3].endswith('"half a')


@pytest.mark.parametrize(
    ("model", "tokens"), [("hang?after=3", 3), ("hang-first", 0), ("hang-first?head=0", 0)]
)
async def test_a_stream_can_fall_silent_for_ever(provider: Provider, model: str, tokens: int) -> None:
    # When an answer is read that never ends
    with pytest.raises(httpx.ReadTimeout):
        await provider.http.post("/v1/chat/completions", json=provider.ask(model), timeout=0.3)
    # Then only its first tokens had been sent
    (request,) = (await provider.stats())["requests"]
    assert request["tokens"] == tokens


async def test_a_silent_stream_can_look_alive(provider: Provider) -> None:
    async with asyncio.timeout(3), provider.streaming("hang?after=0&comments=1") as response:
        comments = (line async for line in response.aiter_lines() if line.startswith(":"))
        assert [await anext(comments) for _ in range(3)]


async def _read_into(read: bytearray, response: httpx.Response) -> None:
    async for piece in response.aiter_raw():
        read += piece
