"""LLM generations as durable jobs: submit once, follow from anywhere, resume after any drop."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokentail.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported on first use: a server imports this package too, and has no need of httpx.
    if name in ("AsyncClient", "Client"):
        from tokentail import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
