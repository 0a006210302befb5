# The kernel and the programs of a host that is a folder, as far as the agent meets them.
# Variables of sh are everybody's: those here begin with m_.

flush() { :; }
flush_journal() { :; }
sleep() { :; }
attach() { # ADDRESS DRIVER
  ln -s "../../drivers/$2" "$pci/devices/$1/driver"
  : >"$pci/drivers/$2/$1"
}
probe() { # ADDRESS [DRIVER]: the first driver that is loaded and may have it, or that one only
  [ ! -L "$pci/devices/$1/driver" ] || return 0
  m_matching=$(override_of "$1")
  for m_candidate in ${m_matching:-$(cat "$pci/devices/$1/.wanted_by")}; do
    if [ -d "$pci/drivers/$m_candidate" ] && [ "${2:-$m_candidate}" = "$m_candidate" ]; then
      attach "$1" "$m_candidate"
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
    m_binder=${1%/bind} m_binder=${m_binder##*/}
    case " $(override_of "$2") $(cat "$pci/devices/$2/.wanted_by") " in *" $m_binder "*) attach "$2" "$m_binder" ;; *) return 1 ;; esac
    ;;
  */remove)
    m_gone=${1%/remove} m_gone=${m_gone##*/}
    rm -f "$pci/drivers/$(driver_of "$m_gone")/$m_gone" "$pci/devices/$m_gone/driver"
    mkdir -p "$root/.gone" && mv "$pci/devices/$m_gone" "$root/.gone/"
    say "(null)" >"$root/.gone/$m_gone/driver_override"
    for m_link in "$root"/sys/kernel/iommu_groups/*/devices/"$m_gone"; do rm -f "$m_link"; done
    ;;
  /sys/bus/pci/rescan)
    for m_gone in "$root"/.gone/*; do
      [ -e "$m_gone" ] || continue
      mv "$m_gone" "$pci/devices/"
      m_gone=${m_gone##*/}
      m_number=$(readlink "$pci/devices/$m_gone/iommu_group") m_number=${m_number##*/}
      ln -s "../../../../bus/pci/devices/$m_gone" "$root/sys/kernel/iommu_groups/$m_number/devices/$m_gone"
      probe "$m_gone"
    done
    rmdir "$root/.gone" 2>/dev/null
    ;;
  esac
}
load() {
  case $1 in pci:*) set -- $(cat "$root"/.modules/* 2>/dev/null) ;; esac
  for m_module in "$@"; do
    [ -d "$pci/drivers/$m_module" ] && continue
    mkdir -p "$pci/drivers/$m_module"
    for m_device in "$pci"/devices/*; do probe "${m_device##*/}" "$m_module"; done
  done
}
call() {
  case $1 in
  update-grub)
    m_line=$(cat "$root/etc/default/grub" "$root"/etc/default/grub.d/*.cfg 2>/dev/null |
      sh -c 'eval "$(cat)"; echo "$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT"')
    say "	linux	/boot/vmlinuz-$1 root=/dev/vda1 ro $m_line" >"$root/boot/grub/grub.cfg.new"
    mv "$root/boot/grub/grub.cfg.new" "$root/boot/grub/grub.cfg"
    ;;
  update-initramfs | dracut)
    for m_image in "$root"/boot/initr*; do
      moment "half of $m_image"
      cat "$root/etc/gpufarm/functions" 2>/dev/null | cat - "$root/.built" >"$m_image.new"
      mv "$m_image.new" "$m_image"
    done
    ;;
  grubby)
    for m_entry in "$root"/boot/loader/entries/*.conf; do
      case $3 in
      --args=*) sed -i "s/^\(options.*\)/\1 ${3#*=}/" "$m_entry" ;;
      --remove-args=*) sed -i "s/ ${3#*=}//" "$m_entry" ;;
      esac
      moment "half of grubby"
    done
    ;;
  systemctl) m_verb=$2; shift 2; "m_$m_verb" "$@" ;;
  fails) echo "no room"; return 1 ;;
  esac
}

# systemd: run/services/NAME says `ACTIVE SUB ENABLED RUN`, and NAME.read what it read when it began.
m_show() {
  shift 3
  for m_unit in "$@"; do
    m_state=$root/run/services/${m_unit%.service}
    say "Id=$m_unit"
    if [ -e "$m_state" ]; then
      read -r m_active m_sub m_enabled m_run <"$m_state"
      say "LoadState=loaded" && say "ActiveState=$m_active" && say "SubState=$m_sub"
      say "UnitFileState=$m_enabled" && say "InvocationID=$m_run"
    else
      say "LoadState=not-found" && say "ActiveState=inactive"
    fi
    say
  done
}
m_restart() {
  for m_unit in "$@"; do
    m_state=$root/run/services/$m_unit
    read -r m_active m_sub m_enabled m_run <"$m_state"
    moment "half of systemctl"
    cat "$root"/etc/nova/nova.conf.d/*.conf >"$m_state.read" 2>/dev/null
    if grep -q "$(cat "$m_state.dislikes" 2>/dev/null || say 'nothing ')" "$m_state.read"; then
      say "activating auto-restart $m_enabled $((m_run + 1))" >"$m_state"
    else
      say "active running $m_enabled $((m_run + 1))" >"$m_state"
    fi
  done
}

moments=0
moment() {
  moments=$((moments + 1))
  say "$1" >>"$root/../moments"
  [ $moments -ne "$stop" ] || kill -9 $$
}
