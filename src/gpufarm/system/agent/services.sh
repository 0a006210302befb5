# Which services there are, what of ours says how they run, and the journal. Of anybody else's
# configuration only the name that Nova gives this host, aliases and sets of CPUs are told: the rest
# has passwords.

tell_file() {
  [ -f "$root$1" ] || return 0
  say "file $1"
  sed 's/^/text /' "$root$1"
  # A file may lack its last line break. Empty lines of an answer count for nothing.
  say
}

# Of a file of Nova's [DEFAULT] host, [compute] cpu_shared_set and cpu_dedicated_set, and [pci] alias
# (of old [DEFAULT] pci_alias), which may go on in lines that begin with a blank.
tell_words() {
  awk -v path="${1#"$root"}" '
    function told() {
      gsub(/[ \t]+/, " ", alias)
      if (alias != "") print "alias", path, alias
      alias = ""
    }
    /^[ \t]/ && alias != "" { alias = alias " " $0; next }
    { told() }
    /^[[]/ { section = $1 }
    section == "[DEFAULT]" && sub(/^host[ \t]*[=:][ \t]*/, "") { sub(/[ \t]+$/, ""); print "host", $0 }
    section == "[DEFAULT]" && sub(/^pci_alias[ \t]*[=:][ \t]*/, "") { alias = $0 }
    section == "[pci]" && sub(/^(pci_)?alias[ \t]*[=:][ \t]*/, "") { alias = $0 }
    section == "[compute]" && /^cpu_(shared|dedicated)_set[ \t]*[=:]/ {
      sub(/[ \t]*[=:].*/, ""); print "cpu_set", path, $0
    }
    END { told() }
  ' "$1"
}

# CPUs and MiB of this machine, and its PCI devices as Nova tells them apart.
tell_machine() {
  cpus=$(grep -c '^processor' "$root/proc/cpuinfo" 2>/dev/null) || return 0
  say "machine $cpus $(awk '$1 == "MemTotal:" { print int($2 / 1024) }' "$root/proc/meminfo")"
  for device in "$root"/sys/bus/pci/devices/*; do
    [ -e "$device/vendor" ] || continue
    type=type-PCI
    if [ -e "$device/physfn" ]; then
      type=type-VF
    elif [ -f "$device/sriov_totalvfs" ] && [ "$(line_of "$device/sriov_totalvfs")" -gt 0 ]; then
      type=type-PF
    fi
    vendor=$(line_of "$device/vendor") product=$(line_of "$device/device")
    say "device ${vendor#0x} ${product#0x} $type"
  done
}

# The kernel's name of the host, and what Nova's files say in the order in which oslo.config reads
# them: the last one counts.
tell_nova() {
  name=$(line_of "$root/proc/sys/kernel/hostname")
  [ -z "$name" ] || say "host $name"
  for path in "$root"/etc/nova/nova.conf "$root"/etc/nova/nova-compute.conf \
    "$root"/etc/nova/nova.conf.d/*.conf "$root"/etc/nova/nova-compute.conf.d/*.conf; do
    [ ! -f "$path" ] || tell_words "$path"
  done
}

tell_services() {
  call systemctl show --no-pager \
    --property=Id,LoadState,ActiveState,SubState,UnitFileState,InvocationID -- "$@" |
    awk -F = '
      function told() {
        if (of["LoadState"] == "loaded")
          print "service", of["Id"], of["ActiveState"], of["SubState"],
            of["UnitFileState"] ? of["UnitFileState"] : "-", of["InvocationID"] ? of["InvocationID"] : "-"
        split("", of)
      }
      NF == 0 { told() }
      NF > 1 { of[$1] = $2 }
      END { told() }
    '
}

services() {
  command -v systemctl >/dev/null || [ -n "$root" ] || fail "there is no systemd on this host"
  set --
  tell_nova
  while IFS= read -r line; do
    case $line in
    "service "*) set -- "$@" "${line#service }.service" ;;
    "file "*) tell_file "${line#file }" ;;
    machine) tell_machine ;;
    "path "*) ! exists "$root${line#path }" || say "$line" ;;
    esac
  done
  [ $# -eq 0 ] || tell_services "$@"
  show
}
