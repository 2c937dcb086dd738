"""The text that Prometheus reads, read by its own library."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from slurmsyncd.observe.prometheus import MetricFamily, exposition

HOSTILE = 'a "b" \\ c\n# TYPE d gauge\ne{f="g"} 1 \u202e'


def test_what_is_in_a_label_stays_in_it() -> None:
    """Quotes, backslashes and newlines of whoever names things forge no sample."""
    family = MetricFamily("counter", "found_total", "What was found", ("by", "word"))
    family.add(["us", HOSTILE], 3)

    (read,) = text_string_to_metric_families(exposition([family]).decode())

    assert (read.name, read.type, read.documentation) == ("found", "counter", "What was found")
    assert [(sample.labels, sample.value) for sample in read.samples] == [({"by": "us", "word": HOSTILE}, 3)]


def test_a_histogram_is_read_as_one() -> None:
    """Buckets, count and sum are samples of one family."""
    family = MetricFamily("histogram", "took_seconds", "How long it took", ("step",))
    family.add_histogram(["start"], [("0.5", 1), ("+Inf", 4)], 7.25)

    (read,) = text_string_to_metric_families(exposition([family]).decode())

    assert read.type == "histogram"
    assert {(sample.name, sample.labels.get("le")): sample.value for sample in read.samples} == {
        ("took_seconds_bucket", "0.5"): 1,
        ("took_seconds_bucket", "+Inf"): 4,
        ("took_seconds_count", None): 4,
        ("took_seconds_sum", None): 7.25,
    }
