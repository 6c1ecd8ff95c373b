"""How generations end: each of the provider's ways to answer or to fail becomes the right ending."""

from __future__ import annotations

import asyncio

import pytest
from given import eventually
from installation import Installation, Wire
from redis.asyncio import Redis

from tokentail.shared import keys


async def test_a_completed_job_says_what_it_used_and_how_long_it_took(wire: Wire) -> None:
    # Given a job; When it has completed
    job = await wire.ended(await wire.submit("quick"))
    # Then usage, timings and finish reason are there, and no price where none is known
    assert job["result"]["finish_reason"] == "stop"
    assert job["usage"]["completion_tokens"] == 40
    assert job["usage"]["source"] == "provider"
    assert job["cost_usd"] is None
    timings = job["timings"]
    assert 0 <= timings["queued_ms"] <= timings["first_delta_ms"] <= timings["total_ms"]
    assert job["created_at"] <= job["started_at"] <= job["ended_at"]


@pytest.mark.parametrize("model", ["parallel", "same-index"])
async def test_parallel_tool_calls_are_collected_whole_whatever_the_providers_manner(
    wire: Wire, model: str
) -> None:
    # Given a model that calls two tools at once; When the job has completed
    job = await wire.ended(await wire.submit(model))
    # Then both calls are there with id, name and complete arguments
    calls = job["result"]["tool_calls"]
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("weather", '{"city":"Paris","unit":"celsius"}'),
        ("clock", '{"zone":"Europe/Paris"}'),
    ]
    assert len({call["id"] for call in calls}) == 2
    assert job["result"]["finish_reason"] == "tool_calls"


async def test_reasoning_and_refusals_are_kept_apart_from_content(wire: Wire) -> None:
    # Given a model that reasons and one that refuses
    reasoned = (await wire.ended(await wire.submit("reasoning")))["result"]
    refused = (await wire.ended(await wire.submit("refusal")))["result"]
    # Then each kind of text stands in its own member
    assert reasoned["reasoning"]
    assert reasoned["content"]
    assert refused["refusal"]
    assert refused["content"] is None


async def test_a_truncated_answer_is_no_success(wire: Wire) -> None:
    # Given a provider whose stream always ends without a finish reason, and a client that wants no second try
    job = await wire.ended(await wire.submit("truncated", on_interruption="fail"))
    # Then the job has failed, and what was streamed stays readable
    assert (job["status"], job["error"]["code"]) == ("failed", "provider_truncated")
    assert job["result"]["content"]


async def test_an_interrupted_generation_starts_again_and_gives_up_in_the_end(wire: Wire) -> None:
    # Given a provider that always breaks off after some tokens
    job_id = await wire.submit("cut")
    job = await wire.ended(job_id)
    # Then it was tried three times, each attempt announced, and ended once
    seen = await wire.follow(job_id)
    attempts = [event for _, event in seen.events if event["type"] == "attempt"]
    assert [(event["attempt"], event["reason"]) for event in attempts] == [
        (1, "start"),
        (2, "retry"),
        (3, "retry"),
    ]
    assert seen.endings == ["failed"]
    assert job["error"]["code"] == "attempts_exhausted"
    assert "provider_error" in job["error"]["message"]


async def test_a_provider_that_is_down_for_a_moment_is_asked_again(wire: Wire) -> None:
    # Given a provider that answers 500 once; When the job has ended
    job = await wire.ended(await wire.submit("flaky"))
    # Then it completed in its second attempt
    assert (job["status"], job["attempt"]) == ("completed", 2)


async def test_a_rate_limit_is_waited_out_as_the_provider_wishes_without_holding_a_slot(
    install, client_of
) -> None:
    # Given one worker with one slot, and a provider that says 429 with Retry-After: 1, once
    installation: Installation = install(TOKENTAIL_CONCURRENCY="1")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    limited = await wire.submit("rate-limited")
    await wire.until(limited, lambda event: event["type"] == "attempt")
    # When another job is submitted
    other = await wire.ended(await wire.submit("quick"))
    # Then that one is run meanwhile, and the first one no sooner than a second later
    job = await wire.ended(limited)
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert other["ended_at"] < job["ended_at"]
    first, second = (
        request for request in (await wire.stats())["requests"] if "rate-limited" in request["model"]
    )
    assert second["started_monotonic"] - first["ended_monotonic"] >= 0.99


