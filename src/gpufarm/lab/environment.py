"""What the lab needs of the Python that it runs in."""

import importlib.metadata
import importlib.util
import sys
from pathlib import Path

from gpufarm.lab.state import Mode
from gpufarm.model.errors import LabIncomplete

PACKAGES = {
    "keystone": "keystone",
    "placement": "openstack-placement",
    "glance": "glance",
    "neutron": "neutron",
    "nova": "nova",
    "waitress": "waitress",
}
"""{import name: distribution}"""

PASTE = {
    "nova": "etc/nova/api-paste.ini",
    "glance": "etc/glance/glance-api-paste.ini",
    "neutron": "etc/neutron/api-paste.ini",
}
"""{distribution: its paste file, below the prefix that it was installed to}"""


def paste_files(mode: Mode) -> dict[str, Path]:
    """The paste files of the projects installed here; LabIncomplete where a part is missing."""
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise LabIncomplete(
            f"the lab needs {', '.join(missing)}, which {sys.executable} does not have: "
            "`pip install 'gpufarm[lab]'`"
        )
    if mode == "split":
        from gpufarm.lab.inside.broker import rabbitmq_server

        rabbitmq_server()
    return {name: _installed(name, path) for name, path in PASTE.items()}


def _installed(distribution: str, path: str) -> Path:
    usual = Path(sys.prefix) / path
    if usual.exists():
        return usual
    for file in importlib.metadata.files(distribution) or ():
        if str(file).endswith(path):
            return Path(str(file.locate()))
    raise LabIncomplete(
        f"{distribution} was installed without its {path}: install it anew, from its wheel"
    )
