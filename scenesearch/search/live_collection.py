"""The collection that a library's name stands for, and what is remembered of it."""

import time
from collections.abc import Sequence
from functools import cached_property

from scenesearch.encoder.base import EncoderInfo
from scenesearch.search.filtering import (
    KeywordValues,
    conditions_of,
    fields_of,
    passed_by_none,
)
from scenesearch.search.names import PictureNames
from scenesearch.search.presence import Presence, PresenceOf, all_here
from scenesearch.search.request import Request
from scenesearch.store.base import VectorStore, check_encoder
from scenesearch.store.fields import by_name
from scenesearch.store.filters import Filter, Has
from scenesearch.store.written import TEXT

# For so many scopes at a time the values of fields are remembered.
_MOST_SCOPES = 16

# Words are ranked by where at least this share of pictures has captions. Where only half have them,
# the others fall behind (docs/search.md has the figures).
_CAPTIONED_FROM = 0.95


class LiveCollection:
    """The collection that a library's name stood for at `opened_at`, under its own name.

    If the alias moved between encoding and search, a search by the alias would compare another
    encoder's vectors. Raises CollectionMissing and EncoderMismatch when made.
    """

    def __init__(
        self,
        store: VectorStore,
        library: str,
        encoder: EncoderInfo,
        presence_of: PresenceOf = all_here,
    ) -> None:
        self.store = store
        self.name = store.resolve(library)
        self.spec = store.describe(self.name)
        check_encoder(
            self.spec,
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dimension=encoder.dimension,
        )
        self.fields = by_name(self.spec.fields)
        self._values: dict[Filter, KeywordValues] = {}
        self.presence_of = presence_of
        self.names = PictureNames(store, self.name, library)
        self.opened_at = time.monotonic()

    def presence(self) -> Presence:
        """Which folders of the library are away now."""
        return self.presence_of(self.spec.library)

    @cached_property
    def is_captioned(self) -> bool:
        """Whether nearly every picture has a caption, and so words help."""
        if not self.spec.words or "captions" not in self.fields:
            return False
        captioned = self.store.count(self.name, where=(Has("captions"),))
        return captioned > 0 and captioned >= _CAPTIONED_FROM * self.store.count(self.name)

    @cached_property
    def has_text(self) -> bool:
        """Whether text was read from any picture."""
        if not self.spec.words or TEXT not in self.fields:
            return False
        return self.store.count(self.name, where=(Has(TEXT),)) > 0

    def values(self, scope: Filter) -> KeywordValues:
        """The values of the pictures in the scope."""
        if scope not in self._values:
            if len(self._values) >= _MOST_SCOPES:
                self._values = {}
            self._values[scope] = KeywordValues(self.store, self.name, scope)
        return self._values[scope]

    def conditions(self, request: Request) -> tuple[Filter, tuple[str, ...]]:
        """All conditions that the request makes, and notices about those that are written; the
        scope is none of them."""
        written, notices = conditions_of(
            request.filters, self.spec.fields, self.values(request.scope).of, self.presence
        )
        return (*written, *request.where), notices

    def passed_by_none(
        self, request: Request, conditions: Filter, notices: Sequence[str] = ()
    ) -> list[str]:
        """Why no picture passes the `conditions` of the request; nothing where one does."""
        labels = (
            self.fields[names[0]].label if (names := fields_of(one)) else ""
            for one in request.where
        )
        named = zip((*map(str, request.filters), *labels), conditions, strict=True)
        given = [(name, condition) for name, condition in named if name]
        return passed_by_none(
            self.store, self.name, self.spec.fields, given, notices, request.scope
        )
