# The backup disk is mounted by the job itself, just before it works (automount, a removable disk, a
# wrapper around rsnapshot).
#
# Source: rsnapshot/rsnapshot#24 (mount right before the run, unmount after it),
#   linux-application-whitelisting/fapolicyd#380 (a guard and automounts).
# Right: guarded from the first op: 20 of 2,000 files go.
. "$(dirname "$0")/lib.sh"

disk=$scratch/disk
mkdir -p "$disk" "$backups/disk" && mount -t tmpfs -o size=64m none "$disk" ||
    result SKIP "cannot mount"
undo() {
    umount -l "$backups/disk" 2>/dev/null
    umount -l "$disk" 2>/dev/null
}
for host in 1 2 3 4; do
    make_files "$disk/host$host" 500
done
guard "$backups/disk" backup deny 'per = "zone"; files = 20; window = "1h"'
sleep 8 # The agent has looked around by then.
mount --bind "$disk" "$backups/disk"
unit prune find "$backups/disk" -type f -delete 2>/dev/null
lost=$((2000 - $(files "$disk")))
[ "$lost" = 20 ] && result PASS "20 of 2000 files went"
result FAIL "$lost of 2000 files went where 20 may"
