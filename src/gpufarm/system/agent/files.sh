# Files, replaced atomically, and their before-images.

# Replaces what is at PATH by a copy of SOURCE, with MODE or else with the source's own rights.
put_file() {
  source=$1 path=$2 mode=$3
  new=${path%/*}/.gpufarm-new
  mkdir -p "${path%/*}"
  cp -p "$source" "$new" || fail "$path: cannot be written"
  [ -z "$mode" ] || chmod "$mode" "$new"
  flush "$new"
  moment "written $path"
  mv -f "$new" "$path" || fail "$path: cannot be written"
  flush "${path%/*}"
}

keep_file() {
  path=$1 kept=$2
  mkdir -p "$kept"
  if exists "$path"; then
    [ -f "$path" ] && [ ! -L "$path" ] || fail "${path#"$root"} is no plain file: it is left alone"
    cp -p "$path" "$kept/content" || fail "no room for a copy of $path"
    return 0
  fi
  : >"$kept/absent"
  above=${path%/*}
  while [ -n "$above" ] && [ ! -e "$above" ]; do
    printf '%s\n' "${above#"$root"}" >>"$kept/folders"
    above=${above%/*}
  done
}

# The folders that were not there go again, innermost first, unless others use them by now.
restore_file() {
  path=$1 kept=$2
  rm -f "${path%/*}/.gpufarm-new"
  if [ -e "$kept/content" ]; then
    put_file "$kept/content" "$path" ""
  else
    rm -f "$path"
    [ ! -e "$kept/folders" ] || while IFS= read -r above; do
      rmdir "$root$above" 2>/dev/null
    done <"$kept/folders"
  fi
}

each_altered() {
  while IFS= read -r pattern; do
    # Unquoted for its * alone: a result of expansion is not read as shell again.
    IFS='
'
    for path in $root$pattern; do
      [ ! -f "$path" ] || say "${path#"$root"}"
    done
    unset IFS
  done <"$1/alters"
}
