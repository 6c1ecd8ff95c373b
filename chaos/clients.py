"""Everybody who wants something of one run's jobs: submits, reads, cancels and deletes, by the plan."""

from __future__ import annotations

import asyncio

from chaos.edge import AGAIN_SECONDS, REFUSALS, Edge
from chaos.following import Stream
from chaos.history import History, Job, Submission
from chaos.plan import Plan, Wish

_ACCEPTED = (200, 202)


class Clients:
    """All clients of one run; what they do and get goes into the history."""

    def __init__(self, edge: Edge, history: History) -> None:
        self._edge = edge
        self._history = history

    async def run(self, plan: Plan) -> None:
        """Carry out all wishes, to the end of each follower, or until the edge is over."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for wish in plan.wishes:
                group.create_task(self._wish(plan.seed, wish, began + wish.at))

    async def _wish(self, seed: int, wish: Wish, when: float) -> None:
        await asyncio.sleep(max(0.0, when - asyncio.get_running_loop().time()))
        name = f"{seed}-{wish.number}"
        submission = Submission(
            name,
            # No other run's: the provider might still be asked for one of those.
            number=seed * 1000 + wish.number,
            model=wish.model,
            on_interruption=wish.on_interruption,
            idempotency_key=name if wish.is_keyed else None,
        )
        self._history.submissions.append(submission)
        job_id = await self._submit(wish, submission)
        if job_id is None:
            return  # Whether there is a job, its client can't know; the end will show.
        job = self._history.jobs.setdefault(job_id, Job(job_id))
        async with asyncio.TaskGroup() as group:
            for number, following in enumerate(wish.followings):
                stream = Stream(self._edge, job, submission, following)
                group.create_task(stream.follow(f"follower {number} of {name}", wish.number + number))
            for after in wish.reads:
                group.create_task(self._read(job, submission, after))
            if wish.cancel_after is not None:
                group.create_task(self._cancel(job, submission, wish.cancel_after))
            if wish.delete_after is not None:
                group.create_task(self._delete(job, submission, wish.delete_after))

    async def _submit(self, wish: Wish, submission: Submission) -> str | None:
        """With an idempotency key, until there is an answer; without one only once."""
        body = {
            "model": submission.model,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "seed": submission.number,
            "metadata": {"name": submission.name},
            "on_interruption": submission.on_interruption,
        }
        headers = {"Idempotency-Key": submission.idempotency_key} if submission.idempotency_key else {}
        times = 2 if wish.is_repeated else 1
        tries, job_id = 0, None
        while times and not self._edge.is_over:
            status, answer = await self._edge.ask(
                "POST", "/v1/jobs", wish.number + tries, body=body, headers=headers
            )
            tries += 1
            accepted = answer["id"] if status in _ACCEPTED else None
            submission.answers.append((status, accepted))
            job_id = accepted or job_id
            self._edge.counts["submits repeated"] += tries > 1
            self._edge.counts["submits without an answer"] += status == 0
            if status not in REFUSALS:
                times -= 1
            elif not wish.is_keyed:
                break
            else:
                await asyncio.sleep(AGAIN_SECONDS)
        return job_id

    async def _read(self, job: Job, submission: Submission, after: float) -> None:
        await asyncio.sleep(after)
        status, shown = await self._edge.ask("GET", f"/v1/jobs/{job.id}", 0)
        if status == 200:
            job.reads.append(shown)
        self._edge.judge("GET", submission, status, 200)

    async def _cancel(self, job: Job, submission: Submission, after: float) -> None:
        await asyncio.sleep(after)
        submission.cancel_asked = True
        self._edge.counts["cancels"] += 1
        await self._until_answered("POST", f"/v1/jobs/{job.id}/cancel", submission)

    async def _delete(self, job: Job, submission: Submission, after: float) -> None:
        await asyncio.sleep(after)
        submission.delete_asked = True
        self._edge.counts["deletes"] += 1
        # 404 after an answer that got lost: it was this client who deleted it.
        status = await self._until_answered("DELETE", f"/v1/jobs/{job.id}", submission)
        submission.deleted = status in (204, 404)

    async def _until_answered(self, method: str, path: str, submission: Submission) -> int:
        tries = submission.number
        while not self._edge.is_over:
            status, _ = await self._edge.ask(method, path, tries)
            tries += 1
            if status not in REFUSALS:
                self._edge.judge(f"{method} {path}", submission, status, 200, 202, 204)
                return status
            await asyncio.sleep(AGAIN_SECONDS)
        return 0
