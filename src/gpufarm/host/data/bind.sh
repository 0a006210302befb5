# Gives PCI functions to the driver that keeps them for virtual machines, by their address.
#
# Written by gpufarm, which writes it anew when it differs. It runs in the initramfs before udev
# starts and once more on the root before udev looks at devices, so that no other driver can be
# first. It is sourced in places: no exit, no set, names of its own, and it never fails.

gpufarm_pci=/sys/bus/pci

# Whether the function at ADDRESS is still the one that was meant: addresses move when cards do.
gpufarm_is() {
  [ -e "$gpufarm_pci/devices/$1/vendor" ] || return 1
  read -r gpufarm_vendor <"$gpufarm_pci/devices/$1/vendor"
  read -r gpufarm_device <"$gpufarm_pci/devices/$1/device"
  [ "$gpufarm_vendor $gpufarm_device" = "0x$2 0x$3" ]
}

gpufarm_claim() {
  while read -r gpufarm_what gpufarm_address gpufarm_v gpufarm_d gpufarm_driver; do
    case $gpufarm_what in
    bind)
      if gpufarm_is "$gpufarm_address" "$gpufarm_v" "$gpufarm_d"; then
        echo "$gpufarm_driver" >"$gpufarm_pci/devices/$gpufarm_address/driver_override" || :
        [ -e "$gpufarm_pci/drivers/$gpufarm_driver" ] || modprobe "$gpufarm_driver" || :
      fi
      ;;
    remove)
      if gpufarm_is "$gpufarm_address" "$gpufarm_v" "$gpufarm_d"; then
        echo 1 >"$gpufarm_pci/devices/$gpufarm_address/remove" || :
      fi
      ;;
    esac
  done </etc/gpufarm/functions
}

# A driver that is part of the kernel has its function before anything here runs.
gpufarm_bind() {
  while read -r gpufarm_what gpufarm_address gpufarm_v gpufarm_d gpufarm_driver; do
    [ "$gpufarm_what" = bind ] || continue
    [ ! -e "$gpufarm_pci/drivers/$gpufarm_driver/$gpufarm_address" ] || continue
    gpufarm_is "$gpufarm_address" "$gpufarm_v" "$gpufarm_d" || continue
    if [ -e "$gpufarm_pci/devices/$gpufarm_address/driver" ]; then
      echo "$gpufarm_address" >"$gpufarm_pci/devices/$gpufarm_address/driver/unbind" || :
    fi
    echo "$gpufarm_address" >"$gpufarm_pci/drivers_probe" || :
  done </etc/gpufarm/functions
}

if [ -e /etc/gpufarm/functions ]; then
  gpufarm_claim
  gpufarm_bind
fi
