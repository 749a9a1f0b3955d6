"""Texts and pictures as vectors of a library's encoder, for those who rank elsewhere."""

import base64

import numpy as np
from numpy.typing import NDArray

from scenesearch.pictures.opening import ImageError, decode_image
from scenesearch.runtime.cancel import check_cancelled
from scenesearch.search.request import QueryError
from scenesearch.search.searcher import MAX_UPLOAD_BYTES
from serve.keys import Caller
from serve.libraries import Libraries, OpenLibrary
from serve.models import EmbeddingsAnswer, EmbeddingsRequest, PictureOf
from serve.problems import not_found

_Vector = NDArray[np.float32]


def embed(libraries: Libraries, caller: Caller, asked: EmbeddingsRequest) -> EmbeddingsAnswer:
    """The vectors; that of a picture of the library is the one it is found by."""
    library = libraries.open(caller, asked.library)
    named = [one.id for one in asked.images if one.id is not None]
    scope = library.scope(caller)
    stored = library.pictures(named, scope, with_vectors=True) if named else {}

    def picture(one: PictureOf) -> _Vector:
        check_cancelled()
        if one.id is None:
            return _encoded(library, one.data or b"")
        if (vector := stored[one.id].vector) is None:
            raise not_found(f"library {library.name} has no vector of {one.id[:200]}")
        return vector

    def written(vector: _Vector) -> list[float] | str:
        if asked.format == "float":
            return [float(value) for value in vector]
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()

    info = library.encoder.info
    return EmbeddingsAnswer(
        encoder=info.name,
        fingerprint=info.fingerprint,
        dimension=info.dimension,
        texts=[written(vector) for vector in library.searcher.texts.embed_all(asked.texts)],
        images=[written(picture(one)) for one in asked.images],
    )


def _encoded(library: OpenLibrary, data: bytes) -> _Vector:
    if len(data) > MAX_UPLOAD_BYTES:
        raise QueryError(
            f"a picture has {len(data) / 2**20:.0f} MiB, at most {MAX_UPLOAD_BYTES // 2**20} "
            "are read"
        )
    try:
        opened = decode_image(
            data,
            reduce_to=library.encoder.info.image.longest_side,
            max_megapixels=library.installation.settings.max_megapixels,
        )
    except ImageError as error:
        raise QueryError(f"a picture cannot be used: {error}") from None
    vector: _Vector = library.encoder.encode_images([opened.image])[0]
    return vector
