"""A vfio-user server: PCI functions that do nothing but look and reset like those of a GPU.

QEMU's `vfio-user-pci` device connects to one socket a function. `config` is what a function's
configuration space holds, `device` how it answers, `messages` the protocol and `server` the socket.
"""
