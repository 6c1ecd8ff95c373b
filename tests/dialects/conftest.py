"""OpenAI's own clients, pointed at the shared installation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from installation import Installation
from openai import AsyncOpenAI, OpenAI


@pytest.fixture
def client(shared_installation: Installation) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{shared_installation.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
async def aclient(shared_installation: Installation) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{shared_installation.url}/v1", api_key="none", max_retries=0) as made:
        yield made
