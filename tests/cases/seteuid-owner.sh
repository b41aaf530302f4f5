# A daemon that works as its client by seteuid(2), as Samba, ProFTPD and doveadm do.
#
# Source: cilium/tetragon#2575 (a guard reported the real uid where the effective one decides).
# Right: a customer's deletions through such a daemon are the owner's. All 30 files go; the
#   operators' budget of 10 is not touched.
. "$(dirname "$0")/lib.sh"

need setpriv
make_files "$customers/alice" 30
chown -R 1001:1001 "$customers/alice"
guard "$customers" primary deny \
    'per = "unit"; who = "operators"; files = 10; window = "1h"' \
    'per = "user"; who = "owners"; files = 10000; window = "1h"'
unit smbd setpriv --euid 1001 --egid 1001 --clear-groups \
    find "$customers/alice" -type f -delete 2>"$scratch/error"
left=$(files "$customers/alice")
tail -n 1 "$scratch/error"
[ "$left" = 0 ] && [ "$(trips)" = 0 ] && result PASS "30 of 30 files went as their owner's"
result FAIL "$left of 30 files are left, trips: $(trips): real uid 0 with effective uid 1001 is \
taken for an operator"
