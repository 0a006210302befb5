"""What is read of closed cards and of how many cards there are, from Nova's own tables."""

import uuid

import nova_objects as made
import pytest
from oslo_utils.fixture import uuidsentinel

K40C = {"card": "k40c", "vendor_id": "10de", "product_id": "1024", "vcpus": 4, "memory_mb": 8192}
L40S = {**K40C, "card": "l40s", "product_id": "26b9", "resource_class": "CUSTOM_L40S"}
IDS = [made.K40C, made.L40S]


class Answer:
    def __init__(self, names=(), status=200):
        self.status_code, self.text = status, "no"
        self._names = names

    def json(self):
        return {"resource_providers": [{"name": name, "uuid": name} for name in self._names]}


class Placement:
    """Answers by query, as Placement does to Nova's report client."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def get(self, url, version):
        assert version == "1.18"
        self.asked.append(url.partition("?")[2])
        return self.answers[self.asked[-1]]


@pytest.fixture
def placement(monkeypatch):
    from nova.scheduler.client import report

    def answering(answers):
        found = Placement(answers)
        monkeypatch.setattr(report, "report_client_singleton", lambda: found)
        return found

    return answering


@pytest.fixture
def cloud(tmp_path):
    """Nova's two databases, with one cell; rows of them are written with `add`."""
    import nova.conf
    import oslo_messaging
    import sqlalchemy as sa
    from nova import context, objects
    from nova.db.api import api as api_database
    from nova.db.api import models as api_models
    from nova.db.main import models as cell_models
    from oslo_db.sqlalchemy import enginefacade
    from sqlalchemy import orm

    nova.conf.CONF([], project="nova", default_config_files=[])
    oslo_messaging.get_rpc_transport(nova.conf.CONF, "fake://")  # registers what mappings ask for
    urls = {name: f"sqlite:///{tmp_path / name}.sqlite" for name in ("api", "cell")}
    engines = {name: sa.create_engine(url) for name, url in urls.items()}
    api_models.BASE.metadata.create_all(engines["api"])
    cell_models.BASE.metadata.create_all(engines["cell"])
    manager = enginefacade.transaction_context()
    manager.configure(connection=urls["api"])
    restore = api_database.context_manager.patch_factory(manager)

    def add(name, *rows):
        with orm.Session(engines[name]) as session:
            session.add_all(rows)
            session.commit()

    def cell(name, url):
        cell0 = objects.CellMapping.CELL0_UUID
        objects.CellMapping(
            context.get_admin_context(),
            uuid=cell0 if name == "cell0" else str(uuid.uuid4()),  # Nova remembers them for ever
            name=name,
            transport_url="fake://",
            database_connection=url,
            disabled=False,
        ).create()

    cell("cell0", "sqlite:///nowhere/cell0.sqlite")
    cell("cell1", urls["cell"])
    yield add, cell
    restore()


def cordon(add, *names, aggregate="gpufarm-cordons"):
    from nova.db.api import models

    number = len(aggregate)
    add("api", models.Aggregate(id=number, uuid=getattr(uuidsentinel, aggregate), name=aggregate))
    rows = [models.AggregateMetadata(aggregate_id=number, key=name, value="{}") for name in names]
    add("api", *rows)


def device(node, number, ids=made.K40C, **given):
    from nova.db.main import models

    fields = {
        "address": f"0000:{number:02x}:00.0",
        "vendor_id": ids[0],
        "product_id": ids[1],
        "dev_type": "type-PCI",
        "label": "label",
        "status": "available",
        **given,
    }
    return models.PciDevice(compute_node_id=node, **fields)


def node(number, **given):
    from nova.db.main import models

    amounts = ("vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used", "local_gb_used")
    return models.ComputeNode(
        id=number,
        uuid=getattr(uuidsentinel, f"node{number}"),
        host=f"node{number}",
        hypervisor_hostname=f"node{number}",
        hypervisor_type="QEMU",
        hypervisor_version=1,
        cpu_info="",
        **dict.fromkeys(amounts, 1),
        **given,
    )


def counted(last=None):
    from nova import context

    from gpufarm_nova import reading

    return reading.counted(context.get_admin_context(), IDS, last or {})