@pytest.mark.parametrize("model", ["bad-request", "unauthorized"])
async def test_what_the_provider_rejects_is_not_tried_again(wire: Wire, model: str) -> None:
    # Given a request that the provider will never take; When the job has ended
    job = await wire.ended(await wire.submit(model))
    # Then it failed at once, with the provider's words, cleaned of keys and addresses
    assert (job["error"]["code"], job["error"]["retryable"], job["attempt"]) == (
        "provider_rejected",
        False,
        1,
    )
    assert "sk-" not in job["error"]["message"]
    assert "http" not in job["error"]["message"]


@pytest.mark.parametrize(
    ("model", "setting", "code"),
    [
        ("hang-first", "TOKENTAIL_FIRST_TOKEN_SECONDS", "first_token_timeout"),
        ("hang", "TOKENTAIL_IDLE_SECONDS", "idle_timeout"),
        ("hang-with-comments", "TOKENTAIL_IDLE_SECONDS", "idle_timeout"),
        ("slow", "TOKENTAIL_DEADLINE_SECONDS", "deadline_exceeded"),
        ("hang", "TOKENTAIL_DEADLINE_SECONDS", "deadline_exceeded"),
    ],
)
async def test_a_silent_or_endless_provider_is_given_up_and_its_connection_closed(
    install, client_of, model: str, setting: str, code: str
) -> None:
    # Given a limit of a second, and no second try
    installation: Installation = install(**{setting: "1", "TOKENTAIL_MAX_ATTEMPTS": "1"})
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    # When the provider falls silent or talks on past it
    job = await wire.ended(await wire.submit(model))
    # Then the job fails with the limit's code, and the provider is left with nothing open
    assert (job["status"], job["error"]["code"]) == ("failed", code)
    assert (await wire.stats())["open_streams"] == 0


async def test_a_job_that_waited_past_its_deadline_is_never_sent_to_the_provider(install, client_of) -> None:
    # Given a job with a deadline of a second, and no worker until then
    installation: Installation = install(TOKENTAIL_DEADLINE_SECONDS="1")
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    await wire.job(job_id, wait=2)
    # When a worker comes
    await asyncio.to_thread(installation.start_worker)
    # Then the job fails, and the provider has heard nothing of it
    assert (await wire.ended(job_id))["error"]["code"] == "deadline_exceeded"
    assert (await wire.stats())["started"] == 0


async def test_nothing_of_ours_reaches_the_provider(wire: Wire) -> None:
    # Given a request with our own fields
    job_id = await wire.submit("quick", metadata={"secret": "plan"}, on_interruption="fail", temperature=0.3)
    await wire.ended(job_id)
    # Then the provider got the chat parameters and nothing else
    request = (await wire.stats())["requests"][-1]
    assert set(request["names"]) == {"model", "messages", "stream", "stream_options", "temperature"}


async def test_no_prompt_and_no_completion_is_logged(install, client_of) -> None:
    # Given processes that log all they can
    installation: Installation = install(TOKENTAIL_LOG_LEVEL="debug")
    worker = await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    secret = [{"role": "user", "content": "the secret is xyzzy"}]
    # When jobs complete, fail and are refused
    for model in ("quick", "down", "unauthorized", "cut"):
        job_id = await wire.submit(model, messages=secret)
        await wire.ended(job_id)
    await wire.http.post("/v1/jobs", json={"model": "xyzzy", "messages": secret})
    # Then none of what was said stands in a log
    for process in (worker, installation.api):
        process.interrupt()
        await asyncio.to_thread(process.wait)
        assert "xyzzy" not in process.said
    assert "attempt is over" in worker.said


async def test_a_log_that_has_expired_leaves_the_result_and_says_so(install, client_of) -> None:
    # Given logs that live for a second after the ending
    installation: Installation = install(TOKENTAIL_LOG_TTL_SECONDS="1")
    await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("quick")
    job = await wire.ended(job_id)
    # When the log has gone, and no API keeps it for those who were there a moment ago
    async with Redis.from_url(installation.redis.url) as redis:
        await eventually(lambda: _is_gone(redis, job_id))
    await asyncio.to_thread(installation.start_api)
    wire = client_of(installation)
    answer = await wire.http.get(f"/v1/jobs/{job_id}/events")
    # Then a follower is told where the result is, and the result is there
    assert (answer.status_code, answer.json()["code"]) == (410, "log_expired")
    assert (await wire.http.get(answer.json()["links"]["self"])).json() == job


async def _is_gone(redis: Redis, job_id: str) -> bool:
    return not await redis.exists(keys.log(job_id))
