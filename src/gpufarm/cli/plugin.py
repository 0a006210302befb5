"""The plugin of python-openstackclient: `openstack gpu ...`.

The names are openstackclient's contract for entry points of `openstack.cli.extension`; its
commands are those of the entry point group openstack.gpu.v1.
"""

import argparse
from typing import Any

API_NAME = "gpu"
API_VERSION_OPTION = "os_gpu_api_version"
API_VERSIONS = ("1",)
DEFAULT_API_VERSION = "1"


def make_client(instance: Any) -> Any:
    """The connection that all commands share; there is no service of our own."""
    return instance.sdk_connection


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """`parser` with no option added: there is one version."""
    return parser
