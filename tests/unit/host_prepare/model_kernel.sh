# The kernel and the programs of a host that is a folder, as far as the agent meets them.

flush() { :; }
flush_journal() { :; }
sleep() { :; }
attach() { # ADDRESS DRIVER
  ln -s "../../drivers/$2" "$pci/devices/$1/driver"
  : >"$pci/drivers/$2/$1"
}
probe() { # ADDRESS [DRIVER]: the first driver that is loaded and may have it, or that one only
  [ ! -L "$pci/devices/$1/driver" ] || return 0
  matching=$(override_of "$1")
  for candidate in ${matching:-$(cat "$pci/devices/$1/.wanted_by")}; do
    if [ -d "$pci/drivers/$candidate" ] && [ "${2:-$candidate}" = "$candidate" ]; then
      attach "$1" "$candidate"
      return 0
    fi
  done
}
tell() {
  case $1 in
  */driver_override)
    case $2 in '' | '
') say "(null)" >"$root$1" ;; *) say "$2" >"$root$1" ;; esac
    ;;
  */driver/unbind) rm -f "$pci/drivers/$(driver_of "$2")/$2" "$pci/devices/$2/driver" ;;
  */drivers_probe) probe "$2" ;;
  */bind)
    binder=${1%/bind} binder=${binder##*/}
    case " $(override_of "$2") $(cat "$pci/devices/$2/.wanted_by") " in *" $binder "*) attach "$2" "$binder" ;; *) return 1 ;; esac
    ;;
  */remove)
    gone=${1%/remove} gone=${gone##*/}
    rm -f "$pci/drivers/$(driver_of "$gone")/$gone" "$pci/devices/$gone/driver"
    mkdir -p "$root/.gone" && mv "$pci/devices/$gone" "$root/.gone/"
    say "(null)" >"$root/.gone/$gone/driver_override"
    for link in "$root"/sys/kernel/iommu_groups/*/devices/"$gone"; do rm -f "$link"; done
    ;;
  /sys/bus/pci/rescan)
    for gone in "$root"/.gone/*; do
      [ -e "$gone" ] || continue
      mv "$gone" "$pci/devices/"
      gone=${gone##*/}
      number=$(readlink "$pci/devices/$gone/iommu_group") number=${number##*/}
      ln -s "../../../../bus/pci/devices/$gone" "$root/sys/kernel/iommu_groups/$number/devices/$gone"
      probe "$gone"
    done
    rmdir "$root/.gone" 2>/dev/null
    ;;
  esac
}
load() {
  case $1 in pci:*) set -- $(cat "$root"/.modules/* 2>/dev/null) ;; esac
  for module in "$@"; do
    [ -d "$pci/drivers/$module" ] && continue
    mkdir -p "$pci/drivers/$module"
    for device in "$pci"/devices/*; do probe "${device##*/}" "$module"; done
  done
}
call() {
  case $1 in
  update-grub)
    line=$(cat "$root/etc/default/grub" "$root"/etc/default/grub.d/*.cfg 2>/dev/null |
      sh -c 'eval "$(cat)"; echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"')
    say "	linux	/boot/vmlinuz-$1 root=/dev/vda1 ro $line" >"$root/boot/grub/grub.cfg.new"
    mv "$root/boot/grub/grub.cfg.new" "$root/boot/grub/grub.cfg"
    ;;
  update-initramfs | dracut)
    for image in "$root"/boot/initr*; do
      moment "half of $image"
      cat "$root/etc/gpufarm/functions" 2>/dev/null | cat - "$root/.built" >"$image.new"
      mv "$image.new" "$image"
    done
    ;;
  grubby)
    for entry in "$root"/boot/loader/entries/*.conf; do
      case $3 in
      --args=*) sed -i "s/^\(options.*\)/\1 ${3#*=}/" "$entry" ;;
      --remove-args=*) sed -i "s/ ${3#*=}//" "$entry" ;;
      esac
      moment "half of grubby"
    done
    ;;
  fails) echo "no room"; return 1 ;;
  esac
}

moments=0
moment() {
  moments=$((moments + 1))
  say "$1" >>"$root/../moments"
  [ $moments -ne "$stop" ] || kill -9 $$
}
