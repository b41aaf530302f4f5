# A program tries rmdir on a directory that is not empty, and goes by the error: git, dpkg, rimraf,
# podman's health checks.
#
# Source: podman-container-tools/podman#18380 (failing rmdirs by the hundred thousand),
#   nodejs/node#63709 (what EPERM from rmdir is taken for).
# Right: an op that destroys nothing trips nothing. The error is "Directory not empty", also when
#   the budget has just been used up.
. "$(dirname "$0")/lib.sh"

make_files "$customers/alice/full" 3
make_files "$customers/alice/used" 5
guard "$customers" primary deny 'per = "unit"; files = 5; window = "1h"'
unit job bash -c 'rm -f "$1"/used/f*; rmdir "$1"/full' job "$customers/alice" 2>"$scratch/error"
said=$(tail -n 1 "$scratch/error")
sleep 1
echo "$said; files left of the used ones: $(files "$customers/alice/used")"
case $said in
*"not empty"*) [ "$(trips)" = 0 ] && result PASS "rmdir had its own error, and nothing tripped" ;;
esac
result FAIL "trips: $(trips), said: $said"
