"""A library opened from Python: `scenesearch.open("photos").search("a dog in the snow")`.

    import scenesearch

    with scenesearch.open("photos") as library:
        answer = library.search("a dog in the snow -people taken:last-year", k=12)
        for hit in answer:
            print(hit.rank, hit.image_id, hit.likeness)

`print(answer)` prints a line per hit; Jupyter shows an answer as a grid of its pictures. Settings
are read as by the command line, whose `search` is this `Library.search`.
"""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scenesearch.encoder.base import Encoder
from scenesearch.errors import SceneSearchError
from scenesearch.home.allowed_originals import AllowedOriginals
from scenesearch.home.collection_members import Members
from scenesearch.home.installation import Installation
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.saved_collections import find_collection
from scenesearch.home.settings import Settings
from scenesearch.pictures.opening import ImageError, open_image
from scenesearch.pictures.originals import LocalFile, OriginalError
from scenesearch.pictures.thumbnails import THUMBNAIL_SIDE, thumbnail_path
from scenesearch.runtime import memory
from scenesearch.search.answer import Hit, SearchResult
from scenesearch.search.grammar import Where, parse_facet, parse_order, parse_where
from scenesearch.search.matches import matches
from scenesearch.search.request import Like, QueryError, Request, Upload
from scenesearch.search.searcher import MAX_UPLOAD_BYTES
from scenesearch.search.why import Why, why
from scenesearch.store.base import VectorStore
from scenesearch.store.fields import PayloadField

QueryPicture = str | Path | bytes | Image.Image


class OriginalUnavailable(SceneSearchError):  # noqa: N818 - says what is the matter
    """A picture's original cannot be opened; the message says which and why."""


@dataclass(frozen=True, repr=False)
class Answer(SearchResult):
    """The hits of a search: printed a line each, in Jupyter a grid of pictures.

    `request` is what was asked, for `Library.why`.
    """

    request: Request = field(default_factory=Request)
    thumbnails_dir: Path = Path()
    originals: AllowedOriginals = field(default=AllowedOriginals(()), repr=False, compare=False)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, position: int) -> Hit:
        return self.hits[position]

    def _repr_html_(self) -> str:
        shown = self.hits or self.partial
        said = [f"{self.counted} for “{self.query}”"]
        if not self.hits:
            said = [f"Nothing in {self.library} matches “{self.query}”"]
            said += ["The nearest:"] if self.partial else []
        lines = "".join(f"<div>{html.escape(line)}</div>" for line in (*said, *self.notices))
        cells = "".join(self._cell(hit) for hit in shown)
        return (
            f'<div style="font-family:sans-serif">{lines}<div style="display:grid;gap:8px;'
            f'grid-template-columns:repeat(auto-fill,minmax(160px,1fr))">{cells}</div></div>'
        )

    def _cell(self, hit: Hit) -> str:
        name = html.escape(hit.image_id, quote=True)
        copies = f" · {len(hit.duplicates)} more like it" if hit.duplicates else ""
        found = f"{hit.rank}. {hit.likeness}".rstrip() + copies
        away = "" if self.originals.allows(hit.path) else " · its original is not here"
        picture = _data_uri(hit, self.thumbnails_dir, self.originals)
        return (
            f'<figure style="margin:0"><img alt="{name}" src="{picture}" '
            'style="width:100%"><figcaption style="overflow-wrap:anywhere">'
            f"<b>{found}{away}</b><br>{name}</figcaption></figure>"
        )


