"""What Prometheus reads of the service at /metrics. No label comes from a request's text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one HTTP deployment, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        at = {"registry": self.registry}
        self.requests = Counter("pixsem_requests", "HTTP requests by route and status", ["route", "status"], **at)
        self.pictures = Counter("pixsem_pictures", "pictures made", ["kind"], **at)
        self.retries = Counter("pixsem_retries", "pictures asked for again: their replica was lost", **at)
        self.refused = Counter("pixsem_refused", "pictures refused: the queue was full", **at)
        self.queue = Gauge("pixsem_queue", "pictures that wait for a place in a batch", **at)
        self.running = Gauge("pixsem_running", "pictures that are being made", **at)
        self.seconds = Histogram(
            "pixsem_picture_seconds", "from asking for a picture until it is there", buckets=SECONDS, **at
        )
        self.batch = Histogram("pixsem_batch_pictures", "pictures in the batch of a picture", buckets=SIZES, **at)
