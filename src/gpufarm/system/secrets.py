"""What must not leave a machine in a capture.

What is decided here: which words of the files that a capture holds are secrets. Those files are
public on most machines (kernel command line, modprobe.d, GRUB), but people do put passwords into
them, and a capture is made to be sent to others. A word too many is blotted rather than one too
few; the names of settings stay.
"""

import itertools
import re

BLOT = "BLOTTED"

_SETTING = re.compile(
    r"""(?ix)
    (?<! [\w.-] )
    (
      (?: [\w.-]* (?: passw(?:or)?d | passphrase | secret | token | credential | api_?key
          | private_?key | cookie ) [\w.-]*
        | (?: [\w.-]* [._-] )? (?: pass | pwd? | psk ) )
      \s* [=:] \s*
    )
    ( "[^"\n]*" | '[^'\n]*' | [^\s,;"'`]+ )
    """
)
"""A name that sounds like a secret, with its value: rd.iscsi.password=..., cifs' pass=..."""

_HASH = re.compile(r"(?m)^(\s*password(?:_pbkdf2)?\s+\S+\s+)\S.*$")
"""GRUB's commands `password USER PASSWORD` and `password_pbkdf2 USER HASH`."""

_CRYPT = re.compile(r"\$(?:1|2[aby]|5|6|y|argon2\w*)\$[^\s\"']+|grub\.pbkdf2\.[\w.]+")
"""crypt(5) and GRUB hashes, wherever they stand."""

_LOGIN = re.compile(r"(\w+://[^/\s:@]*:)[^/\s@]+(@)")
"""The password of a URL."""


def blot(path: str, text: str) -> str:
    """`text` of the file at `path` without its secrets."""
    if path.startswith("/sys/"):
        return text  # the kernel's own numbers and names
    if path.startswith("/proc/") and path.endswith("/cmdline") and path != "/proc/cmdline":
        return only_guest_name(text)
    for pattern, kept in (
        (_SETTING, rf"\1{BLOT}"),
        (_HASH, rf"\1{BLOT}"),
        (_CRYPT, BLOT),
        (_LOGIN, rf"\1{BLOT}\2"),
    ):
        text = pattern.sub(kept, text)
    return text


def only_guest_name(words: str) -> str:
    """Of a QEMU's command line its program and its -name; everything else is its own affair."""
    given = words.split("\0")
    kept = given[:1]
    for option, value in itertools.pairwise(given):
        if option == "-name":
            kept += [option, value]
            break
    return "\0".join(kept)
