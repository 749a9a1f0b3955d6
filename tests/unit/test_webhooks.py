"""What a library keeps of its webhooks: what they have seen, and what they are still to be told."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenesearch.home import webhooks as module
from scenesearch.home.collection_changes import rename_collection
from scenesearch.home.collection_watch import Seen, WatchState
from scenesearch.home.library_files import LibraryFiles
from scenesearch.home.saved_collections import SavedCollection, save_collection
from scenesearch.home.webhook_message import MAX_PICTURES, headers_of
from scenesearch.home.webhooks import (
    LONGEST_PAUSE_S,
    MAX_WEBHOOKS,
    TooManyWebhooks,
    Webhook,
    Webhooks,
)
from scenesearch.search.answer import Hit

SHARED = "a secret of both sides"


@pytest.fixture
def webhooks(tmp_path: Path) -> Iterator[Webhooks]:
    with Webhooks(tmp_path) as found:
        yield found


def hit(name: str, rank: int = 1) -> Hit:
    return Hit(rank, name, f"/photos/{name}", None, None, {"sha256": f"hash of {name}"})


def add(webhooks: Webhooks, *seen: str, url: str = "http://example.org/") -> Webhook:
    hits = [hit(name) for name in seen]
    return webhooks.add("Warm", url, SHARED, "site", "red", "", hits)[0]


def again(webhooks: Webhooks, webhook: Webhook) -> Webhook:
    found = webhooks.find(webhook.id)
    assert found is not None
    return found


def deliver(webhooks: Webhooks, webhook: Webhook, *names: str) -> bool:
    return webhooks.deliver(webhook, "photos", webhooks.new(webhook, [hit(one) for one in names]))


def test_only_what_it_has_not_seen_is_new_and_once(webhooks: Webhooks) -> None:
    webhook = add(webhooks, "a.jpg")
    assert deliver(webhooks, webhook, "a.jpg", "b.jpg")
    (waiting,) = webhooks.waiting(webhook)
    document = json.loads(waiting.body)
    assert (document["library"], document["collection"]) == ("photos", "Warm")
    assert document["delivery"] == waiting.id
    assert [one["image_id"] for one in document["pictures"]] == ["b.jpg"]
    assert document["pictures"][0].keys() >= {"library", "collection", "path", "payload"}
    assert webhooks.new(webhook, [hit("a.jpg"), hit("b.jpg")]) == []


def test_many_pictures_are_told_in_parts_and_what_has_no_room_stays_new(
    webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    webhook = add(webhooks)
    hits = [hit(f"{number}.jpg", number) for number in range(3 * MAX_PICTURES)]
    assert not webhooks.deliver(webhook, "photos", hits)
    assert [one.pictures for one in webhooks.waiting(webhook)] == [MAX_PICTURES, MAX_PICTURES]
    assert webhooks.is_full(webhook)
    assert webhooks.new(webhook, hits) == hits[2 * MAX_PICTURES :]


def test_a_try_is_noted_before_it_is_made_and_its_pauses_double(webhooks: Webhooks) -> None:
    webhook = add(webhooks)
    deliver(webhooks, webhook, "a.jpg")
    pauses = []
    for _ in range(16):
        delivery = webhooks.begin_try(again(webhooks, webhook))
        assert delivery is not None
        pauses.append(again(webhooks, webhook).pause_s)
        assert webhooks.waiting(webhook)[0].error == "the last try was not finished"
        webhooks.end_try(webhook, delivery, "it was refused")
    assert 0 < pauses[0] <= 5
    assert 5 < pauses[1] <= 10
    assert pauses[-1] <= LONGEST_PAUSE_S
    (waiting,) = webhooks.waiting(webhook)
    assert (waiting.tries, waiting.error) == (16, "it was refused")
    webhooks.try_now(webhook.id)
    assert again(webhooks, webhook).pause_s == 0


def test_what_was_accepted_is_gone_and_what_failed_comes_after_what_has_not(
    webhooks: Webhooks,
) -> None:
    webhook = add(webhooks)
    deliver(webhooks, webhook, "a.jpg")
    deliver(webhooks, webhook, "b.jpg")
    first, second = webhooks.waiting(webhook)
    assert webhooks.begin_try(webhook) == first
    webhooks.end_try(webhook, first, "no")
    assert webhooks.begin_try(again(webhooks, webhook)) == second
    webhooks.end_try(webhook, second, None)
    assert [one.id for one in webhooks.waiting(webhook)] == [first.id]
    found = again(webhooks, webhook)
    assert (found.failures, found.delivered) == (0, 1)


def test_a_clock_that_is_set_back_does_not_stop_it(
    webhooks: Webhooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = add(webhooks)
    deliver(webhooks, webhook, "a.jpg")
    webhooks.begin_try(webhook)
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    assert again(webhooks, webhook).pause_s == 0


def test_another_request_begins_anew_and_another_filter_drops_what_waits(
    webhooks: Webhooks,
) -> None:
    webhook = add(webhooks)
    deliver(webhooks, webhook, "a.jpg")
    webhooks.begin_anew(webhook, "blue", "", [hit("c.jpg")])
    webhook = again(webhooks, webhook)
    assert webhooks.new(webhook, [hit("a.jpg"), hit("c.jpg")]) == [hit("a.jpg")]
    assert len(webhooks.waiting(webhook)) == 1
    webhooks.begin_anew(webhook, "blue", "folder:public", [])
    assert webhooks.waiting(webhook) == []


def test_the_same_again_gets_another_secret_and_nothing_else(webhooks: Webhooks) -> None:
    webhook = add(webhooks, "a.jpg")
    same, is_new = webhooks.add("Warm", webhook.url, "another secret", "site", "blue", "x", [])
    assert (same.id, same.secret, same.request, is_new) == (
        webhook.id,
        "another secret",
        "red",
        False,
    )
    assert webhooks.new(same, [hit("a.jpg")]) == []


def test_a_webhook_that_is_deleted_leaves_nothing(webhooks: Webhooks, tmp_path: Path) -> None:
    webhook = add(webhooks, "a.jpg")
    deliver(webhooks, webhook, "b.jpg")
    with webhooks.lock(webhook.id):
        pass
    webhooks.delete(webhook.id)
    assert webhooks.find(webhook.id) is None
    assert webhooks.waiting(webhook) == []
    assert deliver(webhooks, webhook, "c.jpg")
    assert webhooks.waiting(webhook) == []
    assert not list(tmp_path.rglob("*.lock"))


def test_there_are_not_more_than_a_hundred(webhooks: Webhooks) -> None:
    for number in range(MAX_WEBHOOKS):
        add(webhooks, url=f"http://example.org/{number}")
    with pytest.raises(TooManyWebhooks):
        add(webhooks, url="http://example.org/more")


def test_what_watches_a_collection_follows_its_new_name(webhooks: Webhooks, tmp_path: Path) -> None:
    files = LibraryFiles(tmp_path)
    save_collection(files.saved_requests, SavedCollection("Warm", "red"))
    watched = WatchState(tmp_path, "Warm")
    with watched.alone():
        watched.write(Seen("red", frozenset(["a"])))
    webhook = add(webhooks)
    assert rename_collection(files, "Warm", " Hot\n").name == "Hot"
    assert again(webhooks, webhook).collection == "Hot"
    assert WatchState(tmp_path, "Hot").read() == Seen("red", frozenset(["a"]))


def test_its_secret_is_in_no_log_and_its_file_for_its_owner_alone(
    webhooks: Webhooks, tmp_path: Path
) -> None:
    assert SHARED not in repr(add(webhooks))
    for file in (tmp_path / "webhooks").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


def test_the_signature_is_the_one_that_github_documents() -> None:
    """The example of GitHub's page on validating webhook deliveries."""
    headers = headers_of("1", b"Hello, World!", "It's a Secret to Everybody")
    assert headers["X-Hub-Signature-256"] == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )
    assert "X-Hub-Signature-256" not in headers_of("1", b"", None)
