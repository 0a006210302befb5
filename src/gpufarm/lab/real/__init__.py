"""Real hosts of a lab: virtual hosts that run Nova's own nova-compute with its libvirt driver.

What is decided here: what such a host is made of (`nova_disk`, `saved`), what its Nova is told
(`settings`), and how it joins and leaves a lab (`hosts`). How a virtual host runs is `virthost`'s.
"""
