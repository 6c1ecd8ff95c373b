"""Ways to break a run: its queue, its provider, and how its jobs ended."""

from __future__ import annotations

from breakages import (
    altered,
    breaks,
    deleted,
    everywhere,
    survivor,
    tool_calls,
    unlucky,
)

from chaos.history import Entry, History

# The provider


@breaks("no_connection_is_left_open", "a stream to the provider was left open")
def _(history: History) -> None:
    history.provider.open_streams = 1


@breaks("no_connection_is_left_open", "the provider still has a request in hand")
def _(history: History) -> None:
    history.provider.requests[0]["state"] = "open"


@breaks("ledger_is_complete", "the provider has forgotten requests")
def _(history: History) -> None:
    history.provider.started += 1


@breaks("every_request_is_a_jobs", "the provider was asked what nobody wanted")
def _(history: History) -> None:
    history.provider.requests[0]["parameters"] = {}


@breaks("every_request_is_a_jobs", "the provider was asked for another model")
def _(history: History) -> None:
    history.provider.requests[0]["model"] = "counted?tokens=7"


@breaks("every_request_is_a_jobs", "an attempt asked the provider twice")
def _(history: History) -> None:
    requests = history.provider.requests
    requests.append({**requests[0], "id": "f" * 12})
    history.provider.started += 1


@breaks("attempts_say_what_the_provider_said", "a token of an attempt that was given up later is missing")
def _(history: History) -> None:
    def without_a_token(entries: list[Entry]) -> list[Entry]:
        shifted = {a.id: Entry(a.id, b.event) for a, b in zip(job.log[1:3], job.log[2:4], strict=True)}
        return [shifted.get(entry.id, entry) for entry in entries if entry.id != last]

    job = survivor(history)
    last = job.log[3].id
    everywhere(job, without_a_token)


@breaks("attempts_say_what_the_provider_said", "an attempt has a token of another answer")
def _(history: History) -> None:
    log = survivor(history).log
    log[6] = altered(log[6], content="7 ")


@breaks("attempts_say_what_the_provider_said", "a tool call has lost a piece of its arguments")
def _(history: History) -> None:
    log = tool_calls(history).log
    log[3] = altered(log[3], tool_calls=[{"index": 0, "arguments": ""}])


@breaks("attempts_say_what_the_provider_said", "a job completed before its provider had finished")
def _(history: History) -> None:
    log = survivor(history).log
    log[-2:] = [Entry(log[-2].id, log[-1].event)]


@breaks("attempts_say_what_the_provider_said", "a job completed for another reason than its provider gave")
def _(history: History) -> None:
    log = survivor(history).log
    log[-1] = altered(log[-1], finish_reason="length")


@breaks("attempts_say_what_the_provider_said", "a job got the answer that was meant for another")
def _(history: History) -> None:
    history.provider.requests[0]["parameters"] = {"seed": 2}


@breaks("attempts_say_what_the_provider_said", "an attempt has more deltas than its provider has sent")
def _(history: History) -> None:
    history.provider.requests[0]["tokens"] = 1


@breaks("attempts_say_what_the_provider_said", "an attempt goes on where its provider had finished")
def _(history: History) -> None:
    log, ending = survivor(history).log, survivor(history).log[-1]
    log[-1:] = [Entry(ending.id, {"type": "delta", "content": "19 "}), Entry(f"{ending.id}9", ending.event)]
    history.provider.requests[1]["tokens"] = 21


@breaks("attempts_say_what_the_provider_said", "an attempt says what no provider ever sent")
def _(history: History) -> None:
    history.provider.requests[0]["id"] = "f" * 12


@breaks("attempts_say_what_the_provider_said", "a job completed and said nothing")
def _(history: History) -> None:
    log = survivor(history).log
    log[5:] = log[-1:]


@breaks("no_answer_is_used_twice", "two attempts were fed by one request")
def _(history: History) -> None:
    log = survivor(history).log
    log[5] = Entry(log[5].id, log[1].event)


# The queue


@breaks("counters_equal_a_recount", "the queue is longer than there are queued jobs")
def _(history: History) -> None:
    history.queues[0].ready.add("job_forgotten")


@breaks("counters_equal_a_recount", "a running job has no lease")
def _(history: History) -> None:
    history.queues[0].leases.clear()


@breaks("counters_equal_a_recount", "a tenant's index lacks a job")
def _(history: History) -> None:
    history.queues[-1].index["default"].discard(survivor(history).id)


@breaks("every_job_stands_in_one_place", "a job is queued and running at once")
def _(history: History) -> None:
    history.queues[0].leases |= history.queues[0].ready


@breaks("every_job_stands_in_one_place", "a queued job is ready and suspect at once")
def _(history: History) -> None:
    history.queues[0].suspects |= history.queues[0].ready


@breaks("every_job_stands_in_one_place", "an ended job can still be claimed")
def _(history: History) -> None:
    history.queues[-1].ready.add(survivor(history).id)


@breaks("every_job_stands_in_one_place", "a queued job can be claimed by nobody")
def _(history: History) -> None:
    history.queues[0].ready.clear()


@breaks("every_job_stands_in_one_place", "a deleted job can still be claimed")
def _(history: History) -> None:
    history.queues[-1].leases.add(deleted(history).id)


@breaks("dead_letters_killed_their_workers", "a job is a dead letter and still on its way")
def _(history: History) -> None:
    history.queues[0].dead |= history.queues[0].ready


@breaks("dead_letters_killed_their_workers", "a job that killed its workers is no dead letter")
def _(history: History) -> None:
    history.queues[-1].records[unlucky(history).id] |= {"code": "worker_lost"}


@breaks("one_bell_at_most", "the bell was rung once for each job")
def _(history: History) -> None:
    history.queues[0].bell = 2
