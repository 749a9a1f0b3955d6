"""Requests and answers as types. Validation, JSON Schema and the OpenAPI document come from them.

An answer has the fields of the command line's `--json`; a test compares both.
"""

import base64
import binascii
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    SecretStr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    Tag,
    model_validator,
)

from scenesearch.home.webhook_message import MAX_SECRET, MIN_SECRET
from scenesearch.pictures.records import (
    LIBRARY_NAME,
    MAX_CAPTION_CHARS,
    MAX_CAPTIONS,
    MAX_QUERY_CHARACTERS,
    MAX_TAG_CHARS,
    MAX_TAGS,
)
from scenesearch.runtime.web_address import MAX_URL
from scenesearch.search.request import MAX_FILTERS, MAX_PARTS, MAX_VALUES, MAX_WEIGHT

# Tags of unions begin with ~, so that errors leave them out of the place they name.

# Longer names are in no library.
_MAX_ID = 4096
_MAX_CURSOR = 16_384
# Pictures that one request says to be right, or wrong.
_MAX_MARKED = 1000
# Pictures of one list.
MAX_LISTED = 1000
# Texts or pictures of one request for embeddings; pictures of one upload.
MAX_TOGETHER = 64


def _without_zero(text: str) -> str:
    """Neither stores nor file systems take one."""
    if "\0" in text:
        raise ValueError("a zero byte is no text")
    return text


def _decoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("give the bytes of the picture's file in base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64") from None


