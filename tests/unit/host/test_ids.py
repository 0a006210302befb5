"""pci.ids: searched, not parsed, and whatever is in it."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from gpufarm.host.ids import Names
from gpufarm.host.known import cards

SYSTEM = Path("/usr/share/misc/pci.ids")
SMALL = b"10de  NVIDIA Corporation\n\t1b80  GP104\n\t\t1458 1b81  Sub\n10df  Emulex\n\t1b81  Other"

IDS = st.integers(0, 0xFFFF).map("{:04x}".format)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FFF), min_size=1, max_size=20)


def test_a_vendor_s_section_ends_at_the_next() -> None:
    names = Names(SMALL)
    assert names.vendor("10de") == "NVIDIA Corporation"
    assert names.product("10de", "1b80") == "GP104"
    assert names.product("10de", "1b81") is None
    assert names.product("10df", "1b81") == "Other"
    assert names.product("10de", "1458") is None
    assert names.vendor("1458") is None


def test_a_name_that_would_drive_a_terminal() -> None:
    names = Names(b"10de  A\x1b[2J\n\t1b80  \xff\xfe\n")
    assert names.vendor("10de") == "A\\x1b[2J"
    assert names.product("10de", "1b80") == "\\xff\\xfe"


@given(st.dictionaries(IDS, st.tuples(NAMES, st.dictionaries(IDS, NAMES, max_size=4)), max_size=6))
def test_everything_written_is_found(vendors: dict[str, tuple[str, dict[str, str]]]) -> None:
    text = "# head\n\n"
    for vendor, (name, products) in vendors.items():
        text += f"{vendor}  {name}\n"
        text += "".join(f"\t{number}  {product}\n" for number, product in products.items())
    names = Names(text.encode())
    for vendor, (name, products) in vendors.items():
        assert (names.vendor(vendor) or "").replace(" ", "")
        assert name.isprintable() is False or names.vendor(vendor) == name.strip()
        for number in products:
            assert names.product(vendor, number)
    for vendor in {"0000", "ffff"} - vendors.keys():
        assert names.vendor(vendor) is None
        assert names.product(vendor, "0000") is None


@given(st.binary(max_size=300), st.text(max_size=30))
def test_any_file_is_searched(data: bytes, text: str) -> None:
    names = Names(data)
    for found in (names.vendor("10de"), names.product("10de", "1b80"), names.class_id(text)):
        assert found is None or found.isprintable()
    names.split(text)
    names.find("10de", text)


def test_the_catalogue_names_what_pci_ids_names() -> None:
    """Where both know an id, they mean the same model."""
    assert SYSTEM.exists(), "this machine has no pci.ids: .ci/run installs pciutils"
    names = Names(SYSTEM.read_bytes())
    known = 0
    for ids, card in cards().items():
        product = names.product(*ids.split(":"))
        if product is not None:
            known += 1
            words = [word for word in card.name.replace("_", " ").split() if word[0].isalnum()]
            assert any(word in product for word in words if any(map(str.isdigit, word))) or any(
                word in product for word in words
            ), f"{ids}: {card.name!r} is called {product!r}"
    assert known > 20
