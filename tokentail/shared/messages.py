"""The messages of a chat request: the allowlist of roles, of content parts, and of what they may hold."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any, Literal

from pydantic import (
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

_IMAGE = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,(.+)", re.ASCII | re.DOTALL)
_WEB = re.compile(r"https?://[^\s]+", re.ASCII)


class Strict(BaseModel):
    """Nothing unknown, nothing converted, nothing changed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64") from None
    return text


class TextPart(Strict):
    type: Literal["text"]
    text: str


class RefusalPart(Strict):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Strict):
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

    @property
    def is_from_the_web(self) -> bool:
        """Whether somebody would have to fetch it."""
        return _WEB.fullmatch(self.url) is not None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class InputAudio(Strict):
    data: NonEmpty
    format: Literal["wav", "mp3"]

    _check = field_validator("data")(_base64)


class AudioPart(Strict):
    type: Literal["input_audio"]
    input_audio: InputAudio


class File(Strict):
    """A file by value. `file_id` is not accepted: it names things in the operator's provider account."""

    file_data: NonEmpty
    filename: NonEmpty | None = None


class FilePart(Strict):
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


class SystemMessage(Strict):
    role: Literal["system"]
    content: TextContent
    name: Name | None = None


class DeveloperMessage(Strict):
    role: Literal["developer"]
    content: TextContent
    name: Name | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: UserContent
    name: Name | None = None


class CalledFunction(Strict):
    name: NonEmpty
    arguments: str


class CalledTool(Strict):
    id: NonEmpty
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(Strict):
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


class ToolMessage(Strict):
    role: Literal["tool"]
    content: TextContent
    tool_call_id: NonEmpty


Message = Annotated[
    SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage,
    Field(discriminator="role"),
]
