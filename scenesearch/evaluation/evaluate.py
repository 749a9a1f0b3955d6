"""Evaluates a library: asks queries whose relevant pictures are known, and scores the answers.

Queries go the way of a search: `Searcher.ranking` orders both. A small gallery is ranked in the
same order for many queries at once (`Gallery`). A query's text is only a description: it has no
filter and no subtraction. What cannot be measured (a relevant picture that is not in the library,
or that the filter excludes) is left out and listed, never counted silently as a hit or a miss.
"""

import gc
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from scenesearch.datasets.names import find_pictures
from scenesearch.datasets.queries import Query
from scenesearch.encoder.base import Encoder
from scenesearch.errors import SceneSearchError
from scenesearch.evaluation.bootstrap import bootstrap_ci95
from scenesearch.evaluation.gallery import MAX_PICTURES, Gallery
from scenesearch.evaluation.metrics import RankedRun, score_queries
from scenesearch.evaluation.result import Evaluation, Omission, Reason
from scenesearch.runtime.cancel import cancellable
from scenesearch.search.request import Phrase, Request, Text
from scenesearch.search.searcher import Searcher
from scenesearch.store.base import VectorStore
from scenesearch.store.filters import Filter

# Deep enough for exact ranks in the galleries of the literature (1,000 images). A first relevant
# image beyond it would add less than 0.001 to a query's reciprocal rank.
MAX_DEPTH = 1000

# Captions are short: larger batches are not faster.
TEXT_BATCH_SIZE = 64


class EvaluationError(SceneSearchError):
    """Nothing can be measured; the message is one sentence for the user."""


def evaluate(
    queries: Sequence[Query],
    *,
    store: VectorStore,
    library: str,
    encoder: Encoder,
    where: Filter = (),
    depth: int | None = None,
    exact: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Ask the library (an alias or a collection) every query and score the answers.

    Each query gets `depth` hits, by default the whole gallery up to `MAX_DEPTH`. `where` restricts
    the gallery. `exact` forbids approximate search. `on_progress` gets the number of queries done,
    including those left out. Raises EvaluationError when no query can be measured, and
    EncoderMismatch when the library holds another encoder's vectors.
    """
    info = encoder.info
    searcher = Searcher(encoder, store, library)
    if depth is not None and depth < 10:
        raise ValueError(f"depth {depth} is too shallow for metrics at 10")
    everything = _image_ids(store, library)
    gallery = _image_ids(store, library, where) if where else everything
    if not gallery:
        raise EvaluationError(
            f"the gallery is empty: no picture of library {library} fits the filter"
            if everything
            else f"the gallery is empty: library {library} holds no picture"
        )
    qrels, omissions = build_qrels(queries, everything, gallery)
    if not queries:
        raise EvaluationError("there is no query to evaluate")
    if not qrels:
        raise EvaluationError(
            f"none of the {len(queries)} queries asks for a picture of the gallery, "
            f"the first: {omissions[0].sentence()}"
        )
    texts = {query.query_id: query.text.strip() for query in queries if query.query_id in qrels}
    depth = min(len(gallery), depth or MAX_DEPTH)

    run = RankedRun(gallery)
    embeddings: list[NDArray[np.float32]] = []
    in_memory = (
        Gallery.of(store, library, where, searcher.hub_penalty)
        if len(gallery) <= MAX_PICTURES
        else None
    )
    items = list(texts.items())
    with _rare_garbage():
        for start in range(0, len(texts), TEXT_BATCH_SIZE):
            batch = items[start : start + TEXT_BATCH_SIZE]
            embeddings.append(np.stack(searcher.texts.embed_all([text for _, text in batch])))
            if in_memory is not None:
                ranked = in_memory.rank(embeddings[-1], depth)
                for (query_id, _), (ids, scores) in cancellable(zip(batch, ranked, strict=True)):
                    run.add_ranked(query_id, ids, scores)
            else:
                for query_id, text in cancellable(batch):
                    request = Request((Text((Phrase(text),)),), where=where, k=depth, exact=exact)
                    points = searcher.ranking(request)
                    run.add(query_id, {point.image_id: point.score for point in points})
            if on_progress:
                on_progress(len(queries) - len(texts) + len(run))

    query_metrics = score_queries(qrels, run)
    return Evaluation(
        encoder=info.name,
        fingerprint=info.fingerprint,
        library=library,
        gallery=len(gallery),
        gallery_fingerprint=gallery_fingerprint(gallery),
        depth=depth,
        texts=texts,
        qrels=qrels,
        run=run,
        query_metrics=query_metrics,
        metrics=query_metrics.means(),
        ci95=bootstrap_ci95(query_metrics),
        omissions=tuple(omissions),
        embeddings=np.concatenate(embeddings),
        where=where,
    )


@contextmanager
def _rare_garbage() -> Iterator[None]:
    """Python's garbage collector skips all objects that exist already, above all the modules.

    The thousand hits of each query trigger it again and again. Walking through all modules each
    time took a tenth of an evaluation. A process that has set objects aside itself, as the page
    does, keeps them so.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def gallery_fingerprint(image_ids: Collection[str]) -> str:
    """A hash that changes when a picture is added, removed or renamed."""
    digest = hashlib.sha256()
    for image_id in sorted(image_ids):
        digest.update(image_id.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:16]


def build_qrels(
    queries: Sequence[Query], everything: Collection[str], gallery: Collection[str]
) -> tuple[dict[str, dict[str, int]], list[Omission]]:
    """The qrels over the gallery (the part of everything that the filter passes), and the
    omissions.

    A name stands for the ids that `find_pictures` gives: a query file may say `boat.jpg` where the
    library, filled from a folder above, has `2019/boat.jpg`. Raises
    EvaluationError when two queries have the same id.
    """
    meant = find_pictures((name for query in queries for name in query.relevant), everything)
    qrels: dict[str, dict[str, int]] = {}
    omissions: list[Omission] = []
    seen: set[str] = set()
    for query in queries:
        if query.query_id in seen:
            raise EvaluationError(f"query id {query.query_id} is given twice")
        seen.add(query.query_id)
        absent: dict[Reason, list[str]] = {}
        if not query.text.strip():
            absent["empty text"] = []
        elif not query.relevant:
            absent["names no image"] = []
        present: dict[str, int] = {}
        for name in query.relevant:
            candidates = meant[name]
            if len(candidates) > 1:
                absent.setdefault("in the library under several folders", []).append(name)
            elif not candidates:
                absent.setdefault("not in the library", []).append(name)
            elif (image_id := candidates[0]) not in gallery:
                absent.setdefault("excluded by the filter", []).append(image_id)
            elif image_id in present:
                absent.setdefault("named twice, counted once", []).append(name)
            else:
                present[image_id] = query.grades.get(name, 1)
        if present and not any(present.values()):
            absent["no picture judged relevant"] = []
        left_out = not any(present.values()) or not query.text.strip()
        omissions += [
            Omission(query.query_id, reason, tuple(image_ids), left_out, query.line)
            for reason, image_ids in absent.items()
        ]
        if not left_out:
            qrels[query.query_id] = present
    return qrels, omissions


def _image_ids(store: VectorStore, library: str, where: Filter = ()) -> set[str]:
    return {point.image_id for point in store.scroll(library, where=where, payload=())}
