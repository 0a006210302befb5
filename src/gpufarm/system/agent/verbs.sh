# What it can be asked to do.

steps_of() { ls "$1" | grep -x '[0-9][0-9]*'; }
applies() { ls "$journal" 2>/dev/null | grep -x 'apply-[0-9]*'; }

waiting_functions() {
  for number in $(steps_of "$1"); do
    case $(line_of "$1/$number/kind") in
    bind | release | remove)
      name=$(line_of "$1/$number/name")
      [ "$(line_of "$1/$number/when")" = boot ] || ! exists "$pci/devices/$name" || say "$name"
      ;;
    esac
  done
}

apply() {
  mkdir -p "$folder"
  chmod 700 "$folder"
  mkdir -p "$journal"
  alone
  take_orders
  moment "orders taken"
  # shellcheck disable=SC2046  # addresses have no spaces
  refuse_held $(waiting_functions "$incoming")
  for number in $(steps_of "$incoming"); do
    keep "$incoming/$number"
    moment "before-image $number"
  done
  flush_journal
  last=$(applies | tail -n 1)
  last=${last#apply-}
  while [ "$last" != "${last#0}" ]; do last=${last#0}; done
  entry=$journal/apply-$(printf %04d $((${last:-0} + 1)))
  mv "$incoming" "$entry"
  flush "$journal"
  moment "journal written"
  for number in $(steps_of "$entry"); do
    step=$entry/$number
    mark "$step/begun"
    moment "begun $number"
    carry_out "$step"
    moment "carried out $number"
    mark "$step/done"
    moment "done $number"
    say "step $number $(line_of "$step/kind") $(line_of "$step/name")"
  done
}

begun_functions() {
  for entry in $(applies); do
    for number in $(steps_of "$journal/$entry"); do
      step=$journal/$entry/$number
      name=$(line_of "$step/name")
      case $(line_of "$step/kind") in
      bind | release | remove)
        [ ! -e "$step/begun" ] || ! exists "$pci/devices/$name" ||
          [ "$(driver_of "$name")" = "$(cat "$step/before/driver")" ] || say "$name"
        ;;
      esac
    done
  done
}

rollback() {
  [ -d "$journal" ] || return 0
  alone
  # shellcheck disable=SC2046
  refuse_held $(begun_functions)
  for entry in $(applies | sort -r); do
    entry=$journal/$entry
    for number in $(steps_of "$entry" | sort -r); do
      step=$entry/$number
      [ -e "$step/begun" ] || continue
      undo "$step"
      moment "undone $number"
      rm -f "$step/done"
      rm -f "$step/begun"
      flush "$step"
      moment "forgotten $number"
      say "undone $(line_of "$step/kind") $(line_of "$step/name")"
    done
    mv "$entry" "$journal/undone"
    moment "entry undone"
    rm -rf "$journal/undone"
  done
  for again in "$journal"/again-*; do
    [ -e "$again" ] || continue
    run_words "$again" "$journal/log"
    moment "run again $again"
    say "undone by $(in_one_line "$again")"
    rm -f "$again"
  done
  rm -rf "$journal"
  rmdir "$folder" 2>/dev/null
  flush "${folder%/*}"
}

show() {
  for entry in $(applies); do
    say "apply ${entry#apply-}"
    sed 's/^/note /' "$journal/$entry/notes"
    for number in $(steps_of "$journal/$entry"); do
      step=$journal/$entry/$number
      state=waiting
      [ ! -e "$step/begun" ] || state=begun
      [ ! -e "$step/done" ] || state=done
      say "step $number $state $(line_of "$step/kind") $(line_of "$step/name")"
    done
  done
}

boot_id() { say "boot-id $(line_of "$root/proc/sys/kernel/random/boot_id")"; }

reboot() {
  boot_id
  # Later, so that this answer is still heard.
  (sleep 1 && { call systemctl reboot || call shutdown -r now; }) </dev/null >/dev/null 2>&1 3>&- &
}

main() {
  say "gpufarm-agent 1"
  [ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "only root may do this"
  case $verb in
  apply) apply ;;
  rollback) rollback ;;
  show) show ;;
  reboot) reboot ;;
  boot-id) boot_id ;;
  services) services ;;
  *) fail "no such verb: $verb" ;;
  esac
  say end
}
