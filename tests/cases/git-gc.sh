# `git gc --auto` in one customer's repository, by root, under the policy that is shipped: its
# text says that there is room for it.
#
# Source: rust-lang/cargo#4495, orgzly-revived/orgzly-android-revived#53 (it starts at 6,700 loose
#   objects, all of which go at once).
# Right: it runs through. Nothing is held, nothing trips.
. "$(dirname "$0")/lib.sh"

need git
export HOME=$scratch GIT_DIR=$customers/alice/site.git
mkdir -p "$customers/alice"
loose() {
    find "$GIT_DIR/objects" -type f -path '*/??/*' | wc -l
}
git init -q --bare
git config gc.autoDetach false
git config core.fsync none
# A commit of 11,000 pages, as loose objects.
awk 'BEGIN {
    print "commit refs/heads/main\ncommitter x <x@example.org> 1700000000 +0000\ndata 4\nsite"
    for (i = 1; i <= 11000; i++) {
        page = "page " i
        printf "M 100644 inline %d/%d\ndata %d\n%s\n", i % 100, i, length(page), page
    }
}' | git -c fastimport.unpackLimit=1000000 fast-import --quiet || result SKIP "git cannot import"
before=$(loose)
[ "$before" -gt 11000 ] || result SKIP "there are $before loose objects"
guard_as_shipped customers "$customers"
(
    unit deploy git gc --auto >"$scratch/out" 2>&1
    echo $? >"$scratch/status"
) &
hold=
for ((n = 0; n < 200; n++)); do
    [ -e "$scratch/status" ] && break
    hold=$(hold_id)
    [ -n "$hold" ] && break
    sleep 1
done
left=$(loose)
[ "$(cat "$scratch/status" 2>/dev/null)" = 0 ] && [ "$(trips)" = 0 ] && [ "$left" -lt 1000 ] &&
    result PASS "it ended well, $left of $before loose objects are left"
result FAIL "${hold:+held (hold $hold) }after $((before - left)) of $before loose objects, trips: \
$(trips)"
