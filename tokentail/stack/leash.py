"""Start a command that cannot outlive the process that started it, not even one that is killed.

`leashed(command)` is the command line to start. It runs this file as a small program of its own, which ties
the leash and then becomes the command: same process id, no wrapper left behind. A `preexec_fn` would save
its 20 ms, but runs Python between fork and exec, which can deadlock as soon as the parent has threads.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

#: How often the fallback's watcher checks that what it watches is still there.
_WATCH_SECONDS = 1.0

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` until it ends, or until the calling thread does.

    Linux ties a child to the *thread* that forked it: start leashed commands from one that lives long.
    """
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *command]


def _tie_with_kernel(parent: int) -> None:
    """Linux: the kernel sends SIGKILL when the parent goes; the setting survives exec."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # It went before the leash was tied.


def _tie_with_watcher(parent: int) -> None:
    """Elsewhere: a forked watcher asks once a second who the parent is, and kills when that has changed."""
    here, there = os.pipe()
    command = os.getpid()
    os.set_inheritable(there, True)  # The command holds this end without knowing; its end ends the watcher.
    if os.fork():
        os.close(here)
        return
    os.close(there)
    while not select.select([here], [], [], _WATCH_SECONDS)[0]:
        if os.getppid() != command:
            break  # It has ended, and its number may be somebody else's.
        if _parent_of(command) != parent:
            os.kill(command, signal.SIGKILL)
    os._exit(0)


def _parent_of(pid: int) -> int:
    with os.popen(f"ps -o ppid= -p {pid:d}") as answer:  # noqa: S605
        return int(answer.read().strip() or 0)


def main() -> None:
    """Tie the leash, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        _tie_with_kernel(parent)
    else:
        _tie_with_watcher(parent)
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
