"""A submit's body is a chat request, or every fault of it is named."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from tokentail.api import submission
from tokentail.api.problems import Problem
from tokentail.shared.models import ModelList

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG").decode()
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
MODELS = ModelList.load(ModelList.demo_path())

#: A request that uses every field once.
FULL: dict[str, Any] = {
    "model": "demo",
    "messages": [
        {"role": "system", "content": "Be kind.", "name": "rules"},
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_data": "AAAA", "filename": "a.pdf"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
    ],
    "temperature": 0.5,
    "top_p": 1,
    "max_tokens": 10,
    "max_completion_tokens": 10,
    "stop": ["a", "b"],
    "seed": -5,
    "presence_penalty": -2,
    "frequency_penalty": 2,
    "logit_bias": {"5": -100, "6": 0.5},
    "logprobs": True,
    "top_logprobs": 20,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "tools": [TOOL],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "verbosity": "high",
    "metadata": {"user": "7"},
    "on_interruption": "fail",
}


def parse(body: Any, models: ModelList = MODELS) -> Any:
    return submission.parse(body if isinstance(body, bytes) else orjson.dumps(body), models)


def refused(body: Any, models: ModelList = MODELS) -> Problem:
    with pytest.raises(Problem) as caught:
        parse(body, models)
    assert 400 <= caught.value.status < 500
    orjson.dumps(caught.value.body)
    return caught.value


def pointers(problem: Problem) -> list[str]:
    return [error["pointer"] for error in problem.body["errors"]]


def at(path: str, value: Any) -> dict[str, Any]:
    """The full request with one place changed; `...` removes it."""
    body: Any = copy.deepcopy(FULL)
    *steps, last = path.strip("/").split("/")
    place = body
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    key: Any = int(last) if isinstance(place, list) else last
    if value is ...:
        del place[key]
    else:
        place[key] = value
    return body  # type: ignore[no-any-return]


def places(value: Any, path: str = "") -> Iterator[str]:
    """The pointer of everything in a body."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield f"{path}/{key}"
        yield from places(child, f"{path}/{key}")


def test_a_request_with_every_field_is_taken_as_it_is() -> None:
    request = parse(FULL)
    call = request.to_call()
    # Then the model gets what was sent, without what is ours and without nulls
    expected = {name: value for name, value in FULL.items() if name not in ("metadata", "on_interruption")}
    expected = copy.deepcopy(expected)
    del expected["messages"][3]["content"]
    assert call == expected
    assert (request.metadata, request.on_interruption) == ({"user": "7"}, "fail")


