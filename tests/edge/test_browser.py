"""A real browser's EventSource, which knows nothing of tokentail."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from given import eventually
from installation import Installation, Wire
from processes import PATIENCE_SECONDS
from same_origin import SameOrigin

from tokentail.stack.redis_server import RedisServer

PAGE = Path(__file__).with_name("follows.html")
SCENARIOS = {"gated": "wait?gate=g&after=5&tokens=30"}


@pytest.fixture
def chromium() -> str:
    """The browser; where there is none the test is skipped, but not in CI."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        message = "needs Chromium (Debian: apt-get install chromium)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


@pytest.fixture
def installation(new_redis_server: Callable[..., RedisServer]) -> Iterator[Installation]:
    made = Installation(new_redis_server(), SCENARIOS)
    made.start_worker()
    yield made
    made.close()


@contextmanager
def browsing(chromium: str, profile: Path, url: str) -> Iterator[None]:
    """A browser without a window, at this address."""
    options = [
        "--headless=new",
        # Root has no sandbox, and containers have little shared memory.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        # It asks nobody for anything but our page.
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-extensions",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
    ]
    with (profile / "output").open("wb") as output:
        browser = subprocess.Popen(
            [chromium, *options, url], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield
        finally:
            browser.terminate()
            try:
                browser.wait(PATIENCE_SECONDS)
            finally:
                browser.kill()


@asynccontextmanager
async def page_of(job_id: str, installation: Installation) -> AsyncIterator[tuple[SameOrigin, str]]:
    """A server with a page that follows the job, and its address."""
    page = PAGE.read_bytes().replace(b"JOB_ID", job_id.encode())
    origin = SameOrigin(page, lambda: installation.url)
    server = await origin.serve()
    host, port = server.sockets[0].getsockname()
    try:
        yield origin, f"http://{host}:{port}/"
    finally:
        server.close()


async def test_it_survives_restarts_of_the_api_sees_every_token_once_and_stops_for_good(
    chromium: str, installation: Installation, tmp_path: Path
) -> None:
    wire = Wire(installation.url, installation.provider_url)
    # Given a generation that waits in its middle, and a page that follows it
    job_id = await wire.submit("gated")
    async with page_of(job_id, installation) as (origin, url):

        def told(*types: str) -> list[dict]:  # type: ignore[type-arg]
            return [report for report in origin.reports if report["type"] in types]

        with browsing(chromium, tmp_path, url):
            await eventually(lambda: len(told("delta")) == 5, within=PATIENCE_SECONDS)
            newest = origin.reports[-1]["id"]
            # When the API behind it is killed, and another one is told to stop
            for restarts, stop in enumerate(("kill", "terminate"), 1):
                getattr(installation.api.process, stop)()
                installation.api.wait()
                await eventually(lambda count=restarts: len(told("reconnecting")) >= count)  # type: ignore[misc]
                installation.api = installation.start_api()
                # Then the browser comes back by itself, and says what it has
                await eventually(lambda count=restarts + 1: len(told("open")) == count)  # type: ignore[misc]
                assert origin.asked[-1].cursor == newest
            # And goes on to the ending when the model does
            await wire.open_gate("g")
            await eventually(lambda: told("completed"))
            # And stops for good when it has asked what comes behind that
            await eventually(lambda: told("still closed"), within=PATIENCE_SECONDS)
        assert (origin.asked[-1].cursor, origin.asked[-1].status) == (told("completed")[0]["id"], 204)
        assert [asked.status for asked in origin.asked].count(204) == 1
        # And it was told the log, each event once
        now = Wire(installation.url, installation.provider_url)
        seen = (await now.follow(job_id)).events
        assert [(report["id"], report["data"]) for report in origin.reports if "id" in report] == seen
        assert len(told("delta")) == len([event for _, event in seen if event["type"] == "delta"]) >= 30
    await wire.aclose()
    await now.aclose()