Text = Annotated[
    str, StringConstraints(max_length=MAX_QUERY_CHARACTERS), AfterValidator(_without_zero)
]
LibraryName = Annotated[str, Field(pattern=rf"^{LIBRARY_NAME.pattern}$", examples=["photos"])]
ImageId = Annotated[
    str, StringConstraints(min_length=1, max_length=_MAX_ID), AfterValidator(_without_zero)
]
FieldName = Annotated[str, StringConstraints(max_length=200), AfterValidator(_without_zero)]
FilterValue = StrictBool | StrictInt | StrictFloat | Text
Picture = Annotated[
    bytes,
    BeforeValidator(_decoded, json_schema_input_type=str),
    Field(min_length=1, json_schema_extra={"contentEncoding": "base64"}),
]
Weight = Annotated[float, Field(gt=0, le=MAX_WEIGHT, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Model(BaseModel):
    """Unknown keys are refused: a misspelled one would be ignored without a word."""

    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64", ser_json_inf_nan="null")


# --- search ------------------------------------------------------------------------------------


class TextPart(Model):
    """A scene in words, read as they stand."""

    text: Annotated[Text, StringConstraints(min_length=1)]
    weight: Weight = 1.0
    exclude: Annotated[bool, Field(description="Pictures must not show it.")] = False


class PicturePart(Model):
    """A picture of the library."""

    id: ImageId
    weight: Weight = 1.0
    exclude: bool = False


class UploadPart(Model):
    """A picture from elsewhere: its file in base64."""

    data: Picture
    weight: Weight = 1.0
    exclude: bool = False


def _kind_of_part(given: object) -> str:
    """Which of the types a part is meant to be, so that an error is about that one."""
    for kind, key in ((PicturePart, "id"), (UploadPart, "data")):
        if isinstance(given, kind) or (isinstance(given, dict) and key in given):
            return f"~{key}"
    return "~text"


Part = Annotated[
    Annotated[TextPart, Tag("~text")]
    | Annotated[PicturePart, Tag("~id")]
    | Annotated[UploadPart, Tag("~data")],
    Discriminator(_kind_of_part),
]


class FieldFilter(Model):
    """Pictures whose field has the value, or one of several."""

    field: FieldName
    operator: Literal[":", "=", "!=", ">", ">=", "<", "<="] = ":"
    value: FilterValue | Annotated[list[FilterValue], Field(min_length=1, max_length=MAX_VALUES)]


class AllOf(Model):
    """Pictures that pass every one of these filters."""

    and_: Annotated[list["Filter"], Field(alias="and", min_length=1, max_length=MAX_FILTERS)]


class AnyOf(Model):
    """Pictures that pass at least one of these filters."""

    or_: Annotated[list["Filter"], Field(alias="or", min_length=1, max_length=MAX_FILTERS)]


class NotThis(Model):
    """Pictures that do not pass this filter."""

    not_: Annotated["Filter", Field(alias="not")]


def _kind_of_filter(given: object) -> str:
    """Which of the types a filter is meant to be, so that an error is about that one."""
    kinds: tuple[tuple[type[Model], str], ...] = ((AllOf, "and"), (AnyOf, "or"), (NotThis, "not"))
    for kind, key in kinds:
        if isinstance(given, kind) or (isinstance(given, dict) and key in given):
            return f"~{key}"
    return "~text" if isinstance(given, str) else "~field"


def _kind_of_where(given: object) -> str:
    return "~several" if isinstance(given, list) else _kind_of_filter(given)


_TREE = (
    Annotated[FieldFilter, Tag("~field")]
    | Annotated[AllOf, Tag("~and")]
    | Annotated[AnyOf, Tag("~or")]
    | Annotated[NotThis, Tag("~not")]
)
Filter = Annotated[_TREE, Discriminator(_kind_of_filter)]
TextOrFilter = Annotated[
    Annotated[Text, Tag("~text")] | _TREE,
    Discriminator(_kind_of_filter),
]
Where = Annotated[
    Annotated[Text, Tag("~text")]
    | _TREE
    | Annotated[Annotated[list[TextOrFilter], Field(max_length=MAX_FILTERS)], Tag("~several")],
    Discriminator(_kind_of_where),
]


class SearchRequest(Model):
    """What to look for, and what the hits must be."""

    library: LibraryName | None = None
    text: Annotated[
        Text, Field(description="A scene in the grammar of the search box (docs/search.md).")
    ] = ""
    parts: Annotated[
        list[Part],
        Field(max_length=MAX_PARTS, description="Further things to look for, or to leave out."),
    ] = []
    where: Annotated[
        Where,
        Field(
            description="Filters: text in the grammar of --where, or nested objects; all of a "
            "list hold.",
            examples=[
                "(camera:canon or camera:nikon) -tag:draft",
                {
                    "or": [
                        {"field": "camera", "value": "canon"},
                        {"not": {"field": "tags", "value": "draft"}},
                    ]
                },
            ],
        ),
    ] = ""
    sort: Annotated[
        FieldName | None,
        Field(description="A field; with - before it the largest or newest comes first."),
    ] = None
    limit: Annotated[int, Field(ge=1, description="How many hits; the server sets a maximum.")] = 10
    after: Annotated[
        Annotated[str, StringConstraints(max_length=_MAX_CURSOR)] | None,
        Field(description="`next` of the page before."),
    ] = None
    facets: Annotated[
        list[FieldName], Field(max_length=MAX_FILTERS, description="Fields to count values of.")
    ] = []
    diversity: Annotated[
        Share | None, Field(description="Prefer hits unlike those above; 0.5 is a lot.")
    ] = None
    min_relevance: Annotated[
        Share | None, Field(description="Leave out less relevant pictures; 0 leaves out none.")
    ] = None
    hybrid: Annotated[
        bool | None,
        Field(
            description="Whether words of captions, tags, titles and file names count too; null: "
            "where that helps."
        ),
    ] = None
    right: Annotated[
        list[ImageId],
        Field(max_length=_MAX_MARKED, description="Pictures that the ranking leans towards."),
    ] = []
    wrong: Annotated[
        list[ImageId], Field(max_length=_MAX_MARKED, description="Pictures to leave out.")
    ] = []


class HitAnswer(Model):
    """A picture that was found."""

    rank: int
    image_id: str
    path: str
    score: float | None
    relevance: float | None
    band: Literal["strong", "partial", "weak"] | None
    copies: list[str]
    offline: bool
    payload: dict[str, JsonValue]


class FacetCount(Model):
    value: str | int | bool
    count: int


class Timing(Model):
    encode: float
    search: float
    total: float


class SearchAnswer(Model):
    """The JSON of `scenesearch search --json`."""

    query: str
    encoder: str
    library: str
    hits: list[HitAnswer]
    partial: list[HitAnswer]
    next: str | None
    notices: list[str]
    facets: dict[str, list[FacetCount]]
    excluded: int
    min_relevance: float
    timing_ms: Timing


# --- what there is -----------------------------------------------------------------------------


class LibraryInfo(Model):
    """A library; `pictures` are those that the key may see."""

    name: str
    pictures: int
    encoder: str
    dimension: int
    default: bool


class LibrariesAnswer(Model):
    """The libraries that the key may see, and what this server allows."""

    libraries: list[LibraryInfo]
    version: Annotated[str, Field(description="The scenesearch of this server.")]
    max_limit: Annotated[int, Field(description="The most hits of an answer.")]
    may_write: Annotated[bool, Field(description="Whether the key may change something here.")]


class FieldInfo(Model):
    """A field that pictures can be filtered, sorted or counted by."""

    name: str
    type: Literal["keyword", "integer", "float", "boolean", "datetime", "text", "geo"]
    label: str
    help: str
    multiple: bool
    hierarchical: bool
    operators: list[str]
    sortable: bool
    countable: bool
    writable: bool


class FieldsAnswer(Model):
    library: str
    fields: list[FieldInfo]
    min_relevance: Annotated[
        float,
        Field(
            description="How relevant the best picture must be at least, where a search leaves it "
            "open and describes something in words; for a single word it may differ."
        ),
    ]


class ValuesAnswer(Model):
    """The values of a field, the most frequent first, each with its number of pictures."""

    library: str
    field: str
    values: list[FacetCount]


class EncoderInfo(Model):
    """An encoder of this server, and the libraries whose vectors it made."""

    name: str
    place: Literal["bundled", "shelf"]
    dimension: int | None
    mb: float
    libraries: list[str]
    broken: bool


class EncodersAnswer(Model):
    encoders: list[EncoderInfo]


class Health(Model):
    status: Literal["ok"] = "ok"


# --- pictures ----------------------------------------------------------------------------------


class ImageAnswer(Model):
    """What the library knows of a picture."""

    image_id: str
    library: str
    path: str
    offline: bool
    payload: dict[str, JsonValue]


class ImagesAnswer(Model):
    """Pictures of a library in an order that stays; `pictures` counts all that pass the filter."""

    library: str
    pictures: int
    images: list[ImageAnswer]
    next: str | None


class WordEffectAnswer(Model):
    word: str
    effect: float


class WrittenLineAnswer(Model):
    """A line of text in a picture: its corners, x before y, as shares of the picture's sides, and
    how sure its reading is (0-1)."""

    line: str
    box: list[float]
    confidence: float


class WhyAnswer(Model):
    """Why a picture is relevant to a text: log odds that it loses without a word, or with a cell
    of it covered; the lines written in it that hold words of the text."""

    image_id: str
    relevance: float
    words: list[WordEffectAnswer]
    more_words: int
    heat: list[list[float]] | None
    heat_box: list[float] | None
    text: list[WrittenLineAnswer]


Caption = Annotated[
    str, StringConstraints(max_length=MAX_CAPTION_CHARS), AfterValidator(_without_zero)
]
TagText = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TAG_CHARS), AfterValidator(_without_zero)
]
ImageName = Annotated[
    str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_without_zero)
]
Captions = Annotated[list[Caption], Field(max_length=MAX_CAPTIONS)]
Tags = Annotated[list[TagText], Field(max_length=MAX_TAGS)]
Fields = Annotated[dict[FieldName, Any], Field(max_length=100)]


