"""The Python client: submit jobs, follow them, collect what they say. Needs httpx and orjson only."""

from tokentail.client.async_client import AsyncClient
from tokentail.client.client import Client
from tokentail.client.errors import (
    ApiError,
    ConnectionLost,
    FieldError,
    IdempotencyConflict,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    JobNotFound,
    LogExpired,
    MalformedCursor,
    NotAuthorized,
    ProtocolError,
    ServerBusy,
    ServerUnreachable,
    StreamRestarted,
    TokentailError,
)
from tokentail.client.generation import AsyncGeneration, Generation
from tokentail.client.job import Job, JobPage, Result
from tokentail.client.retries import Retries
from tokentail.client.steps import Entry
from tokentail.client.transcript import Restarted

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncGeneration",
    "Client",
    "ConnectionLost",
    "Entry",
    "FieldError",
    "Generation",
    "IdempotencyConflict",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobPage",
    "LogExpired",
    "MalformedCursor",
    "NotAuthorized",
    "ProtocolError",
    "Restarted",
    "Result",
    "Retries",
    "ServerBusy",
    "ServerUnreachable",
    "StreamRestarted",
    "TokentailError",
]
