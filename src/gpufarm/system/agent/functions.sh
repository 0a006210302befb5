# Whom a PCI function belongs to, and handing it over.

driver_of() {
  if exists "$pci/devices/$1/driver"; then
    target=$(readlink "$pci/devices/$1/driver")
    printf '%s' "${target##*/}"
  fi
}

override_of() {
  value=$(cat "$pci/devices/$1/driver_override" 2>/dev/null)
  [ "$value" = "(null)" ] || printf '%s' "$value"
}

# The nodes in /dev through which a process uses a function.
nodes_of() {
  target=$(readlink "$pci/devices/$1/iommu_group") && say "/dev/vfio/${target##*/}"
  find "$pci/devices/$1/" -name uevent -exec sed -n 's,^DEVNAME=,/dev/,p' {} + 2>/dev/null
  [ "$(driver_of "$1")" != nvidia ] || ls "$root"/dev/nvidia[0-9]* 2>/dev/null
}

# Prints `held ADDRESS PID COMMAND` for each process that uses one of the functions.
held() {
  for function in "$@"; do
    nodes_of "$function" | sed "s,^,$function ,"
  done | sort -u >"$folder/nodes"
  # /dev/null makes ls name the folder even where there is only one.
  ls -l /dev/null "$root"/proc/[0-9]*/fd 2>/dev/null | awk -v nodes="$folder/nodes" '
    BEGIN { while ((getline line < nodes) > 0) { split(line, part, " "); of[part[2]] = part[1] } }
    /^\/.*\/fd:$/ { n = split($0, part, "/"); pid = part[n - 1] }
    NF > 1 && $(NF - 1) == "->" && ($NF in of) && !seen[of[$NF], pid]++ { print of[$NF], pid }
  ' >"$folder/holders" || fail "who uses a function cannot be told"
  while read -r function pid; do
    say "held $function $pid $(line_of "$root/proc/$pid/comm")"
  done <"$folder/holders"
  rm -f "$folder/nodes" "$folder/holders"
}

refuse_held() {
  [ $# -gt 0 ] || return 0
  holders=$(held "$@") || exit 3
  [ -n "$holders" ] || return 0
  say "$holders"
  fail "in use; nothing was changed since this was seen"
}

take() {
  function=$1 wanted=$2
  exists "$pci/devices/$function" || fail "$function is not there any more"
  [ -e "$pci/drivers/$wanted" ] || load "$wanted"
  tell "/sys/bus/pci/devices/$function/driver_override" "$wanted"
  moment "override $function"
  current=$(driver_of "$function")
  if [ "$current" != "$wanted" ]; then
    [ -z "$current" ] || tell "/sys/bus/pci/devices/$function/driver/unbind" "$function"
    moment "unbound $function"
    tell "/sys/bus/pci/drivers_probe" "$function"
  fi
  [ "$(driver_of "$function")" = "$wanted" ] ||
    fail "$wanted did not take $function: the kernel's log says why (dmesg)"
}

# Back to the driver and the override that it had; both may be empty.
put_back() {
  function=$1 wanted=$2 override=$3
  exists "$pci/devices/$function" || tell /sys/bus/pci/rescan 1
  if ! exists "$pci/devices/$function"; then
    say "warning $function did not come back with a rescan: it will with a reboot"
    return 0
  fi
  # An empty line clears it (Documentation/ABI/testing/sysfs-bus-pci).
  tell "/sys/bus/pci/devices/$function/driver_override" "${override:-
}"
  moment "override $function"
  current=$(driver_of "$function")
  [ "$current" != "$wanted" ] || return 0
  [ -z "$current" ] || tell "/sys/bus/pci/devices/$function/driver/unbind" "$function"
  moment "unbound $function"
  [ -n "$wanted" ] || return 0
  [ -e "$pci/drivers/$wanted" ] || load "$wanted" || load "$(cat "$pci/devices/$function/modalias")"
  tell "/sys/bus/pci/drivers/$wanted/bind" "$function" 2>/dev/null
  [ "$(driver_of "$function")" = "$wanted" ] ||
    say "warning $function did not go back to $wanted: it will with a reboot"
}

# To whichever driver of the host wants it.
let_go() {
  function=$1
  exists "$pci/devices/$function" || return 0
  tell "/sys/bus/pci/devices/$function/driver_override" "
"
  moment "override $function"
  [ -z "$(driver_of "$function")" ] || tell "/sys/bus/pci/devices/$function/driver/unbind" "$function"
  moment "unbound $function"
  load "$(cat "$pci/devices/$function/modalias")"
  tell /sys/bus/pci/drivers_probe "$function" 2>/dev/null
  return 0
}