class ImageChange(Model):
    """What is said of a picture from now on; what is left out stays as it is."""

    captions: Captions | None = None
    tags: Tags | None = None
    fields: Annotated[
        Fields, Field(description="Custom fields of the library; null takes a value away.")
    ] = {}


class NewImage(Model):
    """A picture to be brought in, and what is said of it."""

    data: Picture
    name: ImageName = "picture"
    captions: Captions = []
    tags: Tags = []
    fields: Fields = {}


class NewImages(Model):
    library: LibraryName | None = None
    images: Annotated[list[NewImage], Field(min_length=1, max_length=MAX_TOGETHER)]


class IngestRequest(Model):
    """Folders and files of the server, below those that the server allows."""

    library: LibraryName | None = None
    paths: Annotated[list[ImageId], Field(min_length=1, max_length=100)]
    prune: Annotated[bool, Field(description="Also remove pictures whose files are gone.")] = False


class Progress(Model):
    """Counts of pictures; `total` is 0 while it is unknown."""

    seen: int = 0
    total: int = 0
    written: int = 0
    skipped: int = 0
    rejected: int = 0


class RejectAnswer(Model):
    path: str
    reason: str


class JobAnswer(Model):
    """Work in the background; it goes on when the server is started again."""

    id: str
    kind: Literal["images", "ingest"]
    library: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    created: str
    progress: Progress
    images: Annotated[
        list[str], Field(description="Ids of the pictures that were brought in by an upload.")
    ] = []
    rejects: list[RejectAnswer] = []
    error: str | None = None


