# What runs on a host that is prepared: takes orders, keeps before-images, changes, undoes.
#
# Plain POSIX sh with the utilities of POSIX, and flock. It is the same text for this machine and for
# one behind SSH, and never has anything pasted into it: what differs comes as lines on standard
# input and is only ever used between double quotes.
#
#   sh -c TEXT gpufarm ROOT apply|rollback|show|reboot|boot-id|services [prepare|settings]
#
# ROOT is empty; a test names a folder that stands for /. The last word names the journal. Answers are lines: `gpufarm-agent 1`, then
# `step N WHAT`, `undone WHAT`, `warning TEXT`, `held ADDRESS PID COMMAND`, `failed TEXT`, and last of
# all `end`. Without `end` it did not get to its end, and the journal says how far it got.
#
# The journal, below /var/lib/gpufarm/prepare (or settings): apply-0001/0001/... , a folder for each step. A folder
# apply-N comes into being by one rename, with every before-image in it and on the disk; `begun` and
# `done` in a step's folder are on the disk before and after the step.

LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
umask 022
root=$1
verb=$2
folder=$root/var/lib/gpufarm
journal=$folder/${3:-prepare}
incoming=$journal/incoming
pci=$root/sys/bus/pci

say() { printf '%s\n' "$*"; }
exec 3>&1
fail() {
  # What did not get into the journal leaves no trace.
  rm -rf "$incoming"
  rmdir "$journal" "$folder" 2>/dev/null
  { say "failed $*" && say end; } >&3
  exit 3
}
line_of() { IFS= read -r line <"$1" && printf '%s' "$line"; }
exists() { [ -e "$1" ] || [ -L "$1" ]; }

# What a test replaces: the moments at which it ends all this, and the only doors to kernel and host.
moment() { :; }
tell() { printf '%s' "$2" >"$root$1"; }
load() { modprobe -q "$1"; }
call() { "$@"; }

flush() { sync "$@" 2>/dev/null || sync; }
flush_journal() { sync -f "$journal" 2>/dev/null || sync; }

alone() {
  mkdir -p "$root/run"
  exec 9>"$root/run/gpufarm.lock"
  command -v flock >/dev/null || fail "there is no flock on this host: install util-linux"
  # Held also by what a killed one of us had started and what still runs.
  flock -w 900 9 || fail "another gpufarm works on this host"
}
