# Makes this guest a host that somebody administers over ssh, with customers' data, and waits until
# the roll-out is over.
set -eu
modprobe virtio_net
for device in /sys/class/net/*; do
    device=${device##*/}
    [[ $device == lo ]] || break
done
ip address add 10.0.2.15/24 dev "$device"
ip link set "$device" up
# This run's key and no other: who answers with another is not this guest.
rm -f /etc/ssh/ssh_host_*
install -m 600 /run/payload/host_key /etc/ssh/ssh_host_ed25519_key
useradd --create-home --shell /bin/bash deploy
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh
install -m 600 -o deploy -g deploy /run/payload/login_key.pub /home/deploy/.ssh/authorized_keys
echo 'deploy ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
install -m 755 /run/payload/state.py /usr/local/bin/fleet-state
mkdir -p /srv/customers/customer-{1..9}
for customer in /srv/customers/*; do
    touch "$customer"/file-{1..5}
done
# Left from the boot, which is over.
rm -f /run/nologin
systemctl start ssh.service
echo ready
until [[ -e /run/fleet-over ]]; do
    sleep 1
done
