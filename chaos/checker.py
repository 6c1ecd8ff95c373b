"""History → violations: every promise held against what was observed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from chaos.history import History, Job
from chaos.rules import fates, followers, logs, providers, queues, records


class Violation(NamedTuple):
    """A promise that was broken: its rule's name, the job (if it is about one), and how."""

    rule: str
    job: str | None
    sentence: str

    def __str__(self) -> str:
        return f"{self.job + ': ' if self.job else ''}{self.sentence} [{self.rule}]"


JobRule = Callable[[History, Job], Iterator[str]]
RunRule = Callable[[History], Iterator[str]]

#: What holds of each job.
JOB_RULES: tuple[JobRule, ...] = (
    logs.ids_rise,
    logs.sequences_are_dense,
    logs.attempts_open_their_fence,
    logs.one_ending_and_nothing_after_it,
    records.everything_accepted_ends,
    records.record_and_log_agree,
    records.result_is_the_fold,
    records.job_object_is_the_record,
    records.reads_are_true_to_their_cursor,
    records.what_has_ended_expires,
    followers.views_are_runs_of_the_log,
    followers.views_are_dense,
    followers.followers_come_to_the_same,
    followers.nothing_is_seen_after_an_ending,
    providers.attempts_say_what_the_provider_said,
    fates.what_was_deleted_is_gone,
    fates.endings_have_their_reasons,
    fates.deploys_hand_over,
)

#: What holds of a run as a whole.
RUN_RULES: tuple[RunRule, ...] = (
    providers.no_connection_is_left_open,
    providers.ledger_is_complete,
    providers.every_request_is_a_jobs,
    providers.no_answer_is_used_twice,
    queues.counters_equal_a_recount,
    queues.every_job_stands_in_one_place,
    queues.dead_letters_killed_their_workers,
    queues.one_bell_at_most,
    fates.one_submission_is_one_job,
    fates.nothing_odd_is_seen,
)


def check(history: History) -> list[Violation]:
    """Every violation there is, none for a run that kept all promises."""
    found = [Violation(rule.__name__, None, said) for rule in RUN_RULES for said in _said(rule, history)]
    for job in history.jobs.values():
        found += [
            Violation(rule.__name__, job.id, said) for rule in JOB_RULES for said in _said(rule, history, job)
        ]
    return found


def _said(rule: Callable[..., Iterator[str]], *of: object) -> list[str]:
    """What a rule says. That it can't make sense of what was observed is a violation too."""
    try:
        return list(rule(*of))
    except (LookupError, ValueError, TypeError) as confused:
        return [f"it can't be checked: {confused!r}"]
