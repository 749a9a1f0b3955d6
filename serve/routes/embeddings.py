"""`/v1/embeddings`."""

from fastapi import APIRouter

from serve.embedding import embed
from serve.models import EmbeddingsAnswer, EmbeddingsRequest
from serve.service import Here, Reader

router = APIRouter(tags=["embeddings"])


@router.post("/v1/embeddings")
async def embeddings(asked: EmbeddingsRequest, caller: Reader, here: Here) -> EmbeddingsAnswer:
    """Vectors of texts and pictures by the encoder of a library."""
    return await here.workers.run(embed, here.libraries, caller, asked)
