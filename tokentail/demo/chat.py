"""One chat request, from its body to the end of its answer."""

from __future__ import annotations

import asyncio
import secrets
import time

from tokentail.demo.asgi import Receive, Scope, Send, disconnected, read_body, send_json
from tokentail.demo.body import Body
from tokentail.demo.catalogue import choose
from tokentail.demo.errors import ProviderError
from tokentail.demo.ledger import Ledger, Record, State
from tokentail.demo.player import Ending, Gates, play
from tokentail.demo.reply import StreamedReply, WholeReply
from tokentail.demo.steps import Ask


async def chat(scope: Scope, receive: Receive, send: Send, ledger: Ledger, gates: Gates) -> bool:
    """Answer a chat request; stop at once when the client goes.

    Returns whether the connection is to be cut, which is a deed for the server.
    """
    try:
        body = Body.parse(await read_body(receive))
    except ProviderError as error:
        await refuse(send, error)
        return False
    record = _record(scope, body)
    ledger.open(record)
    answering = asyncio.create_task(_answer(body, record, send, ledger, gates))
    watching = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone = answering.cancel()
        watching.cancel()
    return not gone and await answering == "cut"


async def refuse(send: Send, error: ProviderError) -> None:
    """Answer with an error instead."""
    seconds = error.retry_after_seconds
    headers = [] if seconds is None else [(b"retry-after", f"{seconds:g}".encode())]
    await send_json(send, error.status, error.body, headers)


async def _answer(body: Body, record: Record, send: Send, ledger: Ledger, gates: Gates) -> Ending:
    # The record is closed here, without an await after the last send: a client that has read the end
    # must find it ended.
    state: State = "error"
    try:
        ending = await _play(body, record, send, ledger, gates)
        state = "finished" if ending == "finished" else "error"
        return ending
    except ProviderError as error:
        record.status = error.status
        await refuse(send, error)
        return "error"
    except asyncio.CancelledError:
        state = "client_closed"
        raise
    finally:
        ledger.close(record, state)


async def _play(body: Body, record: Record, send: Send, ledger: Ledger, gates: Gates) -> Ending:
    scenario, params = choose(body.model)
    record.key = params.key
    for name in scenario.refuses:
        if name in body.fields:
            raise ProviderError(400, f"Unrecognized request argument supplied: {name}", param=name)
    if scenario.error is not None and ledger.fails(params):
        raise scenario.error(params)
    kind = StreamedReply if body.stream else WholeReply
    reply = kind(send, record, body, scenario.usage, int(time.time()))
    script = scenario.script(Ask(record.id, body.prompt(), params))
    return await play(script, reply, params, gates, body.most_tokens)


def _record(scope: Scope, body: Body) -> Record:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    authorized = headers.pop("authorization", None) is not None
    return Record(
        # Long enough never to be met again, in this process or in another.
        id=secrets.token_hex(6),
        model=body.model,
        key=body.model,
        stream=body.stream,
        headers=headers,
        authorized=authorized,
        names=sorted(body.fields),
        parameters={name: value for name, value in body.fields.items() if name != "messages"},
    )
