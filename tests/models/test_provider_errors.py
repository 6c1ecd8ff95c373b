"""What a provider throws becomes one clean sentence with the right code."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentail.worker.model.door import litellm
from tokentail.worker.model.provider_errors import MESSAGE_LIMIT, clean, model_error, retry_after_seconds
from tokentail.worker.model.sse import BrokenStream

_NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2026 13:00:30 +0100", 30.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_retry_after_is_read_in_both_ways_to_write_it(written: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": written}, _NOW) == seconds


@pytest.mark.parametrize(
    ("message", "cleaned"),
    [
        ("litellm.RateLimitError: RateLimitError: OpenAIException - Slow down", "Slow down"),
        (
            "litellm.BadRequestError: AzureException BadRequestError - No",
            "AzureException BadRequestError - No",
        ),
        ("see https://user:pw@host.example/path?key=1 for more", "see [url] for more"),
        ("Cannot connect to host api.example.com:443", "Cannot connect to host [url]"),
        ("Bearer abc.def.ghi was refused", "[key] was refused"),
        ("key sk-ab***********yz is wrong", "key [key] is wrong"),
        ("key AIzaSyD-0123456789abcdefg is wrong", "key [key] is wrong"),
        ("id 0123456789abcdef0123456789abcdef", "id [key]"),
        ("an antidisestablishmentarianism-like-word", "an antidisestablishmentarianism-like-word"),
        ("two\n\nlines\tand\x00more", "two lines and more"),
        ("my own-secret here", "my [key] here"),
        ("", "The provider failed without a message."),
    ],
)
def test_a_message_is_cleaned(message: str, cleaned: str) -> None:
    assert clean(message, ["own-secret"]) == cleaned


@given(before=st.text(max_size=3000), after=st.text(max_size=3000))
def test_a_secret_of_the_deployment_never_comes_through(before: str, after: str) -> None:
    cleaned = clean(f"{before}~s3cret-of-mine~{after}", ["~s3cret-of-mine~"])
    assert "s3cret" not in cleaned.replace(before, "").replace(after, "")
    assert len(cleaned) <= MESSAGE_LIMIT


def test_a_timeout_is_told_apart_from_a_lost_connection() -> None:
    assert "in time" in str(model_error(httpx.ReadTimeout(""), ()))
    assert "connection" in str(model_error(httpx.ReadError("10.0.0.1"), ()))


def test_a_fault_of_ours_shows_its_kind_and_not_its_text() -> None:
    error = model_error(KeyError("the prompt"), ())
    assert str(error) == "The call to the provider failed (KeyError)."
    assert (error.code, error.retryable) == ("provider_error", True)


def test_the_status_that_was_sent_counts_not_what_litellm_made_of_it() -> None:
    # Given litellm's guess at a rate limit, raised while it handled a 404
    guess = litellm.RateLimitError("rate limit", llm_provider="openai", model="m")
    response = httpx.Response(404, request=httpx.Request("POST", "http://x"))
    guess.__cause__ = httpx.HTTPStatusError("", request=response.request, response=response)
    assert model_error(guess, ()).code == "provider_rejected"


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, "provider_rejected", False),
        (401, "provider_rejected", False),
        (403, "provider_rejected", False),
        (408, "provider_error", True),
        (409, "provider_rejected", False),
        (425, "provider_error", True),
        (429, "rate_limited", True),
        (500, "provider_error", True),
        (503, "provider_error", True),
    ],
)
def test_each_status_has_its_code(status: int, code: str, retryable: bool) -> None:
    error = model_error(BrokenStream("No", status), ())
    assert (error.code, error.retryable) == (code, retryable)
