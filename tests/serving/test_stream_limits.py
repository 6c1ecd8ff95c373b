"""How many streams a process serves, and what it tells the others."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from api_process import Api
from given import eventually
from hypothesis import given
from hypothesis import strategies as st
from streams import BROWSER, Stream

from tokentail.api.limits import Limits, Streams
from tokentail.api.problems import Problem

LIMITS = Limits(process=5, job=2, tenant=4)

REFUSALS = [
    ("TOKENTAIL_MAX_STREAMS", 503, "too_many_streams"),
    ("TOKENTAIL_MAX_JOB_STREAMS", 429, "too_many_job_streams"),
    ("TOKENTAIL_MAX_TENANT_STREAMS", 429, "too_many_tenant_streams"),
]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), max_size=40), st.randoms())
def test_no_limit_is_ever_passed_and_room_that_is_left_is_room_again(asked, chance) -> None:
    streams, inside = Streams(LIMITS), []
    for tenant, job_id in asked:
        if inside and chance.random() < 0.4:
            streams.leave(*inside.pop(chance.randrange(len(inside))))
        of_tenant = sum(one == tenant for one, _ in inside)
        of_job = sum(one == job_id for _, one in inside)
        is_room = len(inside) < 5 and of_tenant < 4 and of_job < 2
        try:
            streams.enter(tenant, job_id)
        except Problem:
            assert not is_room
        else:
            assert is_room
            inside.append((tenant, job_id))
        assert streams.open == len(inside)
    for one in inside:
        streams.leave(*one)
    # Then nothing is kept of those who have gone
    assert (streams.open, dict(streams._of_job), dict(streams._of_tenant)) == (0, {}, {})


@pytest.mark.parametrize(("setting", "status", "code"), REFUSALS)
async def test_one_too_many_is_refused_with_a_reason_and_when_to_come_back(
    start_api: Callable[..., Api], setting: str, status: int, code: str
) -> None:
    # Given a process that serves two streams
    api = start_api(**{setting: "2"})
    job_id = api.submit()
    first, second = [(await Stream.open(api.port, job_id)).read() for _ in range(2)]
    # When a third comes; Then it is told why not, and when to come back
    refused = await Stream.open(api.port, job_id)
    assert refused.status == status
    assert "application/problem+json" in refused.head
    assert "retry-after: 5" in refused.head
    assert f'"code":"{code}"'.encode() in (await refused.read().ended()).body
    # And a browser, in the only way that it understands
    browser = await Stream.open(api.port, job_id, headers=BROWSER)
    assert browser.status == 200
    assert (await browser.read().ended()).body.startswith(b": connected\nretry: ")
    # And the operator
    assert api.metric("streams") == 2
    assert api.metric("streams_refused_total") == 2
    # And when one of the two leaves, there is room
    first.close()
    await eventually(lambda: api.metric("streams") == 1)
    assert (await Stream.open(api.port, job_id)).status == 200
    second.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # As Chromium asks, on HTTPS or localhost; and on a page that came by plain HTTP from another machine
        ("Accept: text/event-stream\r\nUser-Agent: Mozilla/5.0\r\nSec-Fetch-Mode: cors\r\n", 200),
        ("Accept: text/event-stream\r\nUser-Agent: Mozilla/5.0\r\n", 200),
        # As programs do, and as a person looks at it from such a page
        ("Accept: text/event-stream\r\nUser-Agent: python-httpx/0.28\r\n", 429),
        ("Accept: */*\r\nUser-Agent: curl/8.0\r\n", 429),
        ("Accept: text/html\r\nUser-Agent: Mozilla/5.0\r\n", 429),
    ],
)
async def test_a_browser_s_event_source_is_known_wherever_its_page_came_from(
    start_api: Callable[..., Api], headers: str, status: int
) -> None:
    # Given a job that has all the followers it may
    api = start_api(TOKENTAIL_MAX_JOB_STREAMS="1")
    job_id = api.submit()
    await Stream.open(api.port, job_id)
    # Then only an EventSource, which would never come back, is not told by a status
    assert (await Stream.open(api.port, job_id, headers=headers)).status == status


async def test_other_jobs_have_room_beside_one_that_is_full(start_api: Callable[..., Api]) -> None:
    api = start_api(TOKENTAIL_MAX_JOB_STREAMS="1")
    crowded, other = api.submit(), api.submit()
    assert (await Stream.open(api.port, crowded)).status == 200
    assert (await Stream.open(api.port, crowded)).status == 429
    assert (await Stream.open(api.port, other)).status == 200


async def test_answers_that_are_no_streams_take_no_room(start_api: Callable[..., Api]) -> None:
    api = start_api(TOKENTAIL_MAX_STREAMS="1")
    job_id = api.submit()
    # Given an unknown job, a malformed cursor, and a cursor after which nothing comes
    assert (await Stream.open(api.port, "job_unknown")).status == 404
    assert (await Stream.open(api.port, job_id, after="nonsense")).status == 400
    ended = api.submit()
    async with httpx.AsyncClient(base_url=api.url) as http:
        last = (await http.post(f"/v1/jobs/{ended}/cancel")).json()["cursor"]
    assert (await Stream.open(api.port, ended, after=last)).status == 204
    # Then the one place is free
    assert api.metric("streams") == 0
    assert (await Stream.open(api.port, job_id)).status == 200
