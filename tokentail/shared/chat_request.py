"""What a client may ask for: an allowlist of OpenAI-style chat parameters plus two fields of ours.

Everything else is refused by name. An unknown field that reached litellm would reach the provider's
body or, like `api_base`, choose where the worker connects to.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, field_validator

from tokentail.shared.messages import ImagePart, Message, Name, NonEmpty, Strict, UserMessage

# OpenAI's own limits, as in messages.py.
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Bias = Annotated[float, Field(ge=-100, le=100)]
TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,9}$")]

#: How deep a schema may be nested: OpenAI allows 10, JSON encoders give up at about 250.
DEEPEST = 64

#: The fields that are ours: kept with the job, never sent to the provider.
OURS = frozenset({"metadata", "on_interruption"})


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


class FunctionDefinition(Strict):
    name: Name
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: FunctionDefinition


class ChosenFunction(Strict):
    name: Name


class ChosenTool(Strict):
    type: Literal["function"]
    function: ChosenFunction


class JsonSchema(Strict):
    name: Name
    description: str | None = None
    schema_: Annotated[Schema, Field(alias="schema")]
    strict: bool | None = None


class TextFormat(Strict):
    type: Literal["text"]


class JsonObjectFormat(Strict):
    type: Literal["json_object"]


class JsonSchemaFormat(Strict):
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


class ChatRequest(Strict):
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

    # OURS
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
            if isinstance(part, ImagePart) and part.image_url.is_from_the_web
        ]

    def to_call(self) -> dict[str, Any]:
        """The chat parameters alone, as plain JSON values: what a worker gives to the model."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(OURS))
