"""Models that are served by the demo provider, a process of its own, over real HTTP."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from asking import SECRET, Provider, Serve, write_list

from tokentail.shared.models import ModelList
from tokentail.worker.model import Models

_ENTRY = "import sys; from tokentail.demo.provider import run; sys.exit(run('127.0.0.1', 0))"


@pytest.fixture(scope="session")
def provider_process() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", _ENTRY], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1]
    process.terminate()
    process.communicate(timeout=10)


@pytest_asyncio.fixture(loop_scope="session")
async def provider(provider_process: str) -> AsyncIterator[Provider]:
    """A provider that remembers nothing of earlier tests."""
    async with httpx.AsyncClient(base_url=provider_process, timeout=5, verify=False) as http:
        await http.post("/reset")
        yield Provider(provider_process, http)


@pytest_asyncio.fixture(loop_scope="session", scope="session", autouse=True)
async def _close_connections() -> AsyncIterator[None]:
    yield
    await Models(ModelList(()), {}).aclose()


@pytest.fixture
def serve(provider: Provider, tmp_path: Path) -> Serve:
    """Makes Models with one alias, `it`: a deployment for each scenario given, in their order.

    Keyword arguments go to `litellm_params`, `info` to `model_info`.
    """

    def make(*scenarios: str, info: dict[str, Any] | None = None, **params: Any) -> Models:
        fixed = {"api_base": "os.environ/PROVIDER", "api_key": "os.environ/KEY"}
        entries = [
            {
                "model_name": "it",
                "litellm_params": {"model": f"openai/{scenario}", **fixed, **params},
                "model_info": info or {},
            }
            for scenario in scenarios
        ]
        return Models(write_list(tmp_path, entries), {"PROVIDER": f"{provider.url}/v1", "KEY": SECRET})

    return make