def test_nulls_are_the_same_as_nothing() -> None:
    small = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
    optional = set(FULL) - set(small) - {"on_interruption"}
    assert parse({**small, **dict.fromkeys(optional)}).to_call() == small


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("/model", ..., "is required"),
        ("/messages", ..., "is required"),
        ("/model", 5, "string"),
        ("/model", "", "at least 1"),
        ("/messages", [], "at least 1"),
        ("/messages", "Hello", "list"),
        ("/messages/0", "Hello", ""),
        ("/messages/0/role", "wizard", "must be one of 'system', 'developer'"),
        ("/messages/0/role", ..., "is required"),
        ("/messages/0/content", ..., "is required"),
        ("/messages/0/content", 5, ""),
        ("/messages/0/name", "a b", ""),
        ("/messages/1/content/0/text", 5, "string"),
        ("/messages/2/content", [], "at least 1"),
        ("/messages/2/content/0/type", "video", "must be one of 'text', 'image_url'"),
        ("/messages/2/content/1/image_url/url", "file:///etc/passwd", "data:image"),
        ("/messages/2/content/1/image_url/detail", "huge", ""),
        ("/messages/2/content/2/input_audio/format", "ogg", ""),
        ("/messages/2/content/2/input_audio/data", "not base64!", "base64"),
        ("/messages/2/content/3/file/file_data", "", "at least 1"),
        ("/messages/3/tool_calls/0/id", "", "at least 1"),
        ("/messages/3/tool_calls/0/function/arguments", {}, "string"),
        ("/messages/4/tool_call_id", ..., "is required"),
        ("/temperature", 2.1, "must be at most 2"),
        ("/temperature", "hot", "number"),
        ("/temperature", True, "number"),
        ("/top_p", -0.1, "must be at least 0"),
        ("/max_tokens", 0, "must be at least 1"),
        ("/max_tokens", 1.5, "must be a whole number"),
        ("/max_completion_tokens", 2**31, "must be at most"),
        ("/stop", [], "at least 1"),
        ("/stop", ["a"] * 5, "at most 4"),
        ("/stop", "", "at least 1"),
        ("/seed", 2**63, f"must be at most {2**63 - 1}"),
        ("/presence_penalty", -3, ""),
        ("/frequency_penalty", 3, ""),
        ("/logit_bias/5", 101, ""),
        ("/top_logprobs", 21, ""),
        ("/response_format/type", "xml", "must be one of 'text', 'json_object'"),
        ("/response_format/json_schema/name", "a b", ""),
        ("/response_format/json_schema/schema", ..., "is required"),
        ("/tools", [], "at least 1"),
        ("/tools/0/type", "web_search", ""),
        ("/tools/0/function/name", "a" * 65, "must match ^"),
        ("/tools/0/function/parameters", [], "must be an object"),
        ("/tool_choice", "sometimes", ""),
        ("/tool_choice/function/name", "other", "not among the tools"),
        ("/parallel_tool_calls", 1, "must be true or false"),
        ("/reasoning_effort", "extreme", "must be 'none'"),
        ("/verbosity", "silent", ""),
        ("/metadata", {"a" * 65: "x"}, "its name must have at most 64 characters"),
        ("/metadata/user", 7, "string"),
        ("/metadata/user", "x" * 513, "at most 512"),
        ("/metadata", {str(n): "x" for n in range(17)}, "at most 16"),
        ("/on_interruption", "panic", ""),
    ],
)
def test_each_fault_names_its_place(path: str, value: Any, says: str) -> None:
    problem = refused(at(path, value))
    assert (problem.status, problem.body["code"]) == (422, "invalid_request")
    (error,) = problem.body["errors"]
    # The choice is at fault as a whole when it does not fit the tools
    place = "/tool_choice" if path == "/tool_choice/function/name" else path
    assert error["pointer"].startswith(place) or (place == "/metadata" and error["pointer"] == "/metadata")
    assert says in error["message"]
    # And the sentence for people names it too, and says what it must be instead of what an "input" should
    assert error["pointer"] in problem.body["detail"]
    assert not re.search("Input|should|[Dd]ictionary|validation", error["message"])


def look(path: str) -> Any:
    place: Any = FULL
    for step in path.strip("/").split("/"):
        place = place[int(step) if isinstance(place, list) else step]
    return place


def objects() -> list[str]:
    """The pointer of every object in a request whose fields are ours to know."""
    free = ("/metadata", "/logit_bias", "/parameters", "/schema")
    return ["", *(path for path in places(FULL) if isinstance(look(path), dict) and not path.endswith(free))]


@pytest.mark.parametrize("place", objects())
def test_an_unknown_field_is_refused_wherever_it_stands(place: str) -> None:
    problem = refused(at(f"{place}/api_base", "http://169.254.169.254"))
    assert problem.body["errors"] == [{"pointer": f"{place}/api_base", "message": "is not a known field"}]


@pytest.mark.parametrize(
    "name", ["api_base", "api_key", "extra_body", "n", "stream", "user", "mock_response"]
)
def test_what_litellm_would_understand_but_we_do_not_offer_is_refused_by_name(name: str) -> None:
    problem = refused({**FULL, name: "x"})
    assert problem.body["errors"] == [{"pointer": f"/{name}", "message": "is not a known field"}]


def test_a_name_with_a_slash_is_escaped_in_its_pointer() -> None:
    assert pointers(refused({**FULL, "a/b~c": 1})) == ["/a~1b~0c"]


def test_all_faults_are_listed_up_to_a_number() -> None:
    body = {"model": 1, "messages": [{"role": "user"}], "temperature": 9, "x": 1}
    problem = refused(body)
    assert sorted(pointers(problem)) == ["/messages/0/content", "/model", "/temperature", "/x"]
    assert "and 3 more" in problem.body["detail"]
    many = refused({"model": "demo", "messages": [{"role": "user"}] * 1500})
    assert len(many.body["errors"]) == 50
    assert "and 1499 more" in many.body["detail"]


