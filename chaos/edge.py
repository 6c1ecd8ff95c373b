"""The APIs as clients meet them: any may be away, every answer is judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx

from chaos.history import Submission

#: How long a client waits for an answer: longer than the API waits for Redis, and than a freeze lasts.
ANSWER_SECONDS = 10.0

#: Between two tries of one client. Shorter than what `Retry-After` says: trouble is sought here.
AGAIN_SECONDS = 0.3

#: What a client may get besides an answer: no answer, too much work, Redis away.
REFUSALS = (0, 429, 503)


class Edge:
    """All APIs of an installation, and what their clients have met. Close it at the end."""

    def __init__(self, urls: Sequence[str], oddities: list[str]) -> None:
        #: Figures: how often something was done.
        self.counts: Counter[str] = Counter()
        #: Nobody tries anything again.
        self.is_over = False
        self._urls = urls
        self._oddities = oddities
        self.http = httpx.AsyncClient(
            timeout=ANSWER_SECONDS,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self.http.aclose()

    def url(self, path: str, api: int) -> str:
        """A path at one of the APIs; their numbers go round."""
        return self._urls[api % len(self._urls)] + path

    async def ask(
        self,
        method: str,
        path: str,
        api: int,
        *,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """One request to one API: the status and the JSON. 0: no answer came."""
        try:
            answer = await self.http.request(method, self.url(path, api), json=body, headers=headers)
            is_json = "json" in answer.headers.get("content-type", "")
            return answer.status_code, answer.json() if is_json else None
        except httpx.TransportError:
            self.counts["requests without an answer"] += 1
            return 0, None

    def judge(self, what: str, submission: Submission, status: int, *expected: int) -> None:
        """Write down an answer that nobody should get. What somebody wants to delete may be gone."""
        gone = (404, 410) if submission.delete_asked else ()
        if status not in (*expected, *REFUSALS, *gone):
            self._oddities.append(f"{what} of {submission.name} was answered {status}")
