# Shared by every case: an agent of the case's own, one zone that enforces, and two directories
# with data to lose.
#
# A case sources this file and ends with one line, `RESULT PASS: …`, `RESULT FAIL: …` or
# `RESULT SKIP: …`, that says what was seen. It runs as root in a guest that can be thrown away,
# with no agent running: as the scenario of its name, or by hand with this file beside it:
#
#   cargo xtask vm run --with tests/cases/lib.sh --with tests/cases/NAME.sh \
#       --with agent/dist/policy.toml -- bash /run/payload/NAME.sh
#
# Its first argument is an empty directory on a disk.

set -u
umask 022
cd /
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

here=$(dirname "$(readlink -f "$0")")
name=$(basename "$0" .sh)
zone=case-$name
base=${1:-/data/$zone}
# Mount points, as data directories often are. A tenant is a directory in one of them.
customers=$base/mnt/customers
backups=$base/mnt/backups
# On another filesystem than the data.
scratch=/tmp/$zone
policy=/etc/holdfast/policy.toml
cgroup=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
agent=

# Ends the case: PASS, FAIL or SKIP, and what was seen.
result() {
    echo "RESULT $1: $2"
    exit 0
}

# Ends the case unless these programs are there.
need() {
    local program
    for program; do
        command -v "$program" >/dev/null || result SKIP "$program is not installed"
    done
}

# Makes a directory with so many files.
make_files() {
    local n
    mkdir -p "$1"
    for ((n = 1; n <= $2; n++)); do
        echo "data $n" >"$1/f$n"
    done
}

# Counts the files below directories.
files() {
    find "$@" -type f 2>/dev/null | wc -l
}

# metric NAME LABEL...: the sum of the series that have all these labels.
metric() {
    local name=$1
    shift
    {
        exec 9<>/dev/tcp/127.0.0.1/9917 &&
            printf 'GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n' >&9 && cat <&9
        exec 9>&-
    } 2>/dev/null | awk -v name="$name" -v labels="$*" '
        BEGIN { count = split(labels, label, " ") }
        index($1, name "{") == 1 || $1 == name {
            for (i = 1; i <= count; i++) if (!index($0, label[i])) next
            sum += $NF
        }
        END { print sum + 0 }'
}

trips() {
    metric holdfast_trips_total "zone=\"$zone\""
}

# Whether the agent answers a command.
answers() {
    timeout 10 holdfast hold list >/dev/null 2>&1
}

# Starts an agent, with these options, and waits until it answers. Its standard error is $agent_log.
start_agent() {
    local n
    holdfast agent "$@" >/dev/null 2>"${agent_log:-$scratch/agent.log}" </dev/null &
    agent=$!
    for ((n = 0; n < 120; n++)); do
        answers && return
        kill -0 "$agent" 2>/dev/null || break
        sleep 1
    done
    result SKIP "the agent does not answer: $(tail -n 1 "$scratch/agent.log" 2>/dev/null)"
}

# Ends the agent as a service manager does. The guard stays.
stop_agent() {
    local n
    [ -n "$agent" ] || return 0
    kill "$agent" 2>/dev/null
    for ((n = 0; n < 30; n++)); do
        kill -0 "$agent" 2>/dev/null || break
        sleep 1
    done
    kill -9 "$agent" 2>/dev/null
    agent=
}

# Puts the policy on standard input in force.
put() {
    cat >"$policy"
    holdfast policy reload >"$scratch/reload" 2>&1 && return
    cat "$scratch/reload"
    result SKIP "the policy was refused"
}

# guard PATH ROLE ON_TRIP BUDGET...: enforces one zone there; a budget's settings have semicolons
# between them.
guard() {
    local path=$1 role=$2 on_trip=$3 budget
    shift 3
    put < <(
        printf '[[zone]]\nname = "%s"\nrole = "%s"\npaths = ["%s"]\n' "$zone" "$role" "$path"
        printf 'tenant_depth = 1\nmode = "enforce"\non_trip = "%s"\n' "$on_trip"
        [ "$on_trip" = hold ] && echo 'hold_timeout = "5m"'
        for budget; do
            printf '[[zone.budget]]\n%s\n' "${budget//; /$'\n'}"
        done
    )
}

# guard_as_shipped ZONE PATH: enforces that zone of the policy that is shipped, at that path.
guard_as_shipped() {
    put < <(awk -v wanted="$1" -v name="$zone" -v path="$2" '
        /^#/ { next }
        /^\[\[zone\]\]/ { getline line; ours = (line == "name = \"" wanted "\"")
            if (ours) { print; print "name = \"" name "\"" }
            next }
        /^\[/ && !/^\[\[zone\./ { ours = 0 }
        !ours { next }
        /^paths = / { print "paths = [\"" path "\"]"; next }
        /^mode = / { print "mode = \"enforce\""; next }
        /^hold_timeout = / { print "hold_timeout = \"5m\""; next }
        { print }' "$here/policy.toml")
}

# Puts a policy in force that guards nothing that is there.
guard_nothing() {
    cat >"$policy" <<.
[[zone]]
name = "idle"
role = "primary"
paths = ["/data/nothing-here"]
mode = "observe"
[[zone.budget]]
per = "zone"
files = 1000
window = "1h"
.
    timeout 60 holdfast policy reload >/dev/null 2>&1
}

# unit NAME COMMAND...: runs a command in a cgroup of that name, as a service or a session is.
unit() {
    local dir=${cgroup%/}/$zone-$1
    shift
    mkdir -p "$dir"
    (
        echo "$BASHPID" >"$dir/cgroup.procs"
        exec "$@"
    )
}

# The number of this case's hold, if something is held.
hold_id() {
    holdfast hold list 2>/dev/null |
        awk -v zone="$zone" '$1 == "hold" && $3 == "zone" && $4 == zone { print $2; exit }'
}

# What a case has to take back before the zone's directories can go.
undo() {
    :
}

# Ends what the case left, so that nothing is guarded and nothing of it stays.
clean() {
    local hold dir
    trap - EXIT
    for hold in $(hold_id); do
        holdfast hold kill "$hold" >/dev/null 2>&1
    done
    undo
    for dir in "${cgroup%/}/$zone"-*; do
        [ -e "$dir/cgroup.kill" ] && echo 1 >"$dir/cgroup.kill"
    done
    guard_nothing || { stop_agent; holdfast unpin --force >/dev/null 2>&1; }
    stop_agent
    umount -l "$customers" "$backups" 2>/dev/null
    rm -rf "$base/disk" "$base/mnt" "$scratch"
    rmdir "${cgroup%/}/$zone"-* 2>/dev/null
}

[ "$(id -u)" = 0 ] || result SKIP "this needs root, in a guest"
need holdfast find awk sed timeout
mkdir -p "$scratch" /etc/holdfast
trap clean EXIT
for dir in customers backups; do
    mkdir -p "$base/disk/$dir" "$base/mnt/$dir"
    mount --bind "$base/disk/$dir" "$base/mnt/$dir" || result SKIP "cannot mount"
done
guard_nothing
start_agent
guard_nothing