class Library:
    """One library of pictures, open until `close` or the end of a `with` block."""

    def __init__(
        self, installation: Installation, name: str, store: VectorStore, encoder: Encoder
    ) -> None:
        self.name = name
        self.searcher = installation.searcher(encoder, store, name)
        self._installation = installation
        self._store = store
        self._encoder = encoder

    def search(
        self,
        text: str = "",
        *,
        image: QueryPicture | None = None,
        like: str | None = None,
        where: Where | Sequence[Where] = (),
        k: int = 10,
        min_relevance: float | None = None,
        sort: str | None = None,
        after: str | None = None,
        offset: int = 0,
        collapse: bool = True,
        diversity: float | None = None,
        hybrid: bool | None = None,
        right: str | Sequence[str] = (),
        wrong: str | Sequence[str] = (),
        facets: str | Sequence[str] = (),
    ) -> Answer:
        """The best k pictures for the text, or the page that follows the cursor `after`.

        `text` is in the grammar of docs/search.md; it is never a path or an address. To search with
        a picture, give `image` (a path, bytes or a Pillow image) or `like` (an image id). `where`
        takes filters like `--where`, as text or as mappings, `sort` the name of a field ('-taken':
        newest first). Hits below `min_relevance` (0-1) are left out; 0 leaves out none. By default
        the setting says, or else the library: at most one in ten things that it does not show is
        found.
        Near-duplicates are collapsed. `hybrid` ranks by captions, tags, titles and file names too,
        by default where pictures have captions. `right` and `wrong` are image ids of hits that are,
        or are not, what is wanted. Raises QueryError for a request that makes no sense.
        """
        request = self.request(text, image=image, like=like, where=where, sort=sort)
        result = self.searcher.search(
            self.cut(request, min_relevance),
            k=k,
            offset=offset,
            after=after,
            collapse=collapse,
            diversity=diversity,
            hybrid=hybrid,
            right=_several(right),
            wrong=_several(wrong),
            facets=tuple(parse_facet(name, self.fields) for name in _several(facets)),
        )
        whole = {one.name: getattr(result, one.name) for one in fields(result)}
        return Answer(
            **whole,
            request=request,
            thumbnails_dir=self.files.thumbnails,
            originals=self._installation.originals,
        )

    def matches(
        self,
        text: str = "",
        *,
        where: Where | Sequence[Where] = (),
        min_relevance: float | None = None,
        limit: int | None = None,
    ) -> Iterator[Hit]:
        """Every picture that `search` finds, copies one by one, best first; at most `limit`."""
        request = self.request(text, where=where)
        return matches(self.searcher, self.cut(request, min_relevance), limit=limit)

    def collection(self, name: str) -> Members:
        """The pictures of a saved collection, as they are now; raises CollectionError."""
        saved = find_collection(self.files.saved_requests, name)
        return Members(self.searcher, saved, self._installation.settings.min_relevance)

    def cut(self, request: Request, min_relevance: float | None = None) -> Request:
        """The request with this least relevance, by default the setting's, else the library's."""
        if min_relevance is None:
            min_relevance = self._installation.settings.min_relevance
        return replace(
            request, min_relevance=min_relevance or 0.0, default_cut=min_relevance is None
        )

    def request(
        self,
        text: str = "",
        *,
        image: QueryPicture | None = None,
        like: str | None = None,
        where: Where | Sequence[Where] = (),
        sort: str | None = None,
    ) -> Request:
        """The arguments as one request; raises QueryError."""
        request = self.searcher.parse(text)
        filters = parse_where(_expressions(where), self.fields)
        parts = list(request.parts)
        if like is not None:
            parts.append(Like(like))
        if image is not None:
            parts.append(_upload(image))
        return replace(
            request,
            parts=tuple(parts),
            filters=(*request.filters, *filters),
            sort=None if sort is None else parse_order(sort, self.fields),
        )

    def why(self, text: str | Request, image_id: str, *, heat: bool = True) -> Why:
        """Which words, and with `heat` which parts of the picture, made it relevant."""
        request = self.searcher.parse(text) if isinstance(text, str) else text
        if all(part.excluded for part in request.parts):
            raise QueryError("filters alone have no reasons: describe a scene in words")
        image_id = self.searcher.image_id(image_id)
        point = self._store.retrieve(self.name, [image_id]).get(image_id)
        return why(
            self.searcher,
            self._encoder,
            request,
            image_id,
            self.vector(image_id),
            self.picture(image_id) if heat else None,
            {} if point is None else point.payload,
        )

    def vector(self, image_id: str) -> NDArray[np.float32]:
        """The picture's embedding, `(dimension,)`; raises QueryError without such a picture."""
        point = self._store.retrieve(self.name, [image_id], with_vectors=True).get(image_id)
        if point is None or point.vector is None:
            raise QueryError(f"library {self.name} has no picture {image_id}")
        return point.vector

    def picture(self, image_id: str) -> Image.Image:
        """The original, upright RGB; raises OriginalUnavailable when it cannot be opened."""
        point = self._store.retrieve(self.name, [image_id]).get(image_id)
        if point is None:
            raise QueryError(f"library {self.name} has no picture {image_id}")
        try:
            original = self._installation.originals.original(point.payload)
            most = self._installation.settings.max_megapixels
            return open_image(original, max_megapixels=most).image
        except (ImageError, OriginalError) as error:
            raise OriginalUnavailable(f"{image_id} cannot be opened: {error}") from None

    @property
    def files(self) -> LibraryFiles:
        """What the library keeps beside its collection."""
        return self._installation.files(self.name)

    @property
    def fields(self) -> tuple[PayloadField, ...]:
        """What can be filtered, sorted and counted by."""
        return self.searcher.fields

    def release(self) -> None:
        """Let other processes have the library until it is asked again."""
        self._store.release(self.name)

    def close(self) -> None:
        """Close the library; other processes could use it in the meantime too."""
        self._store.close()

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_library(
    library: str | None = None,
    *,
    encoder: str | None = None,
    installation: Installation | None = None,
) -> Library:
    """The library of that name, by default the setting's, ready to be searched.

    `encoder` is a name or folder, by default the encoder whose vectors the library holds. Raises
    CollectionMissing if there is no such library, IndexBusy if another process uses it for half a
    minute without a pause.
    """
    installation = installation or Installation(Settings())
    memory.set_limit(installation.settings.memory_mb)
    name = installation.library_name(library)
    store = installation.open_store(reading=True)
    try:
        spec = store.describe(name)
        loaded = installation.load_encoder(encoder, of=None if encoder else spec)
        # It takes a third of a search. Do it now, while other processes can use the library.
        loaded.encode_texts(["warm-up"])
        return Library(installation, name, store, loaded)
    except BaseException:
        store.close()
        raise


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _expressions(where: Where | Sequence[Where]) -> tuple[Where, ...]:
    return (where,) if isinstance(where, str | Mapping) else tuple(where)


