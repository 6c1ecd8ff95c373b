"""Ways to break one job: its log, its record, what followers saw of it."""

from __future__ import annotations

import orjson
from breakages import altered, breaks, cancelled, deleted, survivor, unlucky
from histories import CANCELLED, RESET, completed

from chaos.history import ABSENT, ENDLESS, Entry, Follower, History

# The log by itself


@breaks("ids_rise", "two entries of a log have changed places")
def _(history: History) -> None:
    log = survivor(history).log
    log[1], log[2] = log[2], log[1]


@breaks("ids_rise", "an entry stands in a log twice")
def _(history: History) -> None:
    survivor(history).log.insert(2, survivor(history).log[2])


@breaks("sequences_are_dense", "an entry is missing from a log")
def _(history: History) -> None:
    del survivor(history).log[2]


@breaks("sequences_are_dense", "the first entry of a fence is missing")
def _(history: History) -> None:
    del survivor(history).log[0]


@breaks("attempts_open_their_fence", "a fence opens with a delta")
def _(history: History) -> None:
    log = survivor(history).log
    log[0] = Entry(log[0].id, log[1].event)


@breaks("attempts_open_their_fence", "an attempt begins in the middle of a fence")
def _(history: History) -> None:
    log = survivor(history).log
    log[6] = Entry(log[6].id, {"type": "attempt", "attempt": 3, "reason": "lost"})


@breaks("attempts_open_their_fence", "two attempts have the same number")
def _(history: History) -> None:
    log = survivor(history).log
    log[4] = altered(log[4], attempt=1)


@breaks("one_ending_and_nothing_after_it", "a stale worker wrote a delta behind the ending")
def _(history: History) -> None:
    log = survivor(history).log
    log.append(Entry("9000000000000-0", log[1].event))


@breaks("one_ending_and_nothing_after_it", "a job ended twice")
def _(history: History) -> None:
    survivor(history).log.append(Entry("9000000000000-0", CANCELLED))


# Log and record


@breaks("everything_accepted_ends", "an accepted job stays queued")
def _(history: History) -> None:
    job = cancelled(history)
    job.record["status"] = "queued"


@breaks("everything_accepted_ends", "a log never got the ending that its record holds")
def _(history: History) -> None:
    cancelled(history).log.clear()


@breaks("record_and_log_agree", "record and log hold different kinds of endings")
def _(history: History) -> None:
    survivor(history).record["status"] = "failed"


@breaks("record_and_log_agree", "record and log hold endings of one kind that differ")
def _(history: History) -> None:
    survivor(history).record["ending"] = orjson.dumps(completed("length")).decode()


@breaks("record_and_log_agree", "the record's cursor is not its log's ending")
def _(history: History) -> None:
    survivor(history).record["cursor"] = "1-1"


@breaks("record_and_log_agree", "a record still waits for its log to be told")
def _(history: History) -> None:
    cancelled(history).record["unlogged"] = "1"


@breaks("record_and_log_agree", "a log has been written under a fence that was never handed out")
def _(history: History) -> None:
    survivor(history).record["fence"] = "1"


@breaks("record_and_log_agree", "a log has an attempt that was never claimed")
def _(history: History) -> None:
    survivor(history).record["attempt"] = "1"


@breaks("result_is_the_fold", "the stored result has a token too few")
def _(history: History) -> None:
    record = survivor(history).record
    record["result"] = record["result"].replace("17 18 ", "17 ")


@breaks("result_is_the_fold", "a record has ended without a result")
def _(history: History) -> None:
    del survivor(history).record["result"]


@breaks("job_object_is_the_record", "GET shows another status than is stored")
def _(history: History) -> None:
    job = survivor(history)
    job.shown = {**(job.shown or {}), "status": "running"}


@breaks("job_object_is_the_record", "GET does not find what is stored")
def _(history: History) -> None:
    survivor(history).shown = None


@breaks("job_object_is_the_record", "GET shows what was deleted")
def _(history: History) -> None:
    deleted(history).shown = {"status": "cancelled"}


