"""OpenAI's own Python client, unchanged, over HTTP: chat completions."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from given import eventually
from installation import Wire
from openai import AsyncOpenAI, AsyncStream, OpenAI
from openai.types.chat import ChatCompletionChunk
from redis.asyncio import Redis

from tokentail.shared import keys

ASKED: Any = [{"role": "user", "content": "Why is the sky blue?"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}


def said(chunks: list[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


async def text_of(wire: Wire, job_id: str) -> str:
    return str((await wire.ended(job_id))["result"]["content"])


async def test_a_completion_is_the_jobs_result(client: OpenAI, wire: Wire) -> None:
    # When somebody asks for a whole completion
    answer = await asyncio.to_thread(
        client.chat.completions.with_raw_response.create, model="quick", messages=ASKED
    )
    completion = answer.parse()
    # Then it is what the job said, and the job is named
    job = await wire.job(answer.headers["x-tokentail-job"])
    assert completion.choices[0].message.content == job["result"]["content"]
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 40
    assert completion.id == f"chatcmpl-{job['id']}"


async def test_a_stream_is_the_job_as_it_is_said(aclient: AsyncOpenAI, wire: Wire) -> None:
    stream = await aclient.chat.completions.create(
        model="quick", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    job_id = chunks[0].id.removeprefix("chatcmpl-")
    assert said(chunks) == await text_of(wire, job_id)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 40


def test_the_clients_own_helper_collects_it(client: OpenAI) -> None:
    with client.chat.completions.stream(model="parallel", messages=ASKED, tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        completion = stream.get_final_completion()
    calls = completion.choices[0].message.tool_calls
    assert calls is not None
    assert len(calls) > 1
    assert len({call.id for call in calls}) == len(calls)
    assert completion.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("model", ["reasoning", "refusal", "parallel", "same-index"])
async def test_what_is_streamed_is_what_is_answered_at_once(aclient: AsyncOpenAI, model: str) -> None:
    # Given one job, by its key
    once: dict[str, Any] = {"extra_headers": {"Idempotency-Key": f"both-{model}-{id(aclient)}"}}
    asked: dict[str, Any] = {"model": model, "messages": ASKED, **once}
    stream = await aclient.chat.completions.create(stream=True, **asked)
    deltas = [c.choices[0].delta async for c in stream if c.choices]
    # When it is asked for as a whole
    message = (await aclient.chat.completions.create(**asked)).choices[0].message
    # Then both say the same
    assert "".join(d.content or "" for d in deltas) == (message.content or "")
    assert "".join(d.refusal or "" for d in deltas) == (message.refusal or "")
    thought = "".join(getattr(d, "reasoning_content", None) or "" for d in deltas)
    assert thought == (getattr(message, "reasoning_content", None) or "")
    pieces: dict[int, str] = {}
    for part in (part for d in deltas for part in d.tool_calls or ()):
        assert part.function is not None
        pieces[part.index] = pieces.get(part.index, "") + (part.function.arguments or "")
    calls = [call for call in message.tool_calls or () if call.type == "function"]
    assert list(pieces.values()) == [call.function.arguments for call in calls]


# Dropping and resuming


async def test_a_dropped_connection_does_not_end_the_job_and_is_continued(
    aclient: AsyncOpenAI, wire: Wire
) -> None:
    # Given a client that leaves in the middle
    stream = await aclient.chat.completions.create(model="gated", messages=ASKED, stream=True)
    seen = []
    async for chunk in stream:
        seen.append(chunk)
        if len(seen) == 3:
            break
    await stream.close()
    job_id = seen[0].id.removeprefix("chatcmpl-")
    await wire.open_gate("g")
    # When it continues behind its last chunk
    path = f"/chat/completions/{job_id}/stream?after={seen[-1].cursor}"  # type: ignore[attr-defined]
    rest = await aclient.get(
        path, cast_to=ChatCompletionChunk, stream=True, stream_cls=AsyncStream[ChatCompletionChunk]
    )
    seen += [chunk async for chunk in rest]
    # Then it has everything once
    assert said(seen) == await text_of(wire, job_id)


async def frames(wire: Wire, path: str, **query: str) -> list[bytes]:
    """All that somebody is told."""
    answer = await wire.http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.content.removeprefix(b": connected\n").split(b"\n\n")


async def test_every_cursor_continues_with_the_rest(aclient: AsyncOpenAI, wire: Wire) -> None:
    stream = await aclient.chat.completions.create(model="quick", messages=ASKED, stream=True)
    chunks = [chunk async for chunk in stream]
    path = f"/v1/chat/completions/{chunks[0].id}/stream"
    whole = await frames(wire, path)
    cursors = [str(chunk.cursor) for chunk in chunks]  # type: ignore[attr-defined]
    for index, cursor in enumerate(cursors[:-1]):
        assert await frames(wire, path, after=cursor) == whole[index + 1 :]
    # And there is nothing behind the last one
    assert (await wire.http.get(path, params={"after": cursors[-1]})).status_code == 204


async def test_a_repeated_request_attaches_to_the_job_that_runs(aclient: AsyncOpenAI, wire: Wire) -> None:
    # Given a stream whose connection is lost, and a client that tries again with its key
    keyed: dict[str, Any] = {"extra_headers": {"Idempotency-Key": f"again-{id(wire)}"}}
    asked: dict[str, Any] = {"model": "gated", "messages": ASKED, "stream": True, **keyed}
    first = await aclient.chat.completions.create(**asked)
    begun = await anext(aiter(first))
    await first.close()
    again = await aclient.chat.completions.create(**asked)
    await wire.open_gate("g")
    chunks = [chunk async for chunk in again]
    # Then it is told the same generation from its start, and only one was paid for
    assert chunks[0] == begun
    assert said(chunks) == await text_of(wire, begun.id.removeprefix("chatcmpl-"))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_may_have_its_job_end_with_it(aclient: AsyncOpenAI, wire: Wire, stream: bool) -> None:
    extra: dict[str, Any] = {"extra_body": {"on_disconnect": "cancel", "metadata": {"of": str(id(wire))}}}
    asking = asyncio.create_task(
        aclient.chat.completions.create(model="slow", messages=ASKED, stream=stream, **extra)
    )

    async def job() -> Any:
        found = (await wire.http.get("/v1/jobs", params={"limit": 10})).json()["data"]
        return next((job for job in found if job["metadata"].get("of") == str(id(wire))), None)

    async def is_running() -> Any:
        found = await job()
        return found if found is not None and found["status"] == "running" else None

    running = await eventually(is_running)
    # When the client goes
    if stream:
        await (await asking).close()
    else:
        asking.cancel()
    # Then so does the job
    assert (await wire.ended(running["id"]))["status"] == "cancelled"


# Refusals and failures


def refused(client: OpenAI, kind: type[openai.APIStatusError], **asked: Any) -> Any:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**{"model": "quick", "messages": ASKED, **asked})
    return caught.value


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    error = refused(client, openai.NotFoundError, model="gpt-99")
    assert (error.code, error.param) == ("model_not_found", "model")
    assert "GET /v1/models" in error.message
    # And no alias stands there, from which litellm would make an exception of its own
    assert "rate-limited" not in error.message


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"temperature": 9}, "temperature"),
        ({"n": 2}, "n"),
        ({"store": True}, "store"),
        ({"extra_body": {"web_search_options": {}}}, "web_search_options"),
        ({"extra_body": {"api_base": "http://x"}}, "api_base"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"extra_body": {"on_disconnect": "explode"}}, "on_disconnect"),
        ({"extra_headers": {"Idempotency-Key": "not ok"}}, "Idempotency-Key"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(client: OpenAI, asked: dict[str, Any], param: str) -> None:
    error = refused(client, openai.BadRequestError, **asked)
    assert error.param == param
    assert param.split("[", maxsplit=1)[0] in error.message


def test_what_changes_no_answer_is_taken(client: OpenAI) -> None:
    client.chat.completions.create(
        model="quick", messages=ASKED, n=1, user="u", store=False, service_tier="auto", safety_identifier="s"
    )


@pytest.mark.parametrize(
    ("model", "kind"),
    [("down", openai.InternalServerError), ("bad-request", openai.BadRequestError)],
)
def test_a_job_that_failed_is_the_clients_own_error(
    client: OpenAI, model: str, kind: type[openai.APIStatusError]
) -> None:
    error = refused(client.with_options(max_retries=2), kind, model=model)
    # And nothing is paid for twice
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_job_that_fails_in_mid_stream_is_an_error_there(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="cut", messages=ASKED, stream=True, extra_body={"on_interruption": "fail"}
    )
    with pytest.raises(openai.APIError) as caught:
        list(stream)
    assert caught.value.code in ("provider_error", "provider_truncated")


async def test_an_unknown_job_and_an_unknown_place_are_refused(wire: Wire) -> None:
    answer = await wire.http.get("/v1/chat/completions/job_nothing/stream")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    job_id = await wire.submit("quick")
    await wire.ended(job_id)
    for after, code in (("5-5", "unknown_cursor"), ("nonsense", "invalid_cursor")):
        answer = await wire.http.get(f"/v1/chat/completions/{job_id}/stream", params={"after": after})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


async def test_another_method_is_refused_with_what_to_use(wire: Wire) -> None:
    for method, path, use in (("GET", "", "POST"), ("POST", "/job_x/stream", "GET")):
        answer = await wire.http.request(method, f"/v1/chat/completions{path}")
        assert (answer.status_code, answer.headers["allow"]) == (405, use)


async def test_a_stream_that_ends_before_its_generation_is_no_whole_answer(install, client_of) -> None:
    # Given an API whose streams live for a second
    installation = install(TOKENTAIL_STREAM_SECONDS="1")
    await asyncio.to_thread(installation.start_worker)
    async with AsyncOpenAI(base_url=f"{installation.url}/v1", api_key="none") as client:
        stream = await client.chat.completions.create(model="slow", messages=ASKED, stream=True)
        seen: list[Any] = []
        with pytest.raises(openai.APIError) as caught:
            await collect(stream, seen)
    # Then its client is told where it goes on, and there it does
    job_id = seen[0].id.removeprefix("chatcmpl-")
    assert caught.value.code == "stream_interrupted"
    assert f"/v1/chat/completions/{job_id}/stream" in caught.value.message
    wire: Wire = client_of(installation)
    more = await frames(wire, f"/v1/chat/completions/{job_id}/stream", after=seen[-1].cursor)
    assert more[0].startswith(b"data: {")


async def test_a_process_that_stops_says_of_an_answer_it_owes_where_the_job_is(install, client_of) -> None:
    # Given somebody who waits for a whole completion
    installation = install()
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    body = {"model": "slow", "messages": ASKED}
    asking = asyncio.create_task(wire.http.post("/v1/chat/completions", json=body))

    async def job() -> Any:
        return next(iter((await wire.http.get("/v1/jobs")).json()["data"]), None)

    running = await eventually(job)
    # When the process stops
    installation.api.interrupt()
    answer = await asking
    # Then the job is named, and nobody makes another one by mistake
    assert answer.status_code == 503
    assert answer.headers["x-tokentail-job"] == running["id"]
    assert answer.headers["x-should-retry"] == "false"


# A new attempt


async def collect(stream: Any, seen: list[Any]) -> None:
    async for chunk in stream:
        seen.append(chunk)


async def test_a_follower_of_a_generation_that_begins_anew_is_told_so_and_can_go_on(
    aclient: AsyncOpenAI, wire: Wire
) -> None:
    # Given a provider that breaks off in the middle, and then does not
    stream = await aclient.chat.completions.create(model="cut", messages=ASKED, stream=True)
    seen: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        await collect(stream, seen)
    # Then what came is void, and the way on is named
    assert caught.value.code == "generation_restarted"
    job_id = seen[0].id.removeprefix("chatcmpl-")
    assert job_id in caught.value.message
    await wire.ended(job_id)
    # And whoever comes then is never told two texts run together
    body = (await wire.http.get(f"/v1/chat/completions/{job_id}/stream")).content
    assert body.count(b'"role":"assistant"') <= 1


# Models


def test_the_models_are_the_aliases(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "quick" in names
    assert client.models.retrieve("quick").id == "quick"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-99")


async def test_what_is_kept_when_the_log_has_gone_is_streamed_all_the_same(install, client_of) -> None:
    # Given logs that live for a second after the ending
    installation = install(TOKENTAIL_LOG_TTL_SECONDS="1")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("parallel")
    job = await wire.ended(job_id)
    async with Redis.from_url(installation.redis.url) as redis:

        async def has_gone() -> bool:
            return not await redis.exists(keys.log(job_id))

        await eventually(has_gone)
    await asyncio.to_thread(installation.start_api)
    # When somebody follows it; Then the result comes in one piece
    async with AsyncOpenAI(base_url=f"{installation.url}/v1", api_key="none") as client:
        stream = await client.get(
            f"/chat/completions/{job_id}/stream",
            cast_to=ChatCompletionChunk,
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )
        first, last = [chunk async for chunk in stream]
    calls = first.choices[0].delta.tool_calls
    assert [call.id for call in calls] == [call["id"] for call in job["result"]["tool_calls"]]
    assert last.choices[0].finish_reason == "tool_calls"