def test_a_flag_of_the_wrong_type_is_refused() -> None:
    (error,) = refused({**FULL, "logprobs": "yes", "top_logprobs": None}).body["errors"]
    assert (error["pointer"], error["message"]) == ("/logprobs", "must be true or false")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"logprobs": None}, "/top_logprobs"),
        ({"tools": None, "tool_choice": "auto", "parallel_tool_calls": None}, "/tool_choice"),
        ({"tools": None, "tool_choice": "none", "parallel_tool_calls": True}, "/parallel_tool_calls"),
    ],
)
def test_fields_that_need_another_say_so(fields: dict[str, Any], pointer: str) -> None:
    (error,) = refused({**FULL, **fields}).body["errors"]
    assert error["pointer"] == pointer
    assert error["message"].startswith("needs")


def test_an_assistant_message_says_something() -> None:
    problem = refused({**FULL, "messages": [{"role": "assistant"}]})
    assert pointers(problem) == ["/messages/0"]


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    problem = refused({**FULL, "model": "gpt-9"})
    assert (problem.status, problem.body["code"]) == (422, "unknown_model")
    assert problem.body["models"] == list(MODELS.aliases)
    assert "gpt-9" in problem.body["detail"]
    assert refused({**FULL, "model": "x" * 10_000}).body["detail"].count("x") < 200


# Images


@pytest.fixture
def web_models(tmp_path: Path) -> ModelList:
    path = tmp_path / "models.yaml"
    path.write_text(
        "model_list:\n"
        "- {model_name: demo, litellm_params: {model: openai/a}, model_info: {allow_image_urls: true}}\n"
    )
    return ModelList.load(path)


def with_image(url: Any) -> dict[str, Any]:
    return at("/messages/2/content/1/image_url/url", url)


@pytest.mark.parametrize("url", ["https://example.com/a.png", "http://10.0.0.1/"])
def test_an_image_from_the_web_needs_a_model_that_allows_it(url: str, web_models: ModelList) -> None:
    problem = refused(with_image(url))
    assert pointers(problem) == ["/messages/2/content/1/image_url/url"]
    assert "only as data: URIs" in problem.body["detail"]
    assert parse(with_image(url), web_models).image_urls() == [(2, 1)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "gopher://x",
        "//example.com/a.png",
        "javascript:alert(1)",
        "data:text/html;base64,AAAA",
        "data:image/png,AAAA",
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,AAA",
        "data:image/PNG;base64,AAAA",
        "https://",
        "https://example.com/a b",
        "https://example.com/\n",
        " https://example.com/a",
        5,
        None,
    ],
)
def test_what_is_neither_an_image_nor_on_the_web_is_refused_for_every_model(
    url: Any, web_models: ModelList
) -> None:
    for models in (MODELS, web_models):
        assert pointers(refused(with_image(url), models)) == ["/messages/2/content/1/image_url/url"]


def test_a_file_of_the_operators_provider_account_can_not_be_named() -> None:
    problem = refused(at("/messages/2/content/3/file", {"file_id": "file-1"}))
    assert "/messages/2/content/3/file/file_id" in pointers(problem)


# Bodies that are no request at all


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"NaN",
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"temperature": 1e400}',
        b'{"model": "\xff"}',
        b'{"model": "\\ud800"}',
        b"\xef\xbb\xbf{}",
        b"{'model': 'demo'}",
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_what_is_not_json_is_refused_as_such(body: bytes) -> None:
    problem = refused(body)
    assert (problem.status, problem.body["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("body", [b"null", b"1", b'"x"', b"[]", b"[[]]", b"true", b"{}", b"1e300", b"-0"])
def test_json_that_is_no_object_with_these_fields_is_refused_as_such(body: bytes) -> None:
    assert refused(body).body["code"] == "invalid_request"


@pytest.mark.parametrize("number", ["1e308", "-1e308", "1" * 30, "1" * 300, "-" + "9" * 19, "1e-400"])
@pytest.mark.parametrize("field", ["temperature", "seed", "max_tokens", "top_logprobs"])
def test_huge_numbers_are_refused_or_taken_but_break_nothing(number: str, field: str) -> None:
    body = orjson.dumps({**FULL, field: "@"}).replace(b'"@"', number.encode())
    takes(body)


def test_of_a_name_given_twice_the_last_counts() -> None:
    body = orjson.dumps(FULL).replace(b'"seed":-5', b'"seed":1,"seed":2')
    assert parse(body).seed == 2


@pytest.mark.parametrize("depth", [10, 63, 64, 65, 100, 250, 260, 500, 1000])
@pytest.mark.parametrize("place", ["/tools/0/function/parameters", "/response_format/json_schema/schema"])
def test_a_deep_schema_is_taken_or_refused_but_never_stored_and_then_unusable(place: str, depth: int) -> None:
    nested: Any = {}
    for level in range(depth):
        nested = {"a": nested} if level % 2 else {"a": [nested]}
    raw = orjson.dumps(at(place, "@")).replace(b'"@"', dumped(nested))
    takes(raw)


def dumped(value: Any) -> bytes:
    """JSON as deep as one likes."""
    text = ""
    close = ""
    while value:
        child = value["a"]
        if isinstance(child, list):
            text, close, value = text + '{"a":[', "]}" + close, child[0]
        else:
            text, close, value = text + '{"a":', "}" + close, child
    return (text + "{}" + close).encode()


def takes(body: bytes) -> None:
    """Whatever is sent is refused by a Problem that can be sent, or becomes a job that can run."""
    try:
        request = parse(body)
    except Problem as problem:
        orjson.dumps(problem.body)
        if not 400 <= problem.status < 500:
            raise
        return
    # As the queue stores it, and the worker reads it
    stored = orjson.dumps({"call": request.to_call(), "on_interruption": request.on_interruption})
    assert orjson.loads(stored)["call"]["model"] in MODELS
    orjson.dumps(request.metadata)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["demo", "user", "text", "function", "auto", PNG, "https://x/y"])
)
NAMES = st.sampled_from(sorted({path.rsplit("/", 1)[1] for path in places(FULL)} | {"[key]", "", "0", "a/b"}))
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