def _upload(image: QueryPicture) -> Upload:
    if isinstance(image, bytes):
        return Upload(image)
    if isinstance(image, Image.Image):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "BMP")  # lossless and fast
        return Upload(buffer.getvalue())
    if not isinstance(image, str | Path):
        kind = type(image).__name__
        raise QueryError(f"image= takes a path, bytes or a Pillow image, not {kind}")
    file = LocalFile(Path(image))
    try:
        size = file.state().size_bytes
        if size > MAX_UPLOAD_BYTES:
            raise QueryError(
                f"{image} has {size / 2**20:.0f} MiB, a query picture at most "
                f"{MAX_UPLOAD_BYTES // 2**20}"
            )
        return Upload(file.read(), str(image))
    except OriginalError as error:
        raise QueryError(f"{image}: {error}") from None
    except ValueError:  # NUL, or half a surrogate pair
        raise QueryError(f"{str(image)!r} is no name of a file") from None


def _data_uri(hit: Hit, thumbnails_dir: Path, originals: AllowedOriginals) -> str:
    """The thumbnail as a data URI: a notebook may not fetch files, and is sent to others."""
    try:
        data = thumbnail_path(thumbnails_dir, str(hit.payload.get("sha256", ""))).read_bytes()
    except (OSError, ImageError):
        try:
            picture = open_image(originals.original(hit.payload), reduce_to=THUMBNAIL_SIDE).image
        except (ImageError, OriginalError):
            picture = Image.new("RGB", (4, 3), (196, 200, 206))
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        data = buffer.getvalue()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
