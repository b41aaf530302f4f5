# A customer deletes its own files through an NFS server of this host.
#
# Source: openzfs/zfs#13221 (nfsd works with the client's filesystem uid, while uid and effective
#   uid stay 0: checks that looked at those were wrong).
# Right: the customer is the owner. All 30 files go; the operators' budget of 10 is not touched.
. "$(dirname "$0")/lib.sh"

need rpc.nfsd rpc.mountd exportfs nfsdcld mount setpriv
for module in nfsd nfs nfsv4; do
    modprobe "$module" 2>/dev/null
done
make_files "$customers/alice" 30
chown -R 1001:1001 "$customers/alice"
client=$scratch/client
mountd='' nfsdcld=''
undo() {
    umount -f -l "$client" 2>/dev/null
    rpc.nfsd 0 2>/dev/null
    exportfs -ua 2>/dev/null
    kill $mountd $nfsdcld 2>/dev/null
    : >/etc/exports
}
[ -e /proc/fs/nfsd/threads ] || mount -t nfsd nfsd /proc/fs/nfsd ||
    result SKIP "this kernel has no NFS server"
mkdir -p /var/lib/nfs/nfsdcld /run/rpc_pipefs "$client"
mountpoint -q /run/rpc_pipefs || mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
nfsdcld --foreground >/dev/null 2>&1 &
nfsdcld=$!
echo "$customers 127.0.0.1(rw,no_root_squash,insecure,no_subtree_check,sync,fsid=1)" >/etc/exports
rpc.mountd --foreground --no-nfs-version 3 >/dev/null 2>&1 &
mountd=$!
exportfs -ra
rpc.nfsd --no-nfs-version 3 --host 127.0.0.1 --grace-time 10 --lease-time 10 4 ||
    result SKIP "the NFS server does not start"
for ((n = 0; n < 30; n++)); do
    mount -t nfs4 -o vers=4.2,soft,timeo=100,retrans=2,noac "127.0.0.1:$customers" "$client" \
        2>"$scratch/error" && break
    sleep 3
done
mountpoint -q "$client" || { cat "$scratch/error"; result SKIP "the export cannot be mounted"; }
guard "$customers" primary deny \
    'per = "unit"; who = "operators"; files = 10; window = "1h"' \
    'per = "user"; who = "owners"; files = 10000; window = "1h"'
unit web setpriv --reuid 1001 --regid 1001 --clear-groups \
    find "$client/alice" -type f -delete 2>"$scratch/error"
left=$(files "$customers/alice")
tail -n 1 "$scratch/error"
[ "$left" = 0 ] && [ "$(trips)" = 0 ] && result PASS "30 of 30 files went as their owner's"
result FAIL "$left of 30 files are left, trips: $(trips): the server's thread is taken for root"
