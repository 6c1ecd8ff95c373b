"""What a failing provider looks like to a worker, over real HTTP."""

from __future__ import annotations

import pytest
from asking import SECRET, Answer, Serve, asked, take

from tokentail.shared.errors import ModelError
from tokentail.worker.model import Models

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _failure(models: Models) -> tuple[ModelError, Answer]:
    answer = Answer(models.chat(asked("it"), job_id="job_1", attempt=1))
    with pytest.raises(ModelError) as caught:
        await take(answer)
    assert answer.finish is None
    return caught.value, answer


@pytest.mark.parametrize(
    ("scenario", "code", "retryable"),
    [
        ("rate-limited", "rate_limited", True),
        ("error-500", "provider_error", True),
        ("overloaded", "provider_error", True),
        ("bad-request", "provider_rejected", False),
        ("unauthorized", "provider_rejected", False),
        # Its 404 speaks of `rate-limited` and more: the status counts, not the words.
        ("no-such-scenario", "provider_rejected", False),
        ("error-mid-stream", "provider_error", True),
        ("cut", "provider_error", True),
        ("broken-json", "provider_error", True),
        ("truncated", "provider_truncated", True),
        ("truncated?done=0", "provider_truncated", True),
        ("truncated?after=0", "provider_truncated", True),
    ],
)
async def test_each_failure_has_its_code(serve: Serve, scenario: str, code: str, retryable: bool) -> None:
    error, _ = await _failure(serve(scenario))
    assert (error.code, error.retryable) == (code, retryable)


@pytest.mark.parametrize("scenario", ["error-mid-stream", "cut", "broken-json", "truncated"])
async def test_what_came_before_a_failure_is_kept(serve: Serve, scenario: str) -> None:
    _, answer = await _failure(serve(f"{scenario}?after=4"))
    assert len(answer.deltas) == 4
    assert answer.generation.usage_so_far()["completion_tokens"] >= 4


async def test_the_providers_wish_when_to_come_back_is_known(serve: Serve) -> None:
    error, _ = await _failure(serve("rate-limited?retry_after=7"))
    assert error.retry_after_seconds == 7


async def test_a_message_holds_neither_keys_nor_addresses(serve: Serve) -> None:
    error, _ = await _failure(serve("unauthorized"))
    assert str(error).startswith("Incorrect API key provided: ")
    for hidden in ("sk-fake", "://", "provider.example", "password", "fake-token", SECRET, "litellm"):
        assert hidden not in str(error)


async def test_an_error_carries_no_cause_that_a_logger_would_print(serve: Serve) -> None:
    error, _ = await _failure(serve("unauthorized"))
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_a_provider_that_is_not_there_can_be_asked_again_later(serve: Serve) -> None:
    error, _ = await _failure(serve("fast", api_base="http://127.0.0.1:9/v1"))
    assert (error.code, error.retryable) == ("provider_error", True)
    assert str(error) == "The connection to the provider failed."


async def test_a_provider_that_is_silent_for_too_long_can_be_asked_again_later(serve: Serve) -> None:
    error, _ = await _failure(serve("hang", timeout=0.3))
    assert (error.code, error.retryable) == ("provider_error", True)
    assert str(error) == "The provider did not answer in time."


async def test_nothing_of_a_failing_request_is_printed_or_logged(
    serve: Serve, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        await _failure(serve("unauthorized"))
        await _failure(serve("error-mid-stream"))
    assert capfd.readouterr() == ("", "")
    for hidden in ("sk-fake", SECRET, "Why is the sky blue?"):
        assert hidden not in caplog.text
