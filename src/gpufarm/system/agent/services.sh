# Which services there are, what of ours says how they run, and the journal. Of anybody else's configuration only
# the name that Nova gives this host is told: the rest of it has passwords.

tell_file() {
  [ -f "$root$1" ] || return 0
  say "file $1"
  sed 's/^/text /' "$root$1"
  # A file may lack its last line break. Empty lines of an answer count for nothing.
  say
}

# [DEFAULT] host in the order in which oslo.config reads these files, or else the kernel's name.
nova_host() {
  set --
  for path in "$root"/etc/nova/nova.conf "$root"/etc/nova/nova-compute.conf \
    "$root"/etc/nova/nova.conf.d/*.conf "$root"/etc/nova/nova-compute.conf.d/*.conf; do
    [ ! -f "$path" ] || set -- "$@" "$path"
  done
  found=
  [ $# -eq 0 ] || found=$(awk '
    FNR == 1 || /^[[]/ { first = 0 }
    /^[[]DEFAULT[]]/ { first = 1 }
    first && sub(/^host[ \t]*[=:][ \t]*/, "") { sub(/[ \t]+$/, ""); name = $0 }
    END { print name }
  ' "$@")
  found=${found:-$(line_of "$root/proc/sys/kernel/hostname")}
  [ -n "$found" ] || fail "this host has no name"
  say "$found"
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
  name=$(nova_host) || exit 3
  say "host $name"
  while IFS= read -r line; do
    case $line in
    "service "*) set -- "$@" "${line#service }.service" ;;
    "file "*) tell_file "${line#file }" ;;
    "path "*) ! exists "$root${line#path }" || say "$line" ;;
    esac
  done
  [ $# -eq 0 ] || tell_services "$@"
  show
}
