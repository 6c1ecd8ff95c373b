"""The demo provider: a small OpenAI-compatible server whose models are scenarios.

POST /v1/chat/completions   `model` picks the scenario, as in `counted?tokens=500&pace_ms=2`
GET  /v1/models             the scenarios
GET  /stats                 connections and requests, as the provider sees them
POST /gates/NAME            open a gate at which a `wait` waits
POST /reset                 forget requests, failure counts and gates
"""

from __future__ import annotations

from typing import Any

from tokentail.demo.asgi import Receive, Scope, Send, disconnected, send_json
from tokentail.demo.catalogue import SCENARIOS
from tokentail.demo.chat import chat, refuse
from tokentail.demo.errors import ProviderError
from tokentail.demo.ledger import Ledger
from tokentail.demo.player import Gates
from tokentail.demo.server import Server
from tokentail.shared.listening import listen


def run(host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT, then return 0. Port 0 picks a free one.

    Prints `demo provider on http://HOST:PORT` once it accepts. Raises ConfigError when the address can't be
    had.
    """
    listener = listen(host, port)
    app = Provider()
    app.server = Server(app)
    app.server.run(sockets=[listener])
    return 0


class Provider:
    """One provider with its own memory, as an ASGI app. Only under our server can it count connections
    and cut them."""

    def __init__(self) -> None:
        self.server: Server | None = None
        self._ledger = Ledger()
        self._gates = Gates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["method"], scope["path"].strip("/").split("/"):
            case "POST", ["v1", "chat", "completions"]:
                await self._chat(scope, receive, send)
            case "GET", ["v1", "models"]:
                await send_json(send, 200, _models())
            case "GET", ["stats"]:
                await send_json(send, 200, self._stats(scope))
            case "POST", ["gates", name]:
                self._gates.open(name)
                await send_json(send, 200, {"gate": name})
            case "POST", ["reset"]:
                self._ledger.clear()
                self._gates.forget()
                await send_json(send, 200, {})
            case _:
                await refuse(send, ProviderError(404, "There is nothing here.", code="not_found"))

    async def _chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        cut = await chat(scope, receive, send, self._ledger, self._gates)
        if cut and self.server is not None:
            self.server.hang_up(scope)
            await disconnected(receive)

    def _stats(self, scope: Scope) -> dict[str, Any]:
        connections = None if self.server is None else self.server.open_connections(scope)
        return {"open_connections": connections} | self._ledger.as_json()


def _models() -> dict[str, Any]:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "tokentail"} for name in SCENARIOS]
    return {"object": "list", "data": models}
