"""The cards that have a name here.

Ids, classes and companions are those of pci.ids (2023.04.10) and of `lspci` on such cards. Here,
data-center cards since Volta know function-level reset and the others do not; a card's options can
say otherwise. BARs are of the usual sizes, except that none is larger than 16 GB.
"""

from gpufarm.lab.virthost.pci import Bar, Function

M = 1 << 20
G = 1 << 30

GRAPHICS = (Bar(16 * M), Bar(256 * M, wide=True), Bar(32 * M, wide=True))
COMPUTE = (Bar(16 * M, wide=True), Bar(16 * G, wide=True), Bar(32 * M, wide=True))
AUDIO = (Bar(16 << 10),)


def _nvidia(
    product: str, class_id: str, *, subsystem: str, bars: tuple[Bar, ...], flr: bool = False
) -> Function:
    return Function(
        vendor_id="10de",
        product_id=product,
        class_id=class_id,
        subsystem=("10de", subsystem),
        bars=bars,
        flr=flr,
    )


def _graphics(product: str, audio: str, subsystem: str, *more: Function) -> tuple[Function, ...]:
    """A consumer or workstation card: VGA and HDMI audio, no function-level reset."""
    return (
        _nvidia(product, "030000", subsystem=subsystem, bars=GRAPHICS),
        _nvidia(audio, "040300", subsystem=subsystem, bars=AUDIO),
        *more,
    )


def _compute(product: str, subsystem: str) -> tuple[Function, ...]:
    """A data-center card: one function, with function-level reset."""
    return (_nvidia(product, "030200", subsystem=subsystem, bars=COMPUTE, flr=True),)


MODELS: dict[str, tuple[Function, ...]] = {
    "gtx1080": _graphics("1b80", "10f0", "119e"),
    "titanx": _graphics("17c2", "0fb0", "1132"),
    "k4200": _graphics("11b4", "0e0a", "1096"),
    "k2": (_nvidia("11bf", "030000", subsystem="100a", bars=GRAPHICS),),
    "k40c": (_nvidia("1024", "030200", subsystem="0983", bars=GRAPHICS),),
    "rtx2080ti": _graphics(
        "1e07",
        "10f7",
        "12a4",
        _nvidia("1ad6", "0c0330", subsystem="12a4", bars=(Bar(256 << 10, wide=True),)),
        _nvidia("1ad7", "0c8000", subsystem="12a4", bars=(Bar(4 << 10),)),
    ),
    "t4": _compute("1eb8", "12a2"),
    "v100": _compute("1db4", "1214"),
    "a100": _compute("20b5", "1533"),
    "h100": _compute("2330", "16c1"),
    "rx6900xt": (
        Function(
            vendor_id="1002",
            product_id="73bf",
            class_id="030000",
            subsystem=("1002", "0e3a"),
            bars=(Bar(256 * M, wide=True), Bar(2 * M, wide=True), Bar(1 * M)),
            revision="c0",
        ),
        Function(
            vendor_id="1002",
            product_id="ab28",
            class_id="040300",
            subsystem=("1002", "ab28"),
            bars=AUDIO,
            revision="00",
        ),
    ),
    "mi210": (
        Function(
            vendor_id="1002",
            product_id="740f",
            class_id="038000",
            subsystem=("1002", "0c34"),
            bars=(Bar(16 * G, wide=True), Bar(2 * M, wide=True), Bar(1 * M)),
            revision="02",
            flr=True,
        ),
    ),
}
