"""One request each: submit, get, list, cancel, delete, and waiting for a result. No I/O (see `steps`)."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any
from urllib.parse import quote

import orjson

from tokentail.client.errors import ConnectionLost, InvalidRequest, ServerUnreachable
from tokentail.client.job import Job, JobPage, Result, job_from, page_from
from tokentail.client.replies import PASSING, error_of, json_of, retry_after_seconds
from tokentail.client.retries import Retries
from tokentail.client.steps import Reply, Request, Send, Sleep, Steps

logger = logging.getLogger("tokentail.client")

Messages = str | Sequence[Mapping[str, Any]]

#: How long one GET asks the server to wait for the ending. Below the 55 s after which the first proxies
#: cut a silent connection.
WAIT_SECONDS = 30

_VISIBLE_ASCII = re.compile(r"[!-~]+")

#: A server that shuts down answers such a GET early. Without a pause we would ask it in a tight loop.
EARLY_ANSWER_SECONDS = 0.2


def submit(
    model: str,
    messages: Messages,
    *,
    idempotency_key: str | None,
    metadata: Mapping[str, str] | None,
    on_interruption: str | None,
    parameters: Mapping[str, Any],
    retries: Retries,
) -> Steps[Job]:
    """Submit a job, at most once however often the request has to be repeated."""
    if idempotency_key is None:
        # A lost connection leaves it open whether the job was stored. A key makes asking again safe.
        idempotency_key = secrets.token_urlsafe(18)
    elif not _VISIBLE_ASCII.fullmatch(idempotency_key):
        # Said here as the server says it: an empty one must not stand for none, which would let the
        # caller's own repeat pay twice, and no header can hold the others.
        message = "Idempotency-Key: must be 1 to 255 visible ASCII characters."
        raise InvalidRequest(message, status=422, code="invalid_request")
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    fields = {
        "model": model,
        "messages": list(messages),
        "metadata": metadata,
        "on_interruption": on_interruption,
        **parameters,
    }
    body = orjson.dumps({name: value for name, value in fields.items() if value is not None})
    headers = {"idempotency-key": idempotency_key, "content-type": "application/json"}
    reply = yield from _exchange(Request("POST", "/v1/jobs", headers=headers, body=body), retries)
    return job_from(json_of(reply))


def get(job_id: str, *, wait: int | None, retries: Retries) -> Steps[Job]:
    """Read a job; with `wait`, once it has ended or so many seconds are over."""
    params = {} if wait is None else {"wait": str(wait)}
    request = Request("GET", job_path(job_id), params=params, hold_seconds=wait or 0)
    return job_from(json_of((yield from _exchange(request, retries))))


def list_jobs(
    *, status: str | None, limit: int | None, after: str | None, retries: Retries
) -> Steps[JobPage]:
    """Read a page of jobs, newest first."""
    given = {"status": status, "limit": limit, "after": after}
    params = {name: str(value) for name, value in given.items() if value is not None}
    return page_from(json_of((yield from _exchange(Request("GET", "/v1/jobs", params=params), retries))))


def cancel(job_id: str, *, retries: Retries) -> Steps[Job]:
    """Ask for a job to be cancelled. The job that comes back has not necessarily ended yet."""
    request = Request("POST", f"{job_path(job_id)}/cancel")
    return job_from(json_of((yield from _exchange(request, retries))))


def delete(job_id: str, *, retries: Retries) -> Steps[None]:
    """Delete a job with all that is stored of it."""
    reply = yield from _exchange(Request("DELETE", job_path(job_id)), retries)
    # After a lost connection, 404 means that the lost request had arrived.
    if reply.status != 204 and not (reply.status == 404 and reply.repeated):
        raise error_of(reply)


def result(job_id: str, *, retries: Retries) -> Steps[Result]:
    """Wait for the ending, however long it takes. Raises JobFailed or JobCancelled."""
    request = Request("GET", job_path(job_id), params={"wait": str(WAIT_SECONDS)}, hold_seconds=WAIT_SECONDS)
    while True:
        job = job_from(json_of((yield from _exchange(request, retries, patient=True))))
        if job.ended:
            return job.completed_result()
        yield Sleep(EARLY_ANSWER_SECONDS)


def job_path(job_id: str) -> str:
    """The path of a job. An id is opaque to us, so nothing in it may change which path it is."""
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _exchange(request: Request, retries: Retries, *, patient: bool = False) -> Steps[Reply]:
    """Send a request that may safely be repeated until it is answered or our patience is over.

    A connection that can't be made is reported at once as long as nothing is in doubt: most often the
    address is wrong or the server was not started. Who is `patient` waits as a follower does, so that
    the server may be restarted meanwhile.
    """
    most = retries.connections if patient else retries.calls
    in_doubt = False
    for failures in count(1):
        wish = None
        try:
            reply: Reply = yield Send(request)
        except ServerUnreachable as error:
            in_doubt = in_doubt or isinstance(error, ConnectionLost)
            if failures >= most or not (in_doubt or patient):
                raise
            reason: Exception = error
        else:
            if reply.status not in PASSING:
                return replace(reply, repeated=in_doubt)
            reason, wish = error_of(reply), retry_after_seconds(reply)
            if failures >= most or (wish or 0) > retries.longest_retry_after_seconds:
                raise reason
        seconds = retries.wait_seconds(failures, wish)
        logger.info("%s Trying again in %.1f s.", reason, seconds)
        yield Sleep(seconds)
    raise AssertionError("count() does not end")
