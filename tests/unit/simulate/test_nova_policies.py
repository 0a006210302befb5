"""Nova's weighers, applied by us, choose as Nova does."""

import random

import numpy as np
import pytest
from nova.scheduler.weights import HostWeightHandler

from gpufarm.simulate import nova_policies, policies
from gpufarm_nova.lesson import Request
from gpufarm_nova.reserve import Amounts, Host

KIND = Request((), 1, 1)


def random_places(rng):
    found = []
    for number in range(rng.randint(2, 30)):
        total = Amounts(rng.choice([32, 96]), rng.choice([1024, 4096]))
        left = Amounts(rng.randint(0, int(total.vcpus)), rng.randint(0, int(total.memory_mb)))
        host = Host(total, left, 8, {"gpu": rng.randint(0, 8)})
        found.append(policies.Place(name=f"host{number}", host=host))
    return found


def nova_order(places, rule, monkeypatch):
    """What HostWeightHandler makes of the same states."""
    weighers = []
    for weigher, multiplier in zip(nova_policies.WEIGHERS, rule.multipliers, strict=True):
        monkeypatch.setattr(weigher, "weight_multiplier", lambda _, m=multiplier: m, raising=False)
        weighers.append(weigher)
    handler = HostWeightHandler()
    states = [nova_policies.state(place) for place in places]
    return [
        (weighed.obj.host, weighed.weight)
        for weighed in handler.get_weighed_objects(weighers, states, {})
    ]


@pytest.mark.parametrize("name", ["nova-default", "nova-tuned"])
@pytest.mark.parametrize("seed", range(20))
def test_weights_and_order_are_those_of_novas_handler(name, seed, monkeypatch):
    places = random_places(random.Random(seed))
    rule = nova_policies.POLICIES[name](policies.Settings(reserves={}))
    rows = np.array([rule.row(place, KIND) for place in places])
    scores = rule.scores(rows, np.ones(len(places), dtype=bool))
    order = np.argsort(scores, kind="stable")
    ours = [(places[number].name, -scores[number]) for number in order]
    theirs = nova_order(places, rule, monkeypatch)
    assert [weight for _, weight in ours] == pytest.approx([weight for _, weight in theirs])
    assert ours[0][0] == theirs[0][0]


def test_hosts_that_may_not_take_the_server_do_not_count():
    """Nova spreads weights over those that passed its filters."""
    rule = nova_policies.POLICIES["nova-tuned"](policies.Settings(reserves={}))
    places = random_places(random.Random(1))[:3]
    rows = np.array([rule.row(place, KIND) for place in places])
    open_ = np.array([True, True, False])
    alone = rule.scores(rows[:2], np.array([True, True]))
    assert rule.scores(rows, open_)[:2] == pytest.approx(alone)
