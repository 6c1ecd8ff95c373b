"""Followers: what one sees does not depend on when it came, how often it dropped, or who else follows."""

from __future__ import annotations

import asyncio
import random

from installation import Seen, Wire


async def stubborn_follower(wire: Wire, job_id: str, seed: int) -> Seen:
    """Joins at a random time, drops at random entries, and comes back with its last id."""
    chance = random.Random(seed)
    await asyncio.sleep(chance.uniform(0, 1.2))  # When it joins is what this is about; nothing waits for it.
    seen = Seen()
    while not seen.endings:
        last = seen.ids[-1] if seen.events else None
        part = await wire.follow(job_id, last, most=chance.randint(1, 40))
        seen.events += part.events
    return seen


async def test_fifty_followers_that_drop_and_resume_see_what_one_that_never_dropped_sees(wire: Wire) -> None:
    # Given a generation of about two seconds, and a reader that never drops
    job_id = await wire.submit("steady")
    steady = asyncio.create_task(wire.follow(job_id))
    # When fifty others join at random times and drop at random entries
    followers = await asyncio.gather(*(stubborn_follower(wire, job_id, seed) for seed in range(50)))
    # Then all of them have the reader's list, entry by entry
    expected = (await steady).events
    assert len(expected) == 152
    assert all(follower.events == expected for follower in followers)


async def test_resuming_from_every_cursor_gives_the_rest_of_the_full_read(wire: Wire) -> None:
    # Given a log that has ended
    job_id = await wire.submit("quick")
    await wire.ended(job_id)
    full = await wire.follow(job_id)
    # When somebody resumes from each of its entries; Then they get exactly what comes after it
    for seen, cursor in enumerate(full.ids, start=1):
        assert (await wire.follow(job_id, cursor)).events == full.events[seen:]


async def test_ids_count_up_without_a_gap(wire: Wire) -> None:
    # Given a generation; When it is read
    full = await wire.follow(await wire.submit("quick"))
    # Then within its one fence the second half counts from zero
    halves = [str(event_id).split("-") for event_id in full.ids]
    assert {fence for fence, _ in halves} == {halves[0][0]}
    assert [int(seq) for _, seq in halves] == list(range(len(halves)))


async def test_one_model_chunk_is_one_delta(wire: Wire) -> None:
    # Given a provider that numbers its tokens; When a job has ended
    job_id = await wire.submit("quick")
    full = await wire.follow(job_id)
    # Then each token stands in an entry of its own, and the stored result is their text
    tokens = [event["content"] for _, event in full.events if event["type"] == "delta"]
    assert tokens[1:] == [f"{number} " for number in range(39)]
    assert (await wire.job(job_id))["result"]["content"] == "".join(tokens)


async def test_a_follower_of_an_ended_job_gets_it_all_and_is_let_go(wire: Wire) -> None:
    # Given a job that has ended
    job_id = await wire.submit("quick")
    await wire.ended(job_id)
    # When somebody follows it; Then the stream replays and ends by itself
    seen = await wire.follow(job_id)
    assert seen.types[0] == "attempt"
    assert seen.types[-1] == "completed"


async def test_a_follower_at_the_ending_is_told_to_stop_for_good(wire: Wire) -> None:
    # Given the ending's cursor
    job_id = await wire.submit("quick")
    ending = (await wire.ended(job_id))["cursor"]
    # When a browser comes back with it
    answer = await wire.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": ending})
    # Then 204, which stops an EventSource
    assert (answer.status_code, answer.content) == (204, b"")


async def test_a_cursor_that_is_none_is_refused(wire: Wire) -> None:
    # Given a job
    job_id = await wire.submit("quick")
    for cursor in ("x", "1", "1-", "-1", "1-2-3", "01-2", "1-99999999999999999999", "\uff11-2"):
        # When somebody follows it from what is no cursor
        answer = await wire.http.get(f"/v1/jobs/{job_id}/events", params={"after": cursor})
        # Then 400 with the protocol's code
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_a_cursor_the_log_can_not_prove_gives_reset_and_everything(wire: Wire) -> None:
    # Given an ended job
    job_id = await wire.submit("quick")
    await wire.ended(job_id)
    full = await wire.follow(job_id)
    fence = str(full.ids[0]).split("-")[0]
    for cursor in ("5-5", f"{fence}-9999", f"{int(fence) + 1}-0"):
        # When somebody resumes from an unknown fence or from beyond the end
        seen = await wire.follow(job_id, cursor)
        # Then it is told to forget, and gets the log from its start
        assert seen.events[0][1] == {"type": "reset", "requested": cursor}
        assert seen.events[1:] == full.events


async def test_a_cursor_beyond_the_end_of_a_running_log_is_reset_at_once(wire: Wire) -> None:
    # Given a job whose model waits in mid-answer
    job_id = await wire.submit("hang")
    first = await wire.follow(job_id, most=3)
    # When somebody comes with a cursor from a future that the log doesn't have
    fence = str(first.ids[0]).split("-")[0]
    seen = await wire.follow(job_id, f"{fence}-500", most=3)
    # Then it does not wait for that entry to come true
    assert seen.types[0] == "reset"
    assert seen.events[1:] == first.events[:2]
    await wire.http.post(f"/v1/jobs/{job_id}/cancel")


async def test_the_header_wins_over_the_query_which_a_browser_never_updates(wire: Wire) -> None:
    # Given an ended job and two of its cursors
    job_id = await wire.submit("quick")
    await wire.ended(job_id)
    full = await wire.follow(job_id)
    old, new = full.ids[3], full.ids[20]
    for name in ("after", "last_event_id", "lastEventId"):
        # When both are sent; Then the newer one in the header counts
        path = f"/v1/jobs/{job_id}/events?{name}={old}"
        with_header = await wire.http.get(path, headers={"Last-Event-ID": str(new)})
        assert f"id: {full.ids[21]}\n" in with_header.text
        assert f"id: {full.ids[20]}\n" not in with_header.text
        # And the query alone counts too
        assert f"id: {full.ids[4]}\n" in (await wire.http.get(path)).text


async def test_get_then_follow_from_its_cursor_misses_and_repeats_nothing(wire: Wire) -> None:
    # Given a job in mid-answer
    job_id = await wire.submit("steady")
    await wire.follow(job_id, most=30)
    # When somebody reads it and follows from the cursor that came with it
    job = await wire.job(job_id)
    rest = await wire.follow(job_id, job["cursor"])
    # Then result and rest together are the whole text
    final = await wire.ended(job_id)
    assert job["status"] == "running"
    assert job["result"]["content"] + rest.text == final["result"]["content"]
