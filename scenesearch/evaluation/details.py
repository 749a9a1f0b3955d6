"""All that an evaluation says beside its figures: who fails, why, how fast, and the way back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenesearch.encoder.base import Encoder
from scenesearch.evaluation.failures import Failures, find_failures
from scenesearch.evaluation.image_to_text import image_to_text
from scenesearch.evaluation.index_recall import IndexRecall, index_recall
from scenesearch.evaluation.latency import Latency, measure_latency
from scenesearch.evaluation.outcome import Evaluation
from scenesearch.evaluation.slices import Slice, field_slices, slice_of
from scenesearch.store.base import VectorStore
from scenesearch.store.conditions import declared_field


@dataclass(frozen=True)
class Details:
    """`image_to_text` counts pictures as queries and texts as their gallery."""

    image_to_text: Slice
    index: IndexRecall
    failures: Failures
    latency: Latency
    field_slices: tuple[Slice, ...]

    def to_json(self) -> dict[str, Any]:
        back = self.image_to_text.to_json()
        return {
            "image_to_text": {"images": back.pop("queries"), **back},
            "index": self.index.to_json(),
            "failures": self.failures.to_json(),
            "latency_ms": self.latency.to_json(),
            "field_slices": {part.name: part.to_json() for part in self.field_slices},
        }


def look_closer(
    evaluation: Evaluation,
    *,
    store: VectorStore,
    load_encoder: Callable[[], Encoder],
    slice_by: Sequence[str] = (),
) -> Details:
    """Everything that the run alone does not say; asks the store again.

    `slice_by` names payload fields. Raises StoreError for one that the library does not declare.
    """
    spec = store.describe(evaluation.library)
    fields = [declared_field(name, spec) for name in slice_by]
    scores = evaluation.scores
    payloads: dict[str, Mapping[str, Any]] = {}
    if fields:
        groups = sorted(set(scores.groups))
        for start in range(0, len(groups), 256):
            found = store.retrieve(evaluation.library, groups[start : start + 256])
            payloads |= {image_id: point.payload for image_id, point in found.items()}
    back = image_to_text(evaluation, store)
    return Details(
        image_to_text=slice_of("image to text", back, [True] * len(back.query_ids)),
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
            part for field in fields for part in field_slices(scores, payloads, field)
        ),
    )
