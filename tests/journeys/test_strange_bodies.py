"""Whatever a stranger submits: it is refused in the protocol's way, or it runs."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from installation import Wire

# A good request with parts replaced by anything, or anything at all.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "seed",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "metadata",
        "on_interruption",
        "reasoning_effort",
        "verbosity",
    ]
)
CHAT_FIELDS = [
    "stream",
    "stream_options",
    "n",
    "modalities",
    "store",
    "user",
    "on_disconnect",
    "service_tier",
]
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"])},
        optional={
            "content": st.text() | ANYTHING,
            "tool_call_id": st.text(),
            "name": st.text(),
            "refusal": st.text(),
        },
    ),
    max_size=3,
)
BODIES = ANYTHING | st.builds(
    lambda base, changes: base | changes,
    st.fixed_dictionaries({"model": st.sampled_from(["quick", "nope"]), "messages": MESSAGES}),
    st.dictionaries(FIELDS, ANYTHING, max_size=3),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
async def test_no_body_makes_an_error_of_ours_or_a_job_that_can_not_run(wire: Wire, body: Any) -> None:
    # Given any JSON at all; When it is submitted
    answer = await wire.http.post("/v1/jobs", json=body)
    # Then it is refused in the protocol's way, or it is a job, and then it runs to its end
    assert answer.status_code in (202, 400, 422), answer.text
    if answer.status_code == 202:
        assert (await wire.ended(answer.json()["id"]))["status"] == "completed"
    else:
        assert answer.json()["code"] in ("invalid_request", "invalid_json", "unknown_model")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, ours=st.dictionaries(st.sampled_from(CHAT_FIELDS), ANYTHING, max_size=2))
async def test_no_body_makes_an_error_of_ours_in_openais_words(wire: Wire, body: Any, ours: Any) -> None:
    # Given any JSON at all; When it is submitted as OpenAI's clients do
    body = body | ours if isinstance(body, dict) else body
    answer = await wire.http.post("/v1/chat/completions", json=body)
    # Then it is refused with a sentence, or answered
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["code"] in ("invalid_request", "invalid_json", "model_not_found")
        assert error["message"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
async def test_no_bytes_make_an_error_of_ours(wire: Wire, body: bytes) -> None:
    # Given any bytes; When they are submitted; Then they are refused in the protocol's way
    answer = await wire.http.post("/v1/jobs", content=body)
    assert answer.status_code in (400, 422)
