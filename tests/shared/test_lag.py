"""How late an event loop is."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from given import eventually
from structlog.testing import capture_logs

from tokentail.shared import lag as lag_module
from tokentail.shared.lag import SLOW_SECONDS, WINDOW_SECONDS, LoopLag


async def test_work_that_keeps_the_loop_busy_is_measured() -> None:
    lag = LoopLag()
    assert lag.seconds == 0
    measuring = asyncio.create_task(lag.run())
    await eventually(lambda: lag.samples > 0)
    # When something blocks the loop for longer than two samples are apart
    time.sleep(2 * lag_module.SAMPLE_SECONDS)  # noqa: ASYNC251 -- that is what it is about
    # Then it is known how late that made the rest
    await eventually(lambda: lag.seconds >= 0.9 * lag_module.SAMPLE_SECONDS)
    measuring.cancel()


async def test_a_delay_that_still_lasts_is_seen_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag_module, "SAMPLE_SECONDS", 0.01)
    lag = LoopLag()
    measuring = asyncio.create_task(lag.run())
    await eventually(lambda: lag.samples > 0)
    # When the loop is blocked until another thread has seen that it is
    seen = threading.Event()

    def look() -> None:
        while lag.seconds < 0.1:
            time.sleep(0.01)
        seen.set()

    threading.Thread(target=look, daemon=True).start()
    assert seen.wait(20)
    measuring.cancel()


def test_a_delay_is_remembered_for_some_seconds_and_then_forgotten() -> None:
    lag = LoopLag()
    lag.take(2.0, 100.0)
    samples = round(WINDOW_SECONDS / lag_module.SAMPLE_SECONDS)
    for _ in range(samples - 1):
        lag.take(0.001, 100.0)
    assert lag.seconds == 2.0
    lag.take(0.001, 110.0)
    assert lag.seconds == 0.001


def test_the_operator_hears_of_a_bad_delay_but_not_of_each_in_a_bad_minute() -> None:
    lag = LoopLag()
    with capture_logs() as logs:
        lag.take(SLOW_SECONDS / 2, 100.0)
        assert logs == []
        for second in range(100, 110):
            lag.take(SLOW_SECONDS + second / 100, float(second))
        assert [(line["log_level"], line["seconds"]) for line in logs] == [("warning", 1.5)]
        lag.take(3.0, 100.0 + WINDOW_SECONDS + 1)
        assert len(logs) == 2
