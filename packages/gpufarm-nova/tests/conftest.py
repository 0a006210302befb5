"""Settings and objects of Nova's scheduler, made by Nova's own classes.

The same tests run with each Nova that the plugin serves (`make test-plugin`), and in gpufarm's own
environment.
"""

import json

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def configure(monkeypatch):
    """Sets options of [gpufarm]; returns what they are read as. Nothing is read of closed cards."""
    import nova.conf

    from gpufarm_nova import options, reading

    conf = nova.conf.CONF
    conf([], project="nova", default_config_files=[])
    monkeypatch.setattr(reading, "_readers", [])
    monkeypatch.setattr(reading.Reader, "_read", lambda _: None)

    def configured(**given):
        for name, value in given.items():
            many = isinstance(value, list)
            texts = [json.dumps(each) for each in value] if many else value
            conf.set_override(name, texts, options.SECTION)
        return options.read(conf)

    yield configured
    for option in options.OPTIONS:
        conf.clear_override(option.name, options.SECTION)
