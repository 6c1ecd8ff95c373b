"""Processes of one port that do not do as they should."""

from __future__ import annotations

import sys

from processes import Running

HANGING = """
import sys, time
from tokentail.api import crew
crew.STOP_MARGIN_SECONDS = 0.5
sys.exit(crew.Crew(time.sleep, [(600,)] * 2, 0.0).run("here"))
"""
BROKEN = """
import sys, os
from tokentail.api import crew
crew.PAUSE_SECONDS = 0.01
sys.exit(crew.Crew(os._exit, [(3,)] * 2, 0.0).run("here"))
"""
NO_ROOM = """
import sys, time
from tokentail.api import crew
crew.PAUSE_SECONDS, crew.STOP_MARGIN_SECONDS = 0.01, 0.5
start = crew.Crew._start
def start_one(self, args):
    if self._processes:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return start(self, args)
crew.Crew._start = start_one
sys.exit(crew.Crew(time.sleep, [(600,)] * 2, 0.0).run("here"))
"""


def test_a_process_that_hangs_is_killed_and_that_is_an_error() -> None:
    # Given processes that block the signal for ever, as one does that never comes round to it
    head = Running([sys.executable, "-c", HANGING])
    try:
        head.wait_for("here")
        head.process.terminate()
        assert head.wait() == 1
        assert head.said.count("is killed") == 2
    finally:
        head.close()


def test_processes_that_can_not_be_started_are_given_up() -> None:
    head = Running([sys.executable, "-c", BROKEN])
    try:
        assert head.wait() == 1
        assert "can't be started" in head.said
    finally:
        head.close()


def test_a_system_that_has_no_room_for_a_process_ends_the_others_and_says_why() -> None:
    # Given a crew of which only the first can be started
    head = Running([sys.executable, "-c", NO_ROOM])
    try:
        # Then it ends, for somebody to start it where there is room
        assert head.wait() == 1
        assert "Resource temporarily unavailable" in head.said
        assert "Traceback" not in head.said
    finally:
        head.close()
