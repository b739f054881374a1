"""Image translation on a second device."""

from mmt_plugin.sda.phases import train


def test_a_second_device(sim, sda_config):
    losses = train(sda_config(MODEL__DEVICE=sim, SOLVER__MAX_EPOCH=1), resume=False)
    assert all(value > 0 for value in losses.values())
