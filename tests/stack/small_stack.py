"""A stack of stand-ins, run as a program: a real Redis, and children that do nothing but live and end.

python small_stack.py DIRECTORY NAME=BEHAVIOUR...   behaviours: serve, stubborn (ignores SIGTERM), broken
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tokentail.shared.errors import TokentailError
from tokentail.stack.child import Child
from tokentail.stack.console import Console
from tokentail.stack.redis_server import RedisServer
from tokentail.stack.supervisor import Supervisor

BEHAVIOURS = {
    "serve": """
import os, signal, sys, time
def end(*_):
    print("ended", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", os.getpid(), flush=True)
while True: signal.pause()
""",
    "stubborn": """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", os.getpid(), flush=True)
while True: signal.pause()
""",
    "broken": "import sys; sys.exit('no such setting')",
    "misconfigured": "import sys; print('TOKENTAIL_X: is wrong', file=sys.stderr); sys.exit(2)",
}


async def main(directory: Path, names: dict[str, str]) -> None:
    console = Console()
    redis = RedisServer(directory / "redis")
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)

    def child(name: str, behaviour: str) -> Child:
        command = [sys.executable, "-c", BEHAVIOURS[behaviour]]
        return Child(
            name,
            command,
            env=os.environ,
            ready=r"ready (\d+)",
            log_directory=logs,
            on_alarm=console.alarm,
        )

    serving = [child(name, behaviour) for name, behaviour in names.items()]

    async def say_ready() -> None:
        for child in serving:
            print(f"{child.name} is {await child.ready()}", flush=True)
        print(f"redis is {redis.pid}", flush=True)
        print("all ready", flush=True)

    await Supervisor(
        redis,
        child("provider", "serve"),
        lambda _: serving,
        drain_seconds=0.0 if "stubborn" not in names.values() else 600.0,
        on_ready=say_ready,
        console=console,
    ).run()
    print("all ended", flush=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), dict(word.split("=") for word in sys.argv[2:])))
    except TokentailError as error:
        sys.exit(f"failed: {error}")
