"""The queue: published values, any batch size, no gradient or copy where none belongs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import REPOSITORY

from mmt_plugin.modeling.losses import moco_loss
from mmt_plugin.modeling.memory import KeyQueue


@pytest.fixture
def golden():
    with np.load(REPOSITORY / "tests" / "golden" / "moco.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def test_two_steps_as_published(golden):
    moco = KeyQueue(32, 320)
    moco.queue.copy_(golden["queue0"])
    for step in ("1", "2"):
        query = golden[f"query{step}"].requires_grad_()
        loss = moco_loss(query, golden[f"key{step}"], moco.queue, float(golden["temperature"]))
        moco.enqueue(F.normalize(golden[f"key{step}"], dim=1))  # before the backward pass: it keeps no queue
        loss.backward()
        torch.testing.assert_close(loss, golden[f"loss{step}"])
        torch.testing.assert_close(query.grad, golden[f"grad{step}"], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(moco.queue, golden["queue2"])
    assert torch.equal(moco.pointer, golden["ptr2"])


def test_gradient_is_that_of_the_written_out_loss():
    torch.manual_seed(0)
    moco = KeyQueue(6, 5)
    query, key = torch.randn(3, 6, requires_grad=True), torch.randn(3, 6)
    q, k = F.normalize(query, dim=1), F.normalize(key, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ moco.queue.clone().t()], dim=1) / 0.5
    expected = F.cross_entropy(logits, torch.zeros(3, dtype=torch.long))
    (2 * expected).backward()
    wanted, query.grad = query.grad, None
    loss = moco_loss(query, key, moco.queue, 0.5)
    (2 * loss).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(query.grad, wanted)


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 8, 15])
def test_first_in_first_out_for_any_batch_size(batch):
    moco, history = KeyQueue(4, 7), []
    for step in range(5):
        keys = F.normalize(torch.randn(batch, 4, generator=torch.Generator().manual_seed(step)), dim=1)
        history.extend(keys.tolist())
        moco.enqueue(keys)
    held = {tuple(row) for row in moco.queue.tolist()}
    latest = {tuple(row) for row in history[-7:]}
    assert latest <= held
    assert int(moco.pointer) == 5 * batch % 7
    if len(history) >= 7:  # the next to go is the oldest
        assert moco.queue[int(moco.pointer)].tolist() == history[-7]


def test_the_queue_is_neither_replaced_nor_in_the_graph():
    moco = KeyQueue(4, 8)
    storage, before = moco.queue.data_ptr(), moco.queue.clone()
    query, key = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = moco_loss(query, key, moco.queue)
    moco.enqueue(key)
    loss.backward()
    assert moco.queue.data_ptr() == storage
    assert torch.equal(moco.queue[3:], before[3:])
    assert not torch.equal(moco.queue[:3], before[:3])
    assert key.grad is None
    assert not moco.queue.requires_grad


def test_state_is_queue_and_pointer():
    moco, other = KeyQueue(4, 8), KeyQueue(4, 8)
    moco.enqueue(torch.randn(3, 4))
    state = moco.state_dict()
    assert state.keys() == {"queue", "pointer"}
    other.load_state_dict(state)
    assert torch.equal(other.queue, moco.queue)
    assert int(other.pointer) == 3


@pytest.mark.parametrize("arguments", [(0, 8, 0.1), (4, 0, 0.1), (4, 8, 0.0)])
def test_impossible_queues_are_refused(arguments):
    *sizes, temperature = arguments
    with pytest.raises(ValueError, match="must be positive"):
        moco_loss(torch.ones(1, 4), torch.ones(1, 4), KeyQueue(*sizes).queue, temperature)


@pytest.mark.parametrize("shapes", [((3, 4), (2, 4)), ((3, 5), (3, 5)), ((4,), (4,))])
def test_shapes_are_checked(shapes):
    with pytest.raises(ValueError, match="expected query and key B x 4"):
        moco_loss(*(torch.randn(shape) for shape in shapes), KeyQueue(4, 8).queue)
