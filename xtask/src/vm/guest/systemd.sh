#!/bin/bash
# Process 1 of the guest with systemd: says what systemd is to start, then becomes it.
units=/run/systemd/system
mkdir -p $units/multi-user.target.wants /run/holdfast-guest
cp /etc/hostname /proc/sys/kernel/hostname

# What a throw-away machine does not need, and what would only make an emulated one slower.
for unit in getty@.service serial-getty@.service getty.target systemd-logind.service \
    systemd-networkd.service systemd-timesyncd.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service systemd-random-seed.service systemd-pstore.service \
    systemd-journal-flush.service systemd-sysctl.service systemd-user-sessions.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service systemd-tmpfiles-clean.timer dev-hugepages.mount dev-mqueue.mount \
    sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$units/$unit"
done
ln -sf /lib/systemd/system/multi-user.target $units/default.target

cat >$units/holdfast-guest.service <<.
[Unit]
Description=The one command of this guest
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/bash /run/payload/runner
StandardOutput=journal
KillMode=process
TimeoutStopSec=10
.
mkdir -p $units/default.target.wants
ln -sf ../holdfast-guest.service $units/default.target.wants/

cat >/run/payload/runner <<'.'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/payload HOME=/root
export TERM=xterm LANG=C.UTF-8 HOLDFAST_VM=1 DEBIAN_FRONTEND=noninteractive
umask 022
cd /root

. /run/payload/run-command
if [[ $status == 0 && -e /run/boot-again ]]; then
    # In the same emulator, so that the root disk stays as it is. Whether it comes back up shows.
    systemctl reboot
    exit 0
fi
echo "exit $status" >&3
/run/payload/busybox poweroff -f
.

exec /lib/systemd/systemd
