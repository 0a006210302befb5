"""Names of vendors, products and classes, out of a pci.ids file.

What is decided here: the file (1.4 MB) is searched, not parsed; only the section of a vendor that
is asked for is looked into. Its format is described at its head: a vendor begins a line, its
products are below it after one tab, subsystems after two, classes begin with `C `.
"""

import re

from gpufarm.model.printable import printable

VENDORS = {
    "NVIDIA Corporation": "10de",
    "Advanced Micro Devices, Inc. [AMD/ATI]": "1002",
    "Advanced Micro Devices [AMD] nee ATI": "1002",
    "Advanced Micro Devices, Inc. [AMD]": "1022",
    "Intel Corporation": "8086",
    "ASPEED Technology, Inc.": "1a03",
    "Matrox Electronics Systems Ltd.": "102b",
    "Matrox Graphics, Inc.": "102b",
}
"""Where there is no pci.ids, or its vendor has been renamed since."""

_SECTION_END = re.compile(rb"\n(?=[^\t\n#])")
_VENDOR = re.compile(rb"^([0-9a-f]{4})  (\S.*)$", re.MULTILINE)
_PRODUCT = re.compile(rb"^\t([0-9a-f]{4})  (\S.*)$", re.MULTILINE)
_CLASS = re.compile(rb"^C ([0-9a-f]{2})  .*$", re.MULTILINE)


class Names:
    """What a pci.ids file says; an empty one says nothing."""

    def __init__(self, data: bytes = b"") -> None:
        self._data = b"\n" + data
        self._sections: dict[str, bytes] = {}
        self._vendors: dict[str, tuple[str, ...]] | None = None

    def vendor(self, vendor_id: str) -> str | None:
        return _rest(self._section(vendor_id), f"\n{vendor_id}  ")

    def product(self, vendor_id: str, product_id: str) -> str | None:
        return _rest(self._section(vendor_id), f"\n\t{product_id}  ")

    def split(self, text: str) -> tuple[tuple[str, ...], str] | None:
        """(vendor ids, what follows) of `NVIDIA Corporation GK104 ...`; the longest name counts.

        Several vendor ids may have one name (Red Hat's do).
        """
        known = {**{name: (number,) for name, number in VENDORS.items()}, **self._by_name()}
        fitting = [
            name
            for name in known
            if text.startswith(name) and text[len(name) : len(name) + 1] in ("", " ")
        ]
        if not fitting:
            return None
        name = max(fitting, key=len)
        return known[name], text[len(name) :].strip()

    def find(self, vendor_id: str, name: str) -> str | None:
        """The id of the product called so; None where none is, or several are.

        The chip before the brackets is renamed from time to time (GK110BGL, GK180GL), so that the
        brackets alone count where the whole name is not found.
        """
        products = [
            (match[1].decode(), printable(match[2].strip()))
            for match in _PRODUCT.finditer(self._section(vendor_id))
        ]
        brackets = name[name.find("[") :] if name.endswith("]") and "[" in name else None
        for found in (
            {number for number, known in products if known == name},
            {number for number, known in products if brackets and known.endswith(f" {brackets}")},
        ):
            if len(found) == 1:
                return found.pop()
        return None

    def class_id(self, name: str) -> str | None:
        """The first four digits of a class that lspci calls `name`."""
        wanted = re.compile(
            rb"^\t([0-9a-f]{2})  " + re.escape(name.encode()) + rb"\s*$", re.MULTILINE
        )
        for section in _CLASS.finditer(self._data):
            end = _SECTION_END.search(self._data, section.end())
            found = wanted.search(
                self._data, section.end(), end.start() if end else len(self._data)
            )
            if found:
                return (section[1] + found[1]).decode()
        return None

    def _section(self, vendor_id: str) -> bytes:
        """From the vendor's line, with the line break before it, up to the next vendor."""
        known = self._sections.get(vendor_id)
        if known is None:
            start = self._data.find(f"\n{vendor_id}  ".encode())
            end = _SECTION_END.search(self._data, start + 1) if start >= 0 else None
            known = self._data[start : end.start() if end else None] if start >= 0 else b""
            self._sections[vendor_id] = known
        return known

    def _by_name(self) -> dict[str, tuple[str, ...]]:
        if self._vendors is None:
            self._vendors = {}
            for match in _VENDOR.finditer(self._data):
                name = printable(match[2].strip())
                self._vendors[name] = (*self._vendors.get(name, ()), match[1].decode())
        return self._vendors


def _rest(section: bytes, key: str) -> str | None:
    """What follows `key` up to the end of its line."""
    start = section.find(key.encode())
    if start < 0:
        return None
    start += len(key.encode())
    end = section.find(b"\n", start)
    return printable(section[start : end if end >= 0 else None].strip()) or None
