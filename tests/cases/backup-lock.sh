# The retention job spends the budget of the backups and trips. The same unit then makes the next
# backup, which takes a lock and must be able to take it away again.
#
# Source: borgbackup/borg#3191, #2306 (a lock that stays stops every later backup),
#   restic/restic#3219 (no backup for a month because of one).
# Right: copies go on being made after a trip. A lock that the job has just made is no copy.
. "$(dirname "$0")/lib.sh"

repository=$backups/repository
make_files "$repository/data" 60
cat >"$scratch/job" <<'EOJ'
repository=$1
case $2 in
prune)
    rm -f "$repository"/data/f*
    ;;
create)
    mkdir "$repository/lock.exclusive" 2>/dev/null || { echo "create $3: locked"; exit 2; }
    echo segment >"$repository/data/new$3"
    rmdir "$repository/lock.exclusive" || echo "create $3: the lock stays"
    ;;
esac
EOJ
guard "$backups" backup deny 'per = "unit"; files = 30; window = "10m"'
unit borg bash "$scratch/job" "$repository" prune 2>/dev/null
left=$(find "$repository/data" -name 'f*' | wc -l)
for n in 1 2 3; do
    unit borg bash "$scratch/job" "$repository" create $n 2>&1
done
made=$(find "$repository/data" -name 'new*' | wc -l)
[ "$made" = 3 ] && [ "$left" = 30 ] && [ ! -e "$repository/lock.exclusive" ] &&
    result PASS "$made of 3 backups were made after the trip, $left of 60 old segments are left"
result FAIL "$made of 3 backups were made after the trip, $left of 60 old segments are left"
