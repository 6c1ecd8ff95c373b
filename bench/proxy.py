"""The LiteLLM proxy, of the worker's own litellm version, in an environment of its own."""

from __future__ import annotations

from pathlib import Path

from bench.installation import Installation
from bench.ports import free_port, listens
from bench.processes import Process

NAME = "the LiteLLM proxy"

#: What each chunk with a token holds: the provider's tokens end in a space. The first chunk is an empty one.
TOKEN = b' "}}'

MISSING = "Skipped: the LiteLLM proxy is not there (`make bench-peers` installs it)."

_COMMAND = Path(__file__).parents[1] / ".peers" / "litellm" / "bin" / "litellm"

_ENV = {
    # As the worker has it: no prices from the network, no development extras.
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    # No keys, which spares it work; it listens on loopback only.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}


def is_there() -> bool:
    """Whether it was installed."""
    return _COMMAND.exists()


def start(installation: Installation) -> tuple[Process, str]:
    """One process on the installation's model list, and its URL. `ready` says when it can be asked."""
    port = free_port()
    options = ["--config", str(installation.models), "--host", "127.0.0.1", "--port", str(port)]
    process = installation.run("LiteLLM proxy", str(_COMMAND), *options, "--telemetry", "False", **_ENV)
    return process, f"http://127.0.0.1:{port}"


def ready(process: Process, url: str) -> None:
    """Wait for it; it imports for seconds."""
    port = int(url.rpartition(":")[2])
    process.until(lambda: listens(port))
