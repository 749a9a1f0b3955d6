"""`/v1/feedback`."""

from typing import Annotated

from fastapi import APIRouter, Query

from scenesearch.search.names import seen
from serve.models import FeedbackAnswer, FeedbackRequest, LibraryName, MarksAnswer
from serve.models import Text as QueryText
from serve.service import Here, Reader, Writer

router = APIRouter(tags=["feedback"])


@router.post("/v1/feedback")
async def feedback(asked: FeedbackRequest, caller: Writer, here: Here) -> FeedbackAnswer:
    """Say that pictures are right, or wrong, for a text; none takes it back."""

    def do() -> FeedbackAnswer:
        library = here.libraries.open(caller, asked.library)
        library.pictures(asked.images, library.scope(caller))  # refused if one is not there
        ids = list(dict.fromkeys(asked.images))
        with library.files.open_feedback() as marks:
            if asked.mark == "none":
                marked = marks.forget(asked.text, ids)
            else:
                marked = marks.mark(asked.text, ids, right=asked.mark == "right")
        return FeedbackAnswer(marked=marked)

    return await here.workers.run(do)


@router.get("/v1/feedback")
async def marks(
    caller: Reader,
    here: Here,
    q: Annotated[QueryText, Query(min_length=1, description="The text that was searched for.")],
    library: LibraryName | None = None,
) -> MarksAnswer:
    """The pictures that were called right, or wrong, for a text."""

    def look() -> MarksAnswer:
        opened = here.libraries.open(caller, library)
        if not opened.files.feedback.exists():
            return MarksAnswer(right=[], wrong=[])
        with opened.files.open_feedback() as kept:
            right, wrong = kept.of(q)
        there = seen(opened.store, opened.collection, (*right, *wrong), opened.scope(caller))
        return MarksAnswer(
            right=[one for one in right if one in there],
            wrong=[one for one in wrong if one in there],
        )

    return await here.workers.run(look)
