"""What an operator can measure of a running installation."""

from __future__ import annotations

import asyncio

from given import eventually
from installation import Installation, Wire
from prometheus_client.parser import text_string_to_metric_families


async def scraped(wire: Wire) -> dict[str, list[tuple[dict[str, str], float]]]:
    answer = await wire.http.get("/metrics")
    assert answer.status_code == 200
    return {
        sample.name: [(s.labels, s.value) for s in family.samples]
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_a_scrape_tells_of_workers_jobs_and_followers_at_work(install, client_of) -> None:
    # Given a worker with a job that runs, a follower of it, and a refused submission
    installation: Installation = install()
    worker = await asyncio.to_thread(installation.start_worker)
    wire: Wire = client_of(installation)
    job_id = await wire.submit("hang")
    following = asyncio.create_task(wire.follow(job_id))
    await wire.until(job_id, lambda event: event["type"] == "delta")
    assert (await wire.post("no such model")).status_code == 422

    # Then all of it is in a scrape, as soon as the other follower has gone
    async def told() -> bool:
        found = await scraped(wire)
        return (
            found["tokentail_redis_up"][0][1] == 1
            and found["tokentail_jobs_running"][0][1] == 1
            and found["tokentail_workers_alive"][0][1] == 1
            and found["tokentail_api_followers"][0][1] == 1
            and found["tokentail_api_watched_logs"][0][1] == 1
        )

    await eventually(told)
    found = await scraped(wire)
    [(labels, lag)] = found["tokentail_worker_loop_lag_seconds"]
    assert labels["worker"].split(":")[1] == str(worker.pid)
    assert 0 <= lag < 60
    [(labels, count)] = found["tokentail_api_submissions_refused_total"]
    assert labels == {"pid": str(installation.api.pid), "code": "unknown_model"}
    assert count == 1
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")
    await following
