# A second agent on a guarded host: somebody tries holdfast out with directories of their own, or a
# container has the host's /sys.
#
# Source: cilium/tetragon#2672 and #2747 (two instances on one kernel undo each other's guard),
#   jestasecurity/thumper#95 (a lock for each installation).
# Right: the second agent refuses to start while another one looks after the guard: 20 of 100
#   files go.
. "$(dirname "$0")/lib.sh"

make_files "$customers/alice" 100
guard "$customers" primary deny 'per = "zone"; files = 20; window = "1h"'
mkdir -p "$scratch/run" "$scratch/state"
sed 's/mode = "enforce"/mode = "observe"/; /^on_trip/d' "$policy" >"$scratch/second.toml"
second=
undo() {
    kill $second 2>/dev/null
    wait $second 2>/dev/null
}
holdfast agent --run-dir "$scratch/run" --state-dir "$scratch/state" \
    --policy "$scratch/second.toml" --metrics off >"$scratch/second.log" 2>&1 </dev/null &
second=$!
sleep 8
kill -0 "$second" 2>/dev/null && is=running || is=ended
unit job bash -c 'for file in "$1"/f*; do rm -f "$file"; sleep 0.2; done' job "$customers/alice" \
    2>/dev/null
lost=$((100 - $(files "$customers/alice")))
echo "the first agent: $(holdfast status 2>&1 | head -n 2 | tr '\n' ';')"
echo "the second agent: $(tail -n 1 "$scratch/second.log" | cut -c 1-200)"
[ $is = ended ] && [ "$lost" -le 20 ] &&
    result PASS "the second agent ended, $lost of 100 files went"
result FAIL "the second agent is $is, $lost of 100 files went where 20 may"
