# The lines on standard input, laid out as folders of the journal.

copy_lines() {
  left=$1
  while [ "$left" -gt 0 ]; do
    IFS= read -r line || fail "the orders end early"
    printf '%s\n' "$line"
    left=$((left - 1))
  done
}

in_one_line() { say "$(tr '\n' ' ' <"$1" | sed 's/ $//')"; }

fields() {
  read -r one two three <<END
$1
END
}

take_orders() {
  IFS= read -r line && [ "$line" = "gpufarm-orders 1" ] || fail "orders of another version"
  number=0
  rm -rf "$incoming"
  mkdir -p "$incoming"
  : >"$incoming/notes"
  while IFS= read -r line; do
    kind=${line%% *}
    fields "${line#* }"
    case $kind in
    end) return 0 ;;
    note) printf '%s\n' "${line#note }" >>"$incoming/notes" && continue ;;
    esac
    number=$((number + 1))
    step=$incoming/$(printf %04d "$number")
    mkdir "$step"
    printf '%s\n' "$kind" >"$step/kind"
    case $kind in
    file)
      printf '%s\n' "$one" >"$step/mode"
      printf '%s\n' "$three" >"$step/name"
      copy_lines "$two" >"$step/text"
      ;;
    absent) printf '%s\n' "$one" >"$step/name" ;;
    bind | release | remove | restore)
      printf '%s\n' "$one" >"$step/name"
      printf '%s\n' "$two" >"$step/when"
      printf '%s\n' "$three" >"$step/driver"
      ;;
    run)
      copy_lines "$one" >"$step/alters"
      copy_lines "$two" >"$step/words"
      copy_lines "$three" >"$step/undo"
      in_one_line "$step/words" >"$step/name"
      ;;
    *) fail "orders of another version: $kind" ;;
    esac
  done
  fail "the orders end early"
}
