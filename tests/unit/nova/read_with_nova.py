"""Run by `test_settings`: what the real Nova makes of settings and extra specs.

Standard input is a JSON list of {"files": [...], "extra_specs": {...}}; standard output is a list
of what Nova read, or of {"error": ...}. A process of its own, since Nova's configuration is one
global object, and one for all, since Nova takes seconds to import.
"""

import json
import sys
from typing import Any

import jsonschema
from nova import conf
from nova.api.validation.extra_specs import validators
from nova.pci import request, whitelist

CONF = conf.CONF


def main() -> None:
    json.dump([answer(order) for order in json.load(sys.stdin)], sys.stdout)


def answer(order: dict[str, Any]) -> dict[str, Any]:
    request.get_alias_from_config.cache_clear()
    CONF.reset()
    CONF([], project="nova", default_config_files=order["files"], default_config_dirs=[])
    try:
        return read(order["extra_specs"])
    except Exception as error:  # noqa: BLE001  (what Nova raises is what is asked for)
        return {"error": str(error)}


def read(extra_specs: dict[str, str]) -> dict[str, Any]:
    for alias in CONF.pci.alias:
        jsonschema.validate(json.loads(alias), request._ALIAS_SCHEMA)
    for name, value in extra_specs.items():
        validators.validate(name, value)
    specs = whitelist.Whitelist(CONF.pci.device_spec).specs
    return {
        "aliases": request.get_alias_from_config(),
        "device_specs": [
            {"vendor_id": spec.vendor_id, "product_id": spec.product_id, **spec.get_tags()}
            for spec in specs
        ],
        "report_in_placement": CONF.pci.report_in_placement,
        "pci_in_placement": CONF.filter_scheduler.pci_in_placement,
        "enabled_filters": CONF.filter_scheduler.enabled_filters,
        "spice": CONF.spice.enabled,
        "vnc": CONF.vnc.enabled,
    }


if __name__ == "__main__":
    main()
