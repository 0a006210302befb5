"""Lists of hosts: what they name, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufarm.host.inventory import Destination, parse
from gpufarm.model.errors import GpufarmError, InventoryInvalid

INI = """\
; an inventory
bastion ansible_host=192.0.2.1

[gpu]
hyper[08:10] ansible_port=2222
rack-[a:c].example.com   # three of them
special ansible_host="2001:db8::1" ansible_user='root'

[gpu:vars]
ansible_user=admin

[all:vars]
ansible_become=true

[everything:children]
gpu
"""
YAML = """\
all:
  vars: {ansible_user: root}
  hosts: {bastion: }
  children:
    gpu:
      hosts:
        hyper[1:2]: {}
        other: {ansible_host: 192.0.2.7, ansible_user: me, ansible_port: 22022}
        sixth: {ansible_host: "2001:db8::2", ansible_port: 22}
    empty:
"""
FARM = """\
version: 1
name: ours
release: 34
cards:
  k40c: {vendor_id: "10de", product_id: "1024", hosts: [hyper02, hyper01]}
"""


def named(text: str, file: str = "hosts") -> dict[str, str]:
    return {each.name: each.ssh for each in parse(text, file)}


def test_a_plain_list() -> None:
    text = "# ours\nroot@hyper18\n\nssh://root@hyper19:2222  # the new one\nroot@hyper18\n"
    assert parse(text, "hosts") == (
        Destination("root@hyper18", "root@hyper18"),
        Destination("ssh://root@hyper19:2222", "ssh://root@hyper19:2222"),
    )


def test_an_inventory_of_ansible_as_ini() -> None:
    assert named(INI) == {
        "bastion": "192.0.2.1",
        "hyper08": "ssh://admin@hyper08:2222",
        "hyper09": "ssh://admin@hyper09:2222",
        "hyper10": "ssh://admin@hyper10:2222",
        "rack-a.example.com": "admin@rack-a.example.com",
        "rack-b.example.com": "admin@rack-b.example.com",
        "rack-c.example.com": "admin@rack-c.example.com",
        "special": "root@2001:db8::1",
    }


def test_an_inventory_of_ansible_as_yaml() -> None:
    assert named(YAML, "hosts.yml") == {
        "bastion": "root@bastion",
        "hyper1": "root@hyper1",
        "hyper2": "root@hyper2",
        "other": "ssh://me@192.0.2.7:22022",
        "sixth": "ssh://root@[2001:db8::2]:22",
    }


def test_a_farm_file_names_its_compute_hosts() -> None:
    assert named(FARM, "farm.yaml") == {"hyper01": "hyper01", "hyper02": "hyper02"}


@pytest.mark.parametrize(
    ("text", "file", "problem"),
    [
        ("", "hosts", "names no host"),
        ("-oProxyCommand=reboot", "hosts", "no destination"),
        ("[gpu]\n-oProxyCommand=reboot", "hosts", "no destination"),
        ("[gpu]\na ansible_host=-oProxyCommand=reboot", "hosts", "no destination"),
        ("[gpu]\na ansible_host='x y'", "hosts", "no destination"),
        ("all: {hosts: {a: {ansible_host: '-oProxyCommand=x'}}}", "h.yaml", "no destination"),
        ('all: {hosts: {"a\\nb": }}', "h.yaml", "no destination"),
        ("a b", "hosts", "one destination a line"),
        ("[gpu\n[x]\na", "hosts", "no section"),
        ("[gpu]\na 'b", "hosts", "No closing quotation"),
        ("[gpu]\nh[1:99999999]", "hosts", "more than 10000"),
        ("- a\n", "h.yaml", "neither"),
        ("gpu: [a]\n", "h.yaml", "a group of Ansible"),
        ("gpu: {hosts: [a]}\n", "h.yaml", "a group of Ansible"),
    ],
)
def test_what_is_refused(text: str, file: str, problem: str) -> None:
    with pytest.raises(InventoryInvalid, match=problem) as caught:
        parse(text, file)
    assert caught.value.file == file


@settings(max_examples=200, deadline=None)
@given(text=st.text(), file=st.sampled_from(["hosts", "hosts.yaml"]))
def test_whatever_it_is_ssh_is_never_given_an_option(text: str, file: str) -> None:
    try:
        found = parse(text, file)
    except GpufarmError:
        return
    for each in found:
        assert not each.ssh.startswith("-")
        assert not any(character.isspace() for character in each.ssh)