def raw(value: Any) -> bytes:
    return json.dumps(value).encode()


@given(JSON)
def test_no_json_is_anything_but_refused_or_taken(value: Any) -> None:
    takes(raw(value))


@given(st.sampled_from(sorted(places(FULL))), JSON)
def test_a_request_with_anything_anywhere_is_refused_or_taken(place: str, value: Any) -> None:
    takes(raw(at(place, value)))


@given(st.sampled_from(sorted(places(FULL))), NAMES, JSON)
def test_a_request_with_any_field_anywhere_is_refused_or_taken(place: str, name: str, value: Any) -> None:
    takes(raw(at(place, {name: value})))


@given(st.binary(max_size=40))
def test_no_bytes_are_anything_but_refused_or_taken(body: bytes) -> None:
    takes(body)


# Around the body


def request_of(*chunks: bytes, **headers: str) -> Request:
    sent = [
        {"type": "http.request", "body": chunk, "more_body": n < len(chunks) - 1}
        for n, chunk in enumerate(chunks)
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [
            (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
        ],
    }

    async def receive() -> Any:
        return sent.pop(0)

    request = Request(scope, receive)
    request.scope["left"] = sent
    return request


async def test_a_body_is_read_whole_however_it_is_cut() -> None:
    assert await submission.read_body(request_of(b"ab", b"", b"cd"), 4) == b"abcd"
    assert await submission.read_body(request_of(b""), 4) == b""


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    request = request_of(b"x", content_length="5")
    with pytest.raises(Problem) as caught:
        await submission.read_body(request, 4)
    assert (caught.value.status, caught.value.body["code"]) == (413, "too_large")
    assert len(request.scope["left"]) == 1


async def test_a_body_that_turns_out_too_large_is_read_no_further() -> None:
    request = request_of(b"ab", b"cde", b"fgh", content_length="4")
    with pytest.raises(Problem) as caught:
        await submission.read_body(request, 4)
    assert caught.value.status == 413
    assert len(request.scope["left"]) == 1


@pytest.mark.parametrize("length", ["", "-1", "abc", "9" * 5000, "\xb2"])
async def test_a_length_that_makes_no_sense_breaks_nothing(length: str) -> None:
    try:
        assert await submission.read_body(request_of(b"ab", content_length=length), 4) == b"ab"
    except Problem as problem:
        if problem.status != 413:
            raise


@pytest.mark.parametrize("key", ["a", "!" * 255, "~", "01234-abc_{}"])
def test_a_visible_idempotency_key_is_taken(key: str) -> None:
    assert submission.idempotency_key(request_of(idempotency_key=key)) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "\xe9", "a\tb", "a\x7f"])
def test_any_other_idempotency_key_is_refused_by_its_name(key: str) -> None:
    with pytest.raises(Problem) as caught:
        submission.idempotency_key(request_of(idempotency_key=key))
    assert caught.value.status == 422
    assert caught.value.body["errors"][0]["header"] == "Idempotency-Key"
    assert "Idempotency-Key" in caught.value.body["detail"]


def test_no_idempotency_key_is_none() -> None:
    assert submission.idempotency_key(request_of()) is None
