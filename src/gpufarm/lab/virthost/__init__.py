"""Virtual Linux hosts: Debian's kernel, GRUB and libvirt in QEMU, with an emulated IOMMU and cards.

`cards` and `machine` are values and pure functions; `image` and `host` build and run what they say.
"""
