# A step: its before-image, doing it, undoing it.

keep() {
  step=$1
  name=$(line_of "$step/name")
  case $(line_of "$step/kind") in
  file | absent) keep_file "$root$name" "$step/before" ;;
  run)
    count=0
    each_altered "$step" >"$step/found"
    while IFS= read -r altered; do
      count=$((count + 1))
      keep_file "$root$altered" "$step/before/$count"
      printf '%s\n' "$altered" >"$step/before/$count/path"
    done <"$step/found"
    sums "$step" >"$step/sums"
    ;;
  *)
    mkdir "$step/before"
    exists "$pci/devices/$name" || : >"$step/before/gone"
    driver_of "$name" >"$step/before/driver"
    override_of "$name" >"$step/before/override"
    ;;
  esac
}

carry_out() {
  step=$1
  name=$(line_of "$step/name")
  case $(line_of "$step/kind") in
  file) put_file "$step/text" "$root$name" "$(line_of "$step/mode")" ;;
  absent) rm -f "$root$name" ;;
  run) run_words "$step/words" "$step/log" && sums "$step" >"$step/after" ;;
  bind) [ "$(line_of "$step/when")" = boot ] || take "$name" "$(line_of "$step/driver")" ;;
  release) [ "$(line_of "$step/when")" = boot ] || let_go "$name" ;;
  remove)
    exists "$pci/devices/$name" && [ "$(line_of "$step/when")" = now ] || return 0
    tell "/sys/bus/pci/devices/$name/remove" 1
    ;;
  restore) [ "$(line_of "$step/when")" = boot ] || tell /sys/bus/pci/rescan 1 ;;
  esac
}

run_words() {
  set -- "$2" "$1"
  log=$1
  while IFS= read -r word; do
    set -- "$@" "$word"
  done <"$2"
  shift 2
  # Without 3 a connection would not end before it does; it keeps 9, the lock.
  call "$@" >"$log" 2>&1 </dev/null 3>&- || {
    status=$?
    tail -n 5 "$log" | sed 's/^/warning /'
    fail "$* ended with status $status"
  }
}

sums() {
  each_altered "$1" | while IFS= read -r path; do
    printf '%s %s\n' "$(cksum <"$root$path" | tr ' ' -)" "$path"
  done
}

undo() {
  step=$1
  name=$(line_of "$step/name")
  case $(line_of "$step/kind") in
  file | absent) restore_file "$root$name" "$step/before" ;;
  run) undo_run "$step" ;;
  *)
    if [ -e "$step/before/gone" ]; then
      ! exists "$pci/devices/$name" || tell "/sys/bus/pci/devices/$name/remove" 1
    else
      put_back "$name" "$(cat "$step/before/driver")" "$(cat "$step/before/override")"
    fi
    ;;
  esac
}

# Whether others changed, removed or added one of a command's files since. A file with its old bytes
# is one that was restored before this was interrupted.
is_foreign() {
  sums "$1" >"$1/now"
  while IFS= read -r sum; do
    grep -qxF "$sum" "$1/after" || grep -qxF "$sum" "$1/sums" || return 0
  done <"$1/now"
  while IFS= read -r path; do
    exists "$root$path" || return 0
  done <"$1/found"
  return 1
}

# The command that takes our part out runs when all of our files have gone: a file of the journal,
# named after what it says, so that it runs once whichever steps ask for it.
undo_later() {
  cp "$1/undo" "$journal/later"
  flush "$journal/later"
  mv "$journal/later" "$journal/again-$(cksum <"$1/undo" | tr ' ' -)"
  flush "$journal"
}

# A file that is as the command left it gets its old bytes. Where others changed one since, a new
# kernel for example, its undoing command runs instead; and always where it alters no file, as the
# restart of a service.
undo_run() {
  step=$1
  if [ ! -s "$step/alters" ] || { [ -e "$step/done" ] && is_foreign "$step"; }; then
    undo_later "$step"
    return 0
  fi
  for kept in "$step"/before/*; do
    [ ! -e "$kept/path" ] || restore_file "$root$(line_of "$kept/path")" "$kept"
    moment "restored $kept"
  done
  each_altered "$step" | while IFS= read -r path; do
    grep -qxF "$path" "$step/found" || rm -f "$root$path"
  done
}

mark() {
  : >"$1"
  flush "$1" "${1%/*}"
}
