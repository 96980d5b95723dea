"""What Prometheus reads of the service at /metrics. No label comes from a request's text."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

disable_created_metrics()  # a second line beside each counter: when this process began
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one HTTP deployment, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter(
            "pixsem_requests", "HTTP requests by route and status", ["route", "status"], registry=own
        )
        self.pictures = Counter("pixsem_pictures", "pictures made", ["kind"], registry=own)
        self.retries = Counter("pixsem_retries", "pictures asked for again: their replica was lost", registry=own)
        self.refused = Counter("pixsem_refused", "pictures refused: the queue was full", registry=own)
        self.queue = Gauge("pixsem_queue", "pictures that wait for a place in a batch", registry=own)
        self.running = Gauge("pixsem_running", "pictures that are being made", registry=own)
        self.seconds = Histogram(
            "pixsem_picture_seconds", "from asking for a picture until it is there", buckets=SECONDS, registry=own
        )
        self.batch = Histogram(
            "pixsem_batch_pictures", "pictures in the batch of a picture", buckets=SIZES, registry=own
        )
