# What reads the agent's standard error (journald, a log pipe) stops reading.
#
# Source: linux-application-whitelisting/fapolicyd#427 (a guard that logs synchronously waits for
#   the journal, which waits for the guard).
# Right: the agent goes on without those lines. It answers, and holds can be released.
. "$(dirname "$0")/lib.sh"

stop_agent
mkfifo "$scratch/pipe"
sleep 100000 <"$scratch/pipe" &
reader=$!
undo() {
    cat "$scratch/pipe" >/dev/null &
    kill $reader 2>/dev/null
    sleep 2
}
agent_log=$scratch/pipe start_agent
make_files "$customers/alice" 60
guard "$customers" primary hold 'per = "unit"; files = 20; window = "1h"'
cp "$policy" "$scratch/good.toml"
# Each refused reload leaves some hundred lines there; the pipe takes 64 KiB.
for ((n = 0; n < 30; n++)); do
    printf '[[zone]]\nname = "Bad %s"\nrole = "x"\npaths = ["r/%s"]\nmode = "maybe"\n' $n $n
done >"$scratch/bad.toml"
stuck=0
for ((n = 1; n <= 200; n++)); do
    cp "$scratch/bad.toml" "$policy"
    timeout 10 holdfast policy reload >/dev/null 2>&1
    [ $? = 124 ] && { stuck=$n; break; }
done
cp "$scratch/good.toml" "$policy"
[ $stuck = 0 ] && answers && result PASS "it answers after 200 refused reloads"
sleep 12
(unit job rm -rf "$customers/alice" >/dev/null 2>"$scratch/error") &
job=$!
sleep 5
kill -0 $job 2>/dev/null && job=held || job="not held: $(tail -n 1 "$scratch/error")"
result FAIL "it stands still after $stuck refused reloads; a job over budget then is $job, and \
$(files "$customers/alice") of 60 files are left"
