"""Bringing pictures in: `POST /v1/images`, `/v1/ingest`, and the jobs that do it, `/v1/jobs`."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from serve.jobs import Job
from serve.models import (
    Captions,
    ImageName,
    IngestRequest,
    JobAnswer,
    LibraryName,
    NewImage,
    NewImages,
    Tags,
)
from serve.problems import Refused
from serve.service import Here, Reader, Service, Writer
from serve.uploads import bring_in, ingest_paths

router = APIRouter(tags=["bringing pictures in"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="A text of your choice: the same request with the same key makes one job.",
    ),
]

# The body is read by its type, so that a file can be sent as it is.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/NewImages"}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.post("/v1/images", status_code=202, openapi_extra=_BODY)
async def new_images(
    request: Request,
    response: Response,
    caller: Writer,
    here: Here,
    library: Annotated[LibraryName | None, Query(description="For a picture as the body.")] = None,
    name: Annotated[ImageName, Query(description="For a picture as the body.")] = "picture",
    caption: Annotated[Captions, Query(description="For a picture as the body.")] = [],  # noqa: B006 - FastAPI copies it
    tag: Annotated[Tags, Query(description="For a picture as the body.")] = [],  # noqa: B006
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Bring in pictures with what is said of them: as JSON, or one picture as the body itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        if kind == "application/json":
            asked = NewImages.model_validate_json(body)
        elif kind.startswith("image/") or kind == "application/octet-stream":
            picture = NewImage(data=body, name=name, captions=caption, tags=tag)
            asked = NewImages(library=library, images=[picture])
        else:
            raise Refused(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                "send JSON with Content-Type: application/json, or a picture with its own type",
            )
    except ValidationError as error:
        errors = error.errors(include_input=False)
        raise RequestValidationError(
            [one | {"loc": ("body", *one["loc"])} for one in errors]
        ) from None
    job = await here.workers.run(
        bring_in, here.libraries, here.jobs, caller, asked, idempotency_key
    )
    return await _answer(here, job, response)


@router.post("/v1/ingest", status_code=202)
async def ingest(
    asked: IngestRequest,
    response: Response,
    caller: Writer,
    here: Here,
    idempotency_key: IdempotencyKey = None,
) -> JobAnswer:
    """Ingest folders and files of the server."""
    job = await here.workers.run(
        ingest_paths, here.libraries, here.jobs, caller, asked, idempotency_key
    )
    return await _answer(here, job, response)


@router.get("/v1/jobs/{job_id}")
async def job(job_id: str, caller: Reader, here: Here) -> JobAnswer:
    """How far a job is."""
    return await here.workers.run(lambda: here.jobs.answer(here.jobs.find(caller, job_id)))


@router.delete("/v1/jobs/{job_id}", status_code=202)
async def job_end(job_id: str, caller: Writer, here: Here) -> JobAnswer:
    """End a job. Pictures that it has brought in stay."""

    def do() -> JobAnswer:
        found = here.jobs.find(caller, job_id)
        here.jobs.cancel(found)
        return here.jobs.answer(found)

    return await here.workers.run(do)


async def _answer(here: Service, job: Job, response: Response) -> JobAnswer:
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return await here.workers.run(here.jobs.answer, job)
