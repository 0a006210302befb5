"""Servers sent through policies: nothing is given twice, and policies do what they are called."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_trace import files

from gpufarm.model.errors import SimulationImpossible
from gpufarm.simulate import arrivals, experiment, measures, policies, replay, trace
from gpufarm_nova.lesson import Lesson, Request
from gpufarm_nova.reserve import Amounts

LOADS = (0.5, 1.2)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return trace.read(*files(tmp_path_factory.mktemp("small")))


def outcome(small, policy, seed=1, load=1.0):
    rule = policies.POLICIES[policy](experiment.settings(small))
    kinds = arrivals.up_to(arrivals.stream(small.requests, small.cards, seed), small.cards, load)
    return replay.arrive(small.nodes, kinds, rule)


def measured(small, found):
    return measures.measure(small.nodes, found, policies.Fragments(small.requests))


@pytest.mark.parametrize("policy", policies.POLICIES)
@pytest.mark.parametrize("load", LOADS)
def test_what_hosts_have_is_what_servers_were_given(small, policy, load):
    found = outcome(small, policy, load=load)
    placed = list(found.seen)
    for kind in found.refused:
        placed.remove(kind)
    hosts = [place.host for place in found.places]
    assert all(min(host.left) >= -1e-6 for host in hosts)
    assert all(number >= 0 for host in hosts for number in host.free.values())
    used = sum(host.cards - sum(host.free.values()) for host in hosts)
    assert used == sum(kind.size for kind in placed)
    vcpus = sum(host.total.vcpus - host.left.vcpus for host in hosts)
    assert vcpus == pytest.approx(sum(kind.vcpus for kind in placed))


def test_the_same_seed_gives_the_same_cloud(small):
    assert outcome(small, "gpufarm") == outcome(small, "gpufarm")
    assert outcome(small, "gpufarm") != outcome(small, "gpufarm", seed=2)


def test_closed_hosts_take_no_ordinary_server(small):
    found = outcome(small, "gpu-hosts-closed")
    with_cards = zip(found.places, found.ordinary, strict=True)
    assert all(had.vcpus == 0 for place, had in with_cards if place.host.cards)


def test_a_split_host_is_two_that_are_as_large_as_it_was(small):
    rule = policies.POLICIES["static-share"](experiment.settings(small))
    nodes = rule.nodes(small.nodes)
    assert sum(node.vcpus for node in nodes) == pytest.approx(
        sum(node.vcpus for node in small.nodes)
    )
    assert {node.cards for node in nodes if node.name.endswith("(ordinary)")} <= {0}


def test_the_reserve_is_never_broken_by_ordinary_servers(small):
    settings_ = experiment.settings(small)
    for policy in ("reserve", "capacity-loss", "gpufarm"):
        found = outcome(small, policy, load=1.2)
        assert measured(small, found).gpus_stranded_pct == 0, policy
    assert settings_.reserves["gpu"] == Amounts(12, 49152)


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_policy_beats_the_bounds(small, seed):
    from gpufarm.simulate.bounds import bounds

    for policy in ("best-fit", "gpufarm"):
        found = outcome(small, policy, seed)
        numbers = measured(small, found)
        limits = bounds(small.nodes, found)
        assert numbers.gpus_allocated_pct <= limits.gpus_bound_pct + 1e-6
        assert numbers.ordinary_vcpu_refused_pct >= limits.ordinary_vcpu_floor_pct - 1e-6


def test_rows_that_are_kept_are_those_of_hosts_as_they_are(small):
    """The scheduler asks for the rows of changed hosts only."""
    rule = policies.POLICIES["gpufarm"](experiment.settings(small))
    cloud = replay.Cloud(small.nodes)
    scheduler = replay.Scheduler(cloud, rule)
    for kind in arrivals.stream(small.requests, small.cards, 3):
        assert scheduler.choose(kind) == replay.Scheduler(cloud, rule).choose(kind)
        scheduler.place(kind)


def test_servers_that_end_give_back_what_they_had(small):
    cloud = replay.Cloud(small.nodes)
    before = list(cloud.places)
    kinds = [Request((("gpu", 1),), 11.3, 1000.7), Request((), 0.1, 3)] * 3
    for number, kind in enumerate(kinds):
        cloud.take(number % 2, kind)
    for number, kind in enumerate(kinds):
        cloud.give(number % 2, kind)
    assert cloud.places == before


def test_a_steady_cloud_has_about_as_many_cards_in_use_as_are_wanted(small):
    rule = policies.POLICIES["gpufarm"](experiment.settings(small))
    *moments, _ = replay.Steady(small.nodes, rule, 1.0).run(small.requests, 1, 0.5)
    used = [measured(small, moment).gpus_allocated_pct for moment in moments]
    assert 30 < sum(used) / len(used) < 75


def test_an_open_host_keeps_nothing_for_its_cards(small):
    lesson = Lesson(small.requests, open_hosts=frozenset({"gpu00"}))
    rule = policies.POLICIES["gpufarm"](
        experiment.settings(small, Amounts(16, 65536), lesson=lesson)
    )
    ordinary = Request((), 12, 49152)
    places = [policies.Place(name=node.name, host=node.host()) for node in small.nodes]
    open_ = [place.name for place in places if rule.row(place, ordinary) is not None]
    assert open_ == ["gpu00", "plain0"]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (Amounts(1000, 1), "the reserve of 1000 vCPU and 1 MiB for a gpu is larger"),
        (Amounts(1, 99999999), "the reserve of 1 vCPU and 99999999 MiB for a gpu is larger"),
        (None, "the median of what servers ask for with a card, is larger than any host"),
    ],
)
def test_a_reserve_larger_than_any_host_is_refused(small, keep, said):
    large = msgspec.structs.replace(small, requests=(Request((("gpu", 1),), 200, 1),))
    with pytest.raises(SimulationImpossible, match=said):
        experiment.settings(large, keep=keep)


def test_more_hosts_like_one(small):
    more = experiment.add_hosts(small, 2, "gpu00")
    assert more.cards == small.cards + 16
    assert len({node.name for node in more.nodes}) == len(more.nodes)
    with pytest.raises(SimulationImpossible, match="no node is called 'none'"):
        experiment.add_hosts(small, 2, "none")


def test_a_cloud_without_cards_is_refused(small):
    plain = msgspec.structs.replace(small, nodes=small.nodes[-1:])
    with pytest.raises(SimulationImpossible, match="no node has a GPU"):
        arrivals.stream(plain.requests, plain.cards, 1)
