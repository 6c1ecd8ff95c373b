"""What comes out of each kind of answer, over real HTTP."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from asking import SECRET, Provider, Serve, ask, asked

from tokentail.shared.errors import ModelError

# litellm keeps connections for the whole process: one event loop for all tests, as in a worker.
pytestmark = pytest.mark.asyncio(loop_scope="session")

_WEATHER = {"name": "weather", "arguments": '{"city":"Paris","unit":"celsius"}'}
_CLOCK = {"name": "clock", "arguments": '{"zone":"Europe/Paris"}'}


async def test_one_chunk_of_the_model_is_one_delta(serve: Serve, provider: Provider) -> None:
    # When an answer of 200 tokens is read,
    answer = await ask(serve("counted?tokens=200"))
    # Then there are 200 deltas with a token each, and no others.
    assert [delta["content"] for delta in answer.deltas[1:]] == [f"{number} " for number in range(199)]
    assert (await provider.last_request())["tokens"] == 200


async def test_the_end_says_why_and_what_was_used(serve: Serve) -> None:
    finish = (await ask(serve("counted?tokens=7"))).finish
    assert finish is not None
    assert finish.finish_reason == "stop"
    assert finish.usage["completion_tokens"] == 7
    assert finish.usage["source"] == "provider"


async def test_a_refusal_is_streamed_like_an_answer(serve: Serve) -> None:
    answer = await ask(serve("refusal"))
    assert answer.result["refusal"] == "I'm sorry, but I can't help with that request."
    assert answer.result["content"] is None


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_kept_apart_from_the_answer_whatever_its_name(serve: Serve, field: str) -> None:
    result = (await ask(serve(f"reasoning?field={field}"))).result
    assert result["reasoning"] == "The question is short. I should keep the answer short as well."
    assert result["content"] == "Forty-two, after some thought."


@pytest.mark.parametrize(
    "manner", ["parallel", "interleaved", "whole", "same-index", "no-index", "no-id", "repeated-name"]
)
async def test_two_tool_calls_come_out_whole_in_every_providers_manner(serve: Serve, manner: str) -> None:
    answer = await ask(serve(f"{manner}-tool-calls"))
    # Then both calls are there, each with a name, its own id and all its arguments,
    calls = answer.result["tool_calls"]
    assert [{"name": c["name"], "arguments": c["arguments"]} for c in calls] == [_WEATHER, _CLOCK]
    assert len({call["id"] for call in calls} - {""}) == 2
    # And the end says so.
    assert answer.finish is not None
    assert answer.finish.finish_reason == "tool_calls"


@pytest.mark.parametrize("scenario", ["length", "content-filter"])
async def test_an_answer_that_was_stopped_says_by_what(serve: Serve, scenario: str) -> None:
    finish = (await ask(serve(scenario))).finish
    assert finish is not None
    assert finish.finish_reason == scenario.replace("-", "_")


async def test_a_model_may_repeat_itself_as_often_as_it_likes(serve: Serve) -> None:
    assert len((await ask(serve("repeat?tokens=500"))).deltas) == 500


async def test_usage_in_a_chunk_with_an_empty_choice_counts(serve: Serve) -> None:
    finish = (await ask(serve("usage-one-choice?tokens=9"))).finish
    assert finish is not None
    assert finish.usage["completion_tokens"] == 9


async def test_usage_that_the_provider_never_gives_is_estimated_and_says_so(serve: Serve) -> None:
    finish = (await ask(serve("no-usage?tokens=9"))).finish
    assert finish is not None
    assert finish.usage["source"] == "estimated"
    assert finish.usage["completion_tokens"] >= 9
    assert finish.usage["prompt_tokens"] > 0


async def test_a_deployment_can_do_without_stream_options(serve: Serve) -> None:
    # Given a server that refuses stream_options,
    with pytest.raises(ModelError, match="stream_options"):
        await ask(serve("refuses-stream-options"))
    # When its deployment switches them off, it answers.
    answer = await ask(serve("refuses-stream-options", stream_options=None))
    assert answer.finish is not None


async def test_a_deployment_keeps_its_own_stream_options(serve: Serve, provider: Provider) -> None:
    await ask(serve("fast", stream_options={"include_usage": False}))
    assert (await provider.last_request())["parameters"]["stream_options"] == {"include_usage": False}


async def test_what_was_asked_reaches_the_provider_and_nothing_else_does(
    serve: Serve, provider: Provider
) -> None:
    # Given a request with a field that would send it elsewhere, and a deployment with notes for a router
    models = serve("fast", weight=3, rpm=10, temperature=0.9, top_p=0.5)
    await ask(models, temperature=0.1, seed=7, api_base="http://attacker.example", n=5, metadata={"a": "b"})
    # Then the provider's body has exactly what belongs there; the request wins over the deployment.
    parameters = (await provider.last_request())["parameters"]
    assert parameters == {
        "model": "fast",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.1,
        "top_p": 0.5,
        "seed": 7,
    }


EVERYTHING: dict[str, Any] = {
    "max_completion_tokens": 50,
    "stop": ["END"],
    "presence_penalty": 0.5,
    "frequency_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": {"type": "object", "properties": {}}},
    },
    "tools": [
        {
            "type": "function",
            "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "verbosity": "low",
}


@pytest.mark.parametrize("field", EVERYTHING)
async def test_every_parameter_reaches_the_provider_as_it_is(
    serve: Serve, provider: Provider, field: str
) -> None:
    # Given a deployment whose model litellm does not know to take all of them
    models = serve("fast", allowed_openai_params=["verbosity"])
    needed = ("tools",) if field in ("tool_choice", "parallel_tool_calls") else ()
    await ask(models, **{name: EVERYTHING[name] for name in (field, *needed)})
    assert (await provider.last_request())["parameters"][field] == EVERYTHING[field]


async def test_logprobs_are_passed_on(serve: Serve, provider: Provider) -> None:
    await ask(serve("fast"), logprobs=True, top_logprobs=2)
    parameters = (await provider.last_request())["parameters"]
    assert (parameters["logprobs"], parameters["top_logprobs"]) == (True, 2)


async def test_a_burst_lets_other_work_run(serve: Serve, provider: Provider) -> None:
    # Given other work, which wants its turn again and again
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    working = asyncio.create_task(work())
    # When 5,000 tokens are read that have all arrived,
    generation = serve("counted?tokens=5000").chat(asked("it"), job_id="job_1", attempt=1)
    async with aclosing(generation):
        await anext(generation.__aiter__())
        await provider.until_idle()
        turns_before = turns
        async for _ in generation:
            pass
    working.cancel()
    # Then the work has had a turn in between every few milliseconds.
    assert turns - turns_before >= 5


async def test_no_retry_happens_inside_a_call(serve: Serve, provider: Provider) -> None:
    with pytest.raises(ModelError):
        await ask(serve("error-500"))
    assert (await provider.stats())["started"] == 1


async def test_a_key_goes_to_the_provider_and_is_not_shown_in_a_repr(
    serve: Serve, provider: Provider
) -> None:
    answer = await ask(serve("fast"))
    assert (await provider.last_request())["authorized"]
    assert SECRET not in repr(answer.generation.route)