# --- collections and webhooks ------------------------------------------------------------------

CollectionName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_QUERY_CHARACTERS),
    AfterValidator(_without_zero),
]


class CollectionInfo(Model):
    """A saved request. `pictures` counts those that the key may see: null where it was not counted,
    or its request cannot be asked any more. `picture` stands for it, null for the first."""

    name: str
    request: str
    min_relevance: float | None
    picture: str | None
    added: Annotated[list[str], Field(description="Pictures that were added by hand.")]
    excluded: Annotated[list[str], Field(description="Pictures that were excluded by hand.")]
    pictures: int | None


class CollectionsAnswer(Model):
    library: str
    collections: list[CollectionInfo]


class CollectionAnswer(CollectionInfo):
    """A collection with its pictures: first those by hand, then what its request finds."""

    library: str
    hits: list[HitAnswer]
    next: str | None


class NewWebhook(Model):
    """An address that is to be told what a collection gets."""

    library: LibraryName | None = None
    collection: CollectionName
    url: Annotated[
        str, Field(max_length=MAX_URL, description="http or https; redirects are not followed.")
    ]
    secret: Annotated[
        SecretStr,
        Field(
            min_length=MIN_SECRET,
            max_length=MAX_SECRET,
            description="Signs each message (X-Hub-Signature-256); it is never told again.",
        ),
    ]
    all: Annotated[
        bool, Field(description="Also tell the pictures that are there now; else they are not new.")
    ] = False


class DeliveryAnswer(Model):
    """A message that was not accepted yet. `error` says why, null before the first try."""

    id: str
    created: str
    pictures: int
    tries: int
    error: str | None


class WebhookAnswer(Model):
    """A webhook. It is `paused` while `problem` holds, and `failing` while its address does not
    accept what it is sent; what waits is kept, and tried again at `next_try`."""

    id: str
    library: str
    collection: str
    url: str
    owner: Annotated[str, Field(description="The name of the key that made it.")]
    created: str
    state: Literal["active", "failing", "paused"]
    problem: str | None
    delivered: Annotated[int, Field(description="Messages that were accepted.")]
    last_delivered: str | None
    next_try: str | None
    waiting: list[DeliveryAnswer]


class WebhooksAnswer(Model):
    webhooks: list[WebhookAnswer]


# --- embeddings and feedback -------------------------------------------------------------------


class PictureOf(Model):
    """A picture of the library by its id, or one from elsewhere: its file in base64."""

    id: ImageId | None = None
    data: Picture | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.id is None) == (self.data is None):
            raise ValueError("give either the id of a picture or its data")
        return self


class EmbeddingsRequest(Model):
    """Texts, pictures or both. `texts` are never paths or addresses."""

    library: Annotated[
        LibraryName | None, Field(description="Its encoder is used, and its pictures can be named.")
    ] = None
    texts: Annotated[
        list[Annotated[Text, StringConstraints(min_length=1)]], Field(max_length=MAX_TOGETHER)
    ] = []
    images: Annotated[list[PictureOf], Field(max_length=MAX_TOGETHER)] = []
    format: Annotated[
        Literal["float", "base64"],
        Field(description="base64: little-endian float32, one after the other."),
    ] = "float"


class EmbeddingsAnswer(Model):
    """Vectors of unit length, in the order of the request."""

    encoder: str
    fingerprint: str
    dimension: int
    texts: list[list[float] | str]
    images: list[list[float] | str]


class FeedbackRequest(Model):
    """That pictures are right, or wrong, for a text; the last word on both counts."""

    library: LibraryName | None = None
    text: Annotated[Text, StringConstraints(min_length=1)]
    images: Annotated[list[ImageId], Field(min_length=1, max_length=_MAX_MARKED)]
    mark: Literal["right", "wrong", "none"]


class FeedbackAnswer(Model):
    marked: int


class MarksAnswer(Model):
    """The pictures that were called right, or wrong, for a text."""

    right: list[str]
    wrong: list[str]
