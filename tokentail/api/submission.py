"""A submit's body and headers → a ChatRequest, or a refusal that names every fault."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from tokentail.api.problems import Problem
from tokentail.shared.chat_request import ChatRequest
from tokentail.shared.models import ModelList

Shape = TypeVar("Shape", bound=BaseModel)

#: Where jobs are submitted, method and path: in our own protocol, and in all that are spoken.
SUBMIT = ("POST", "/v1/jobs")
SUBMITS = frozenset({SUBMIT, ("POST", "/v1/chat/completions")})

_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)

#: Faults listed in one answer: a body of thousands of bad messages must not become a larger answer.
_LISTED = 50


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is known to be larger than `limit` bytes."""
    too_large = Problem(413, "too_large", f"The body is larger than {limit} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header, if there is one. Raises Problem 422."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        message = "must be 1 to 255 visible ASCII characters"
        raise _invalid([{"header": "Idempotency-Key", "message": message}])
    return key


def parse(body: bytes, models: ModelList) -> ChatRequest:
    """The request in a body. Raises Problem: 400 if it is not JSON, 422 with every fault if it is not a
    chat request, 422 `unknown_model` if that is its only fault."""
    request = validated(ChatRequest, decoded(body))
    check_model(request, models)
    return request


def decoded(body: bytes) -> Any:
    """The JSON of a body. Raises Problem 400."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "invalid_json", f"The body is not JSON: {error}.") from None


def validated(kind: type[Shape], data: Any) -> Shape:
    """What JSON stands for. Raises Problem 422 with every fault."""
    try:
        return kind.model_validate(data, strict=True)
    except ValidationError as error:
        raise _invalid(
            [_fault(problem, data) for problem in error.errors(include_url=False, include_input=False)]
        ) from None


def check_model(request: ChatRequest, models: ModelList) -> None:
    """Raises Problem 422 if its model is none of these, or does not take what the request holds."""
    if request.model not in models:
        known = list(models.aliases)
        detail = f"/model: {request.model[:100]!r} is not one of this server's models: {', '.join(known)}."
        pointer = {"pointer": "/model", "message": "is not one of this server's models"}
        raise Problem(422, "unknown_model", detail, errors=[pointer], models=known)
    if not models.allows_image_urls(request.model) and (places := request.image_urls()):
        message = f"{request.model} takes images only as data: URIs"
        raise _invalid(
            [{"pointer": f"/messages/{m}/content/{p}/image_url/url", "message": message} for m, p in places]
        )


def _invalid(errors: list[dict[str, str]]) -> Problem:
    first = errors[0]
    place = first.get("pointer") or first.get("header") or first.get("parameter") or "the body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    detail = f"{place}: {first['message']}{more}."
    return Problem(422, "invalid_request", detail, errors=errors[:_LISTED])


def invalid_parameter(name: str, message: str) -> Problem:
    """A query parameter that can't be read."""
    return _invalid([{"parameter": name, "message": message}])


def _fault(problem: Any, data: Any) -> dict[str, str]:
    kind, loc = problem["type"], problem["loc"]
    message = _message(problem)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        # pydantic blames the whole object for the field that says what kind of object it is.
        loc = (*loc, problem["ctx"]["discriminator"].strip("'"))
        message = (
            f"must be one of {expected}" if (expected := problem["ctx"].get("expected_tags")) else message
        )
    return {"pointer": _pointer(loc, data, kind), "message": message}


def _message(problem: Any) -> str:
    """What is wrong, to go on behind the name of a field; in pydantic's words where we have none."""
    limits = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in problem.get("ctx", {}).items()
    }
    plural = "" if 1 in (limits.get("min_length"), limits.get("max_length")) else "s"
    template = _MESSAGES.get(problem["type"])
    message = (
        template.format(**limits, s=plural) if template else problem["msg"].removeprefix("Value error, ")
    )
    # pydantic's sign that it is not the value in this place that is wrong, but what the place is called.
    return f"its name {message}" if problem["loc"][-1:] == ("[key]",) else message


#: pydantic's kinds of faults. Its own words speak of inputs and dictionaries.
_MESSAGES = {
    "missing": "is required",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "literal_error": "must be {expected}",
    "less_than_equal": "must be at most {le}",
    "greater_than_equal": "must be at least {ge}",
    "too_short": "must have at least {min_length} item{s}",
    "too_long": "must have at most {max_length} item{s}",
    "string_too_short": "must have at least {min_length} character{s}",
    "string_too_long": "must have at most {max_length} character{s}",
    "string_pattern_mismatch": "must match {pattern}",
    "union_tag_not_found": "is required",
    "extra_forbidden": "is not a known field",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _pointer(loc: tuple[int | str, ...], data: Any, kind: str) -> str:
    """A JSON pointer from pydantic's path, which also holds the names of union members on its way."""
    is_absent = kind in ("missing", "union_tag_not_found")
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in _way(loc, data, is_absent))
    return "".join(f"/{step}" for step in steps)


def _way(loc: tuple[int | str, ...], data: Any, is_absent: bool) -> tuple[int | str, ...]:
    """The steps of a path that lead through the body, to its last step if possible (`is_absent`: that is
    what is missing). A union's member may be named like a field, so what leads somewhere may be no step."""
    if not loc:
        return ()
    step, rest = loc[0], loc[1:]
    way: tuple[int | str, ...] = ()
    if _leads(step, data):
        way = (step, *_way(rest, data[step], is_absent))
    elif is_absent and not rest:
        way = (step,)
    if way and way[-1] == loc[-1]:
        return way
    return max(way, _way(rest, data, is_absent), key=lambda way: (way[-1:] == loc[-1:], len(way)))


def _leads(step: int | str, data: Any) -> bool:
    if isinstance(data, dict):
        return step in data
    return isinstance(data, list) and isinstance(step, int) and step < len(data)