@breaks("reads_are_true_to_their_cursor", "a GET on the way showed a token more than its cursor stands for")
def _(history: History) -> None:
    survivor(history).reads[0]["result"]["content"] += "x"


@breaks("reads_are_true_to_their_cursor", "a GET on the way gave a cursor that is none of its log's")
def _(history: History) -> None:
    survivor(history).reads[0]["cursor"] = "1-1"


@breaks("reads_are_true_to_their_cursor", "a GET before the first attempt showed a result")
def _(history: History) -> None:
    survivor(history).reads[0]["cursor"] = None


@breaks("what_has_ended_expires", "an ended job's record stays for ever")
def _(history: History) -> None:
    survivor(history).record_ttl = ENDLESS


@breaks("what_has_ended_expires", "an ended job's request stays for ever")
def _(history: History) -> None:
    survivor(history).request_ttl = ENDLESS


@breaks("what_has_ended_expires", "an ended job's log stays for ever")
def _(history: History) -> None:
    survivor(history).log_ttl = ENDLESS


@breaks("what_has_ended_expires", "a job on its way has a lifetime")
def _(history: History) -> None:
    survivor(history).record["status"] = "running"


@breaks("what_has_ended_expires", "a deleted job's log stays for ever")
def _(history: History) -> None:
    deleted(history).log_ttl = ENDLESS


@breaks("what_has_ended_expires", "a deleted job's request is still there")
def _(history: History) -> None:
    assert deleted(history).request_ttl == ABSENT
    deleted(history).request_ttl = 1000


# Followers


@breaks("views_are_runs_of_the_log", "a follower missed an entry")
def _(history: History) -> None:
    del survivor(history).followers[0].seen[2]


@breaks("views_are_runs_of_the_log", "a follower missed the whole first attempt")
def _(history: History) -> None:
    del survivor(history).followers[0].seen[:4]


@breaks("views_are_runs_of_the_log", "a follower saw an entry twice")
def _(history: History) -> None:
    seen = survivor(history).followers[1].seen
    seen.append(seen[-1])


@breaks("views_are_runs_of_the_log", "a follower saw another text than the log holds")
def _(history: History) -> None:
    seen = survivor(history).followers[1].seen
    seen[-1] = altered(seen[-1], content="foreign")


@breaks("views_are_runs_of_the_log", "a follower saw what the log lost, and was never told")
def _(history: History) -> None:
    job = survivor(history)
    job.followers.append(
        Follower("ahead", [*job.log[:4], Entry(f"{str(job.log[3].id)[:-1]}4", {"type": "x"})])
    )


@breaks("views_are_dense", "a client that checks the ids of a deleted job found a gap")
def _(history: History) -> None:
    del deleted(history).followers[0].seen[1]


@breaks("views_are_dense", "a client saw a fence from its second entry on")
def _(history: History) -> None:
    del deleted(history).followers[0].seen[0]


@breaks("followers_come_to_the_same", "a follower was told that it had all, without the ending")
def _(history: History) -> None:
    del survivor(history).followers[0].seen[-1]


@breaks("followers_come_to_the_same", "a follower that never gives up waits for the ending for ever")
def _(history: History) -> None:
    survivor(history).followers[1].stays = True


@breaks("followers_come_to_the_same", "a follower got nothing after a reset")
def _(history: History) -> None:
    survivor(history).followers[0].seen.append(RESET)


@breaks("followers_come_to_the_same", "a follower's text differs although all ids are right")
def _(history: History) -> None:
    seen = survivor(history).followers[0].seen
    seen[-2] = altered(seen[-2], content="foreign")


@breaks("nothing_is_seen_after_an_ending", "a follower saw a delta behind the ending")
def _(history: History) -> None:
    job = unlucky(history)
    job.followers[0].seen.append(job.log[1])


@breaks("record_and_log_agree", "a record can't be read")
def _(history: History) -> None:
    survivor(history).record["fence"] = "soon"
