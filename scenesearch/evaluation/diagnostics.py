"""Everything an evaluation tells besides its metrics: failures, slices, speed, image to text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scenesearch.encoder.base import Encoder
from scenesearch.evaluation.failures import Failures, find_failures
from scenesearch.evaluation.image_to_text import image_to_text
from scenesearch.evaluation.index_recall import IndexRecall, index_recall
from scenesearch.evaluation.latency import Latency, measure_latency
from scenesearch.evaluation.result import Evaluation
from scenesearch.evaluation.slices import Slice, field_slices, slice_of
from scenesearch.store.base import VectorStore
from scenesearch.store.conditions import declared_field


@dataclass(frozen=True)
class Diagnostics:
    """In `image_to_text`, pictures are the queries and texts the gallery."""

    image_to_text: Slice
    index: IndexRecall
    failures: Failures
    latency: Latency
    field_slices: tuple[Slice, ...]

    def to_json(self) -> dict[str, Any]:
        reverse = self.image_to_text.to_json()
        return {
            "image_to_text": {"images": reverse.pop("queries"), **reverse},
            "index": self.index.to_json(),
            "failures": self.failures.to_json(),
            "latency_ms": self.latency.to_json(),
            "field_slices": {part.name: part.to_json() for part in self.field_slices},
        }


def diagnose(
    evaluation: Evaluation,
    *,
    store: VectorStore,
    load_encoder: Callable[[], Encoder],
    slice_by: Sequence[str] = (),
) -> Diagnostics:
    """Everything that needs more than the run; asks the store again.

    `slice_by` names payload fields. Raises StoreError for one that the library does not declare.
    """
    spec = store.describe(evaluation.library)
    fields = [declared_field(name, spec) for name in slice_by]
    metrics = evaluation.query_metrics
    found = store.retrieve(evaluation.library, sorted(set(metrics.groups))) if fields else {}
    payloads = {image_id: point.payload for image_id, point in found.items()}
    reverse = image_to_text(evaluation, store)
    everything = np.arange(len(reverse.query_ids))
    return Diagnostics(
        image_to_text=slice_of("image to text", reverse, everything),
        index=index_recall(evaluation, store),
        failures=find_failures(evaluation, store),
        latency=measure_latency(
            list(evaluation.texts.values()),
            store=store,
            library=evaluation.library,
            load_encoder=load_encoder,
            where=evaluation.where,
        ),
        field_slices=tuple(
            part for field in fields for part in field_slices(metrics, payloads, field)
        ),
    )
