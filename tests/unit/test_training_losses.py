"""Losses against values worked out by hand."""

import math

import pytest

torch = pytest.importorskip("torch")

from training.losses import contrastive_loss, prototype_loss, soft_target_loss  # noqa: E402

LOG_1_PLUS_E_MINUS_1 = math.log(1 + math.exp(-1))


def captions_loss(images, texts, positives, scale):
    """The loss where every other text counts as one negative."""
    targets = positives.float()
    return contrastive_loss(images, texts, targets, torch.ones_like(targets), scale)


def test_one_caption_an_image_is_the_ordinary_symmetric_loss():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = captions_loss(images, images, torch.eye(2, dtype=torch.bool), torch.tensor(1.0))
    # Each row scores 1 for its own and 0 for the other: -log(e / (e + 1)).
    assert loss.item() == pytest.approx(LOG_1_PLUS_E_MINUS_1)


def test_a_sibling_caption_is_not_a_negative():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    positives = torch.tensor([[True, True, False], [False, False, True]])
    loss = captions_loss(images, texts, positives, torch.tensor(1.0))
    # Image 1: two positives, each against one negative of score 0. Image 2: its own 1 against
    # two zeros. Every text: its own 1 against one 0.
    image_one, image_two = LOG_1_PLUS_E_MINUS_1, math.log(1 + 2 * math.exp(-1))
    expected = 0.5 * ((image_one + image_two) / 2 + LOG_1_PLUS_E_MINUS_1)
    assert loss.item() == pytest.approx(expected)


def test_the_gradient_pulls_siblings_together_even_when_one_is_already_close():
    image = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], requires_grad=True)
    positives = torch.tensor([[True, True, False], [False, False, True]])
    captions_loss(image, texts, positives, torch.tensor(10.0)).backward()
    assert texts.grad[1, 0] < 0  # a step downhill moves the far sibling towards its image


def test_an_image_without_a_caption_in_the_batch_adds_nothing():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    texts = images[:2]
    positives = torch.tensor([[True, False], [False, True], [False, False]])
    loss = captions_loss(images, texts, positives, torch.tensor(1.0))
    by_image = LOG_1_PLUS_E_MINUS_1
    by_text = (
        math.log(1 + math.exp(-1) + math.exp(0.6 - 1))
        + math.log(1 + math.exp(-1) + math.exp(0.8 - 1))
    ) / 2
    assert loss.item() == pytest.approx(0.5 * (by_image + by_text))


def test_matching_the_teacher_costs_nothing():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5]])
    assert soft_target_loss(logits, logits.softmax(dim=1)).item() == pytest.approx(0.0, abs=1e-6)


def test_a_sure_teacher_and_an_undecided_pupil_differ_by_log_of_the_choices():
    loss = soft_target_loss(torch.zeros(2, 4), torch.eye(4)[:2])
    assert loss.item() == pytest.approx(math.log(4))


def test_a_prototype_nearest_to_another_label_costs_more_than_one_at_home():
    labels = torch.eye(3)
    home = prototype_loss(labels, labels, torch.tensor(5.0))
    away = prototype_loss(labels[[1, 0, 2]], labels, torch.tensor(5.0))
    assert home.item() == pytest.approx(math.log(1 + 2 * math.exp(-5)))
    assert away > home