def test_cordons_are_the_keys_of_the_aggregate(cloud):
    from nova import context

    from gpufarm_nova import reading

    add, _ = cloud
    assert reading.cordoned(context.get_admin_context()) == frozenset()
    cordon(add, "node1_0000:81:00.0", "node2_0000:82:00.0")
    cordon(add, "something", aggregate="another")
    found = reading.cordoned(context.get_admin_context())
    assert found == {"node1_0000:81:00.0", "node2_0000:82:00.0"}


def test_cards_of_servers_and_free_ones_are_counted_by_node_and_numa_node(cloud):
    add, _ = cloud
    add("cell", node(1), node(2), node(3, deleted=3))
    add(
        "cell",
        device(1, 1, numa_node=0),
        device(1, 2, numa_node=1, status="allocated"),
        device(1, 3, made.L40S, numa_node=1),
        device(1, 4, made.NIC, numa_node=1),
        device(1, 5, status="removed"),
        device(1, 6, deleted=6),
        device(2, 1, status="unavailable"),
        device(3, 1),
    )
    assert counted() == {uuidsentinel.node1: {0: 1, 1: 2}, uuidsentinel.node2: {None: 1}}


def test_a_cell_that_does_not_answer_keeps_its_last_numbers(cloud, tmp_path):
    add, cell = cloud
    add("cell", node(1))
    add("cell", device(1, 1))
    cell("cell2", f"sqlite:///{tmp_path}/without-tables.sqlite")
    last = {uuidsentinel.elsewhere: {0: 4}, uuidsentinel.node1: {0: 8}}
    assert counted(last) == {uuidsentinel.elsewhere: {0: 4}, uuidsentinel.node1: {None: 1}}


def test_one_time_use_cards_without_room_are_used(placement):
    from gpufarm_nova import reading

    trait = "required=HW_PCI_ONE_TIME_USE"
    placement(
        {
            trait: Answer(["a", "b", "c"]),
            f"{trait}&resources=CUSTOM_L40S:1": Answer(["b"]),
            f"{trait}&resources=CUSTOM_PCI_10DE_1024:1": Answer(status=400),
        }
    )
    assert reading.used(["CUSTOM_L40S", "CUSTOM_PCI_10DE_1024"]) == {"a", "c"}


@pytest.mark.parametrize("answer", [Answer(), Answer(status=400)])
def test_without_one_time_use_cards_placement_is_asked_once(placement, answer):
    from gpufarm_nova import reading

    found = placement({"required=HW_PCI_ONE_TIME_USE": answer})
    assert reading.used(["CUSTOM_L40S"]) == frozenset()
    assert len(found.asked) == 1


@pytest.fixture
def reader(configure, cloud, placement, monkeypatch):
    """The real reader of such a cloud, and its clock."""
    from gpufarm_nova import reading

    settings = configure(reserve=[K40C, L40S])
    monkeypatch.undo()
    trait = "required=HW_PCI_ONE_TIME_USE"
    served = placement({trait: Answer()})
    now = [1000.0]
    monkeypatch.setattr(reading.time, "monotonic", lambda: now[0])
    return reading.Reader(settings), served, now


def test_it_reads_once_in_refresh_seconds(reader, cloud):
    found, served, now = reader
    add, _ = cloud
    assert found.reading().closed == frozenset()
    cordon(add, "node1_0000:81:00.0")
    now[0] += 29
    assert found.reading().closed == frozenset()
    now[0] += 1
    assert found.reading().closed == {"node1_0000:81:00.0"}
    assert len(served.asked) == 2


def test_what_cannot_be_read_stays_as_it_was(reader, cloud, caplog):
    found, served, now = reader
    add, _ = cloud
    cordon(add, "node1_0000:81:00.0")
    trait = "required=HW_PCI_ONE_TIME_USE"
    served.answers = {
        trait: Answer(["node1_0000:82:00.0"]),
        f"{trait}&resources=CUSTOM_L40S:1": Answer(),
        f"{trait}&resources=CUSTOM_PCI_10DE_1024:1": Answer(),
    }
    both = {"node1_0000:81:00.0", "node1_0000:82:00.0"}
    assert found.reading().closed == both
    served.answers = {trait: Answer(status=503)}
    now[0] += 30
    assert found.reading().closed == both
    assert "last reading of one-time-use cards" in caplog.text
    assert "503" in caplog.text


def test_others_go_on_with_the_last_reading_while_one_reads(reader, monkeypatch):
    found, _, now = reader
    before = found.reading()
    now[0] += 30
    seen = []
    monkeypatch.setattr(found, "_read", lambda: seen.append(found.reading()))
    found.reading()
    assert seen == [before]
