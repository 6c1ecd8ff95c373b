"""Submit: the same job for the same key, and a refusal that names the field for all that can't run."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from installation import Installation, Wire
from redis.asyncio import Redis

from tokentail.shared import keys

HELLO = [{"role": "user", "content": "hello"}]


async def test_a_submit_is_answered_with_the_job_and_its_address(wire: Wire) -> None:
    # Given a request; When it is submitted
    answer = await wire.post("quick", metadata={"order": "7"})
    job = answer.json()
    # Then 202 with the whole job object
    assert answer.status_code == 202
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert (job["object"], job["status"], job["metadata"]) == ("job", "queued", {"order": "7"})
    assert set(job) == {
        "id", "object", "status", "model", "created_at", "started_at", "ended_at", "attempt", "cursor",
        "result", "usage", "cost_usd", "timings", "error", "metadata", "links",
    }  # fmt: skip


async def test_twenty_requests_at_once_with_one_key_make_one_job(install, client_of) -> None:
    # Given no worker, so that what is stored stays to be counted
    installation: Installation = install()
    wire: Wire = client_of(installation)
    # When twenty clients submit the same body with the same key at the same time
    answers = await asyncio.gather(*(wire.post("quick", {"Idempotency-Key": "k"}) for _ in range(20)))
    # Then one of them made the job and the others were given it
    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    async with Redis.from_url(installation.redis.url) as redis:
        assert await redis.zcard(keys.READY) == 1


async def test_the_same_key_with_another_body_is_a_conflict(wire: Wire) -> None:
    # Given a job with a key
    headers = {"Idempotency-Key": "conflict"}
    first = await wire.submit("quick", headers, temperature=0.5, metadata={"a": "b"})
    # When the same body comes, spelled in another way
    message = {"content": "Why is the sky blue?", "role": "user"}
    same = (
        b' { "metadata": {"a": "b"}, "seed": null, "messages": [%s], "temperature": 0.5, "model": "quick" }'
    )
    answer = await wire.http.post("/v1/jobs", content=same % orjson.dumps(message), headers=headers)
    # Then it is the same job
    assert (answer.status_code, answer.json()["id"]) == (200, first)
    # When something is different, in what the model gets or in what is ours
    for other in ({"temperature": 0.6, "metadata": {"a": "b"}}, {"temperature": 0.5, "metadata": {"a": "c"}}):
        # Then it is refused
        refused = await wire.post("quick", headers, **other)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "/model"),
    ({"model": 7}, "/model"),
    ({"messages": None}, "/messages"),
    ({"messages": []}, "/messages"),
    ({"messages": HELLO * 2001}, "/messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "/messages/0/role"),
    ({"messages": [{"role": "user"}]}, "/messages/0/content"),
    ({"messages": [{"role": "user", "content": 7}]}, "/messages/0/content"),
    ({"messages": [{"role": "user", "content": []}]}, "/messages/0/content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "/messages/0/content/0/text"),
    ({"messages": [{"role": "assistant"}]}, "/messages/0"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "/messages/0/tool_call_id"),
    ({"messages": [{"role": "user", "content": "x", "cache_control": {}}]}, "/messages/0/cache_control"),
    ({"temperature": 2.5}, "/temperature"),
    ({"temperature": "1"}, "/temperature"),
    ({"top_p": -0.1}, "/top_p"),
    ({"max_tokens": 0}, "/max_tokens"),
    ({"max_completion_tokens": 1.5}, "/max_completion_tokens"),
    ({"stop": ["a"] * 5}, "/stop"),
    ({"seed": 2**70}, "/seed"),
    ({"presence_penalty": 3}, "/presence_penalty"),
    ({"frequency_penalty": -3}, "/frequency_penalty"),
    ({"logit_bias": {"5": 101}}, "/logit_bias/5"),
    ({"logprobs": 1}, "/logprobs"),
    ({"top_logprobs": 3}, "/top_logprobs"),
    ({"response_format": {"type": "xml"}}, "/response_format/type"),
    ({"tools": [{"type": "retrieval"}]}, "/tools/0/type"),
    ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "/tools/0/function/name"),
    ({"tool_choice": "required"}, "/tool_choice"),
    ({"parallel_tool_calls": True}, "/parallel_tool_calls"),
    ({"reasoning_effort": "heroic"}, "/reasoning_effort"),
    ({"verbosity": "chatty"}, "/verbosity"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "/metadata"),
    ({"metadata": {"a": 1}}, "/metadata/a"),
    ({"on_interruption": "pray"}, "/on_interruption"),
    ({"api_base": "http://169.254.169.254/"}, "/api_base"),
    ({"api_key": "x"}, "/api_key"),
    ({"extra_body": {}}, "/extra_body"),
    ({"n": 2}, "/n"),
    ({"stream": True}, "/stream"),
    (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}]}]},
        "/messages/0/content/0/image_url/url",
    ),
    (
        {"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
        "/messages/0/content/0/image_url/url",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("change", "pointer"), REFUSED, ids=[pointer for _, pointer in REFUSED])
async def test_a_field_that_is_wrong_is_refused_by_name(wire: Wire, change: dict, pointer: str) -> None:
    # Given a good request with one thing wrong
    body = {"model": "quick", "messages": HELLO} | change
    # When it is submitted
    answer = await wire.http.post("/v1/jobs", json=body)
    # Then the refusal names that field, in the list and in the sentence
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_request")
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert problem["errors"][0]["pointer"] in problem["detail"]


async def test_every_fault_is_listed_not_just_the_first(wire: Wire) -> None:
    # Given three faults; When submitted; Then all three are named
    answer = await wire.http.post(
        "/v1/jobs", json={"messages": HELLO, "temperature": 9, "surprise": 1, "model": "quick", "top_p": "x"}
    )
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/temperature", "/surprise", "/top_p"}


async def test_an_unknown_model_is_answered_with_the_known_ones(wire: Wire) -> None:
    # Given a provider's name where an alias belongs
    answer = await wire.post("openai/gpt-4o")
    # Then it is refused, and the aliases are told
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "unknown_model")
    assert "quick" in problem["models"]
    assert "quick" in problem["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000, b'{"a":"\\ud800"}']
)
async def test_what_is_not_json_is_said_to_be_none(wire: Wire, body: bytes) -> None:
    # Given bytes that are no JSON; When submitted; Then 400
    answer = await wire.http.post("/v1/jobs", content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"null", b"7", b'"x"', b"[]"])
async def test_json_that_is_no_object_is_invalid(wire: Wire, body: bytes) -> None:
    # Given JSON that is no object; When submitted; Then 422 about the whole body
    answer = await wire.http.post("/v1/jobs", content=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "")


async def test_a_body_that_is_too_large_is_refused_before_it_has_arrived(wire: Wire) -> None:
    # Given a body beyond the limit, with its length declared and without
    async def endless():
        for _ in range(11):
            yield b" " * 1024 * 1024

    for content in (b" " * (10 * 1024 * 1024 + 1), endless()):
        # When it is sent; Then 413
        answer = await wire.http.post("/v1/jobs", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_an_idempotency_key_that_is_none_is_refused_by_name(wire: Wire, key: str) -> None:
    # Given a key outside of 1 to 255 visible ASCII characters; When submitted; Then 422 names the header
    answer = await wire.http.post(
        "/v1/jobs",
        json={"model": "quick", "messages": HELLO},
        headers=[(b"Idempotency-Key", key.encode("latin-1"))],
    )
    assert (answer.status_code, answer.json()["errors"][0]["header"]) == (422, "Idempotency-Key")


async def test_a_full_queue_is_said_to_be_full_and_nothing_is_stored(install, client_of) -> None:
    # Given room for two jobs and no worker
    installation: Installation = install(TOKENTAIL_MAX_QUEUE="2")
    wire: Wire = client_of(installation)
    for _ in range(2):
        await wire.submit("quick")
    # When a third comes
    answer = await wire.post("quick", {"Idempotency-Key": "third"})
    # Then it is told when to come back, and left nothing behind
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) > 0
    async with Redis.from_url(installation.redis.url) as redis:
        assert await redis.dbsize() == 2 * 2 + 3  # two records, two requests; queue, bell and index
