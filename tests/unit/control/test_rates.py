"""How much happened in the last minutes."""

from __future__ import annotations

from slurmsyncd.pipeline.minute_counters import KEPT, Minute, MinuteCounters

T0 = 1_700_000_040  # the beginning of a minute


def test_what_grew_is_counted_in_its_minute() -> None:
    """Counters are read as they stand; only what came on top counts, in the minute when it was seen."""
    rates = MinuteCounters()
    rates.sample({"starts": 2, "stops": 0}, T0 + 1)
    rates.sample({"starts": 5, "stops": 0}, T0 + 31)
    rates.sample({"starts": 5, "stops": 1}, T0 + 61)
    rates.sample({"starts": 5, "stops": 1}, T0 + 121)
    assert rates.last(10, T0 + 130) == (Minute(T0, {"starts": 5}), Minute(T0 + 60, {"stops": 1}))
    assert rates.last(1, T0 + 100) == (Minute(T0 + 60, {"stops": 1}),)


def test_counters_that_begin_anew_are_no_loss() -> None:
    """After a reload they are small again: what they show then came on top."""
    rates = MinuteCounters()
    rates.sample({"starts": 100}, T0)
    rates.sample({"starts": 3}, T0 + 60)
    assert [minute.counts for minute in rates.last(10, T0 + 60)] == [{"starts": 100}, {"starts": 3}]


def test_a_clock_that_is_set_back_counts_nothing_twice() -> None:
    """What happens meanwhile is put to the latest minute there is."""
    rates = MinuteCounters()
    rates.sample({"starts": 1}, T0 + 600)
    rates.sample({"starts": 2}, T0)
    assert rates.last(60, T0 + 600) == (Minute(T0 + 600, {"starts": 2}),)


def test_minutes_are_bounded() -> None:
    """Years later it holds as many as after some hours."""
    rates = MinuteCounters()
    for minute in range(3 * KEPT):
        rates.sample({"starts": minute + 1}, T0 + 60 * minute)
    kept = rates.last(10**9, T0 + 60 * (3 * KEPT - 1))
    assert len(kept) == KEPT
    assert sum(minute.counts["starts"] for minute in kept) == KEPT


def test_what_is_given_out_is_a_copy() -> None:
    """Whoever shows it changes nothing."""
    rates = MinuteCounters()
    rates.sample({"starts": 1}, T0)
    rates.last(1, T0)[0].counts["starts"] = 99
    assert rates.last(1, T0)[0].counts == {"starts": 1}
