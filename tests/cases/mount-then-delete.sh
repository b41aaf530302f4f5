# The backup disk is mounted by the job itself, right before its work: automounts, removable disks,
# the mount wrapper of rsnapshot.
#
# Source: rsnapshot/rsnapshot#24 (mounted right before the run, unmounted after it),
#   linux-application-whitelisting/fapolicyd#380 (a guard and automounts).
# Right: guarded from the first op on: 20 of 2,000 files go.
. "$(dirname "$0")/lib.sh"

mkdir -p "$scratch/disk" "$backups/disk"
mount -t tmpfs -o size=64m none "$scratch/disk" || result SKIP "cannot mount a tmpfs"
undo() {
    umount -l "$backups/disk" 2>/dev/null
    umount -l "$scratch/disk" 2>/dev/null
}
for host in 1 2 3 4; do
    make_files "$scratch/disk/host$host" 500
done
guard "$backups/disk" backup deny 'per = "zone"; files = 20; window = "1h"'
sleep 8 # The agent knows the directory without the disk by then.
mount --bind "$scratch/disk" "$backups/disk"
unit prune find "$backups/disk" -type f -delete 2>/dev/null
lost=$((2000 - $(files "$scratch/disk")))
[ "$lost" -le 20 ] && result PASS "$lost of 2000 files went"
result FAIL "$lost of 2000 files went before the agent had noticed the mount"
