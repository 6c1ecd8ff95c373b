"""What a client may ask for: an allowlist of OpenAI-style chat parameters plus three fields of ours.

Everything else is refused by name. An unknown field that reached litellm would reach the provider's
body or, like `api_base`, choose where the worker connects to.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

# OpenAI's own limits (API reference, "Create chat completion"), where it states one.
Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
NonEmpty = Annotated[str, StringConstraints(min_length=1)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]

#: How deep a schema may be nested: OpenAI allows 10, JSON encoders give up at about 250.
DEEPEST = 64

_IMAGE = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,(.+)", re.ASCII | re.DOTALL)
_WEB = re.compile(r"https?://[^\s]+", re.ASCII)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    return text


def _shallow(value: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, dict | list)
        ]
        if not level:
            return value
    raise ValueError(f"must not be nested deeper than {DEEPEST} levels")


#: A JSON Schema, passed on as it is.
Schema = Annotated[dict[str, Any], AfterValidator(_shallow)]


class TextPart(_Model):
    type: Literal["text"]
    text: str


class RefusalPart(_Model):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(_Model):
    url: str
    detail: Literal["auto", "low", "high"] | None = None

    @field_validator("url")
    @classmethod
    def _data_or_web(cls, url: str) -> str:
        if match := _IMAGE.fullmatch(url):
            _base64(match[1])
        elif not _WEB.fullmatch(url):
            raise ValueError("must be a data:image/…;base64,… URI")
        return url


class ImagePart(_Model):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(_Model):
    data: NonEmpty
    format: Literal["wav", "mp3"]

    _check = field_validator("data")(_base64)


class AudioPart(_Model):
    type: Literal["input_audio"]
    input_audio: InputAudio


class File(_Model):
    """A file by value. `file_id` is not accepted: it names things in the operator's provider account."""

    file_data: NonEmpty
    filename: NonEmpty | None = None


class FilePart(_Model):
    type: Literal["file"]
    file: File


def _content_shape(value: Any) -> str:
    return "parts" if isinstance(value, list) else "text"


_Text = Annotated[str, Tag("text")]
_TextParts = Annotated[list[TextPart], Field(min_length=1), Tag("parts")]
TextContent = Annotated[_Text | _TextParts, Discriminator(_content_shape)]

_UserPart = Annotated[TextPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")]
_UserParts = Annotated[list[_UserPart], Field(min_length=1), Tag("parts")]
UserContent = Annotated[_Text | _UserParts, Discriminator(_content_shape)]

_AssistantPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
_AssistantParts = Annotated[list[_AssistantPart], Field(min_length=1), Tag("parts")]
AssistantContent = Annotated[_Text | _AssistantParts, Discriminator(_content_shape)]


class SystemMessage(_Model):
    role: Literal["system"]
    content: TextContent
    name: Name | None = None


class DeveloperMessage(_Model):
    role: Literal["developer"]
    content: TextContent
    name: Name | None = None


class UserMessage(_Model):
    role: Literal["user"]
    content: UserContent
    name: Name | None = None


class CalledFunction(_Model):
    name: NonEmpty
    arguments: str


class CalledTool(_Model):
    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(_Model):
    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    name: Name | None = None
    tool_calls: Annotated[list[CalledTool], Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> AssistantMessage:
        if self.content is None and self.tool_calls is None and self.refusal is None:
            raise ValueError("an assistant message needs content, a refusal or tool_calls")
        return self


class ToolMessage(_Model):
    role: Literal["tool"]
    content: TextContent
    tool_call_id: NonEmpty


Message = Annotated[
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage,
    Field(discriminator="role"),
]


class FunctionDefinition(_Model):
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(_Model):
    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(_Model):
    name: Name


class ChosenTool(_Model):
    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(_Model):
    name: Name
    description: str | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class TextFormat(_Model):
    type: Literal["text"]


class JsonObjectFormat(_Model):
    type: Literal["json_object"]


class JsonSchemaFormat(_Model):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


def _choice_shape(value: Any) -> str:
    # Asked of what came in, and again of what it became when it is written out.
    return "tool" if isinstance(value, dict | ChosenTool) else "mode"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")] | Annotated[ChosenTool, Tag("tool")],
    Discriminator(_choice_shape),
]


def _stop_shape(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


Stop = Annotated[
    Annotated[NonEmpty, Tag("one")]
    | Annotated[list[NonEmpty], Field(min_length=1, max_length=4), Tag("many")],
    Discriminator(_stop_shape),
]


class ChatRequest(_Model):
    """One job's request, immutable. Fields with None were not given, or given as null."""

    model: NonEmpty
    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    stop: Stop | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=1024)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None

    #: Ours, never sent to the provider.
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    on_interruption: Literal["restart", "fail"] = "restart"

    @field_validator("top_logprobs")
    @classmethod
    def _needs_logprobs(cls, value: int | None, info: Any) -> int | None:
        if value is not None and not info.data.get("logprobs"):
            raise ValueError("needs logprobs: true")
        return value

    @field_validator("tool_choice")
    @classmethod
    def _names_a_tool(cls, choice: Any, info: Any) -> Any:
        if "tools" not in info.data or choice is None:
            return choice
        names = [tool.function.name for tool in info.data["tools"] or ()]
        if not names and choice != "none":
            raise ValueError("needs tools")
        if isinstance(choice, ChosenTool) and choice.function.name not in names:
            raise ValueError("names a function that is not among the tools")
        return choice

    @field_validator("parallel_tool_calls")
    @classmethod
    def _needs_tools(cls, value: bool | None, info: Any) -> bool | None:
        if value is not None and info.data.get("tools", ()) is None:
            raise ValueError("needs tools")
        return value

    def image_urls(self) -> list[tuple[int, int]]:
        """Where the request wants an image fetched from the web: (message, part) of each."""
        return [
            (m, p)
            for m, message in enumerate(self.messages)
            if isinstance(message, UserMessage) and isinstance(message.content, list)
            for p, part in enumerate(message.content)
            if isinstance(part, ImagePart) and _WEB.fullmatch(part.image_url.url)
        ]

    def to_call(self) -> dict[str, Any]:
        """The chat parameters alone, as plain JSON values: what a worker gives to the model."""
        return self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude={"metadata", "on_interruption"}
        )
