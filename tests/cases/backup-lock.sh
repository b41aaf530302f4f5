# The retention job trips in the backup zone. The same unit then makes the next backups, for which
# it takes a lock that it has to remove again.
#
# Source: borgbackup/borg#3191, #2306 (a lock that stays stops every later backup),
#   restic/restic#3219 (no backup for a month because of one).
# Right: backups go on after a trip. A lock that the job has just made is no copy: its removal
#   destroys nothing.
. "$(dirname "$0")/lib.sh"

make_files "$backups/repo/data" 60
cat >"$scratch/job" <<'.'
repo=$1
case $2 in
prune) rm -f "$repo"/data/f* ;;
create)
    mkdir "$repo/lock" 2>/dev/null || { echo "create $3: repository is locked"; exit 2; }
    echo segment >"$repo/data/new$3"
    rmdir "$repo/lock" || echo "create $3: the lock stays"
    echo "create $3: done"
    ;;
esac
.
guard "$backups" backup deny 'per = "unit"; files = 30; window = "10m"'
unit borg bash "$scratch/job" "$backups/repo" prune 2>/dev/null
old=$(find "$backups/repo/data" -name 'f*' | wc -l)
echo "prune: $old of 60 old segments are left"
for n in 1 2 3; do
    unit borg bash "$scratch/job" "$backups/repo" create $n 2>/dev/null
done
made=$(find "$backups/repo/data" -name 'new*' | wc -l)
[ "$old" = 30 ] || result FAIL "$((60 - old)) of 60 old segments went where 30 may"
[ "$made" = 3 ] && result PASS "3 of 3 backups were made after the trip"
result FAIL "$made of 3 backups were made after the trip"
