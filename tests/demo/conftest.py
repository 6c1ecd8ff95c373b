"""A demo provider for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from demo_client import Provider, start, stop


@pytest.fixture(scope="session")
def provider_url() -> Iterator[str]:
    process = start()
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    _, complaints = stop(process)
    assert complaints == ""


@pytest.fixture
async def provider(provider_url: str) -> AsyncIterator[Provider]:
    """A provider that remembers nothing of earlier tests."""
    async with httpx.AsyncClient(base_url=provider_url, timeout=5, verify=False) as http:
        await http.post("/reset")
        yield Provider(provider_url, http)
