# A mistake that comes back at each boot. The reboot is imitated: the kernel's state goes, policy
# and the agent's state directory stay, and an agent starts.
#
# Source: 3proxy/3proxy#768 (a monthly quota starts anew at each restart), fail2ban/fail2ban#326
#   (bans are gone after a restart).
# Right: a window of seven days is seven days. Of a budget of 20 files, 20 go before the reboot,
#   and none after it.
. "$(dirname "$0")/lib.sh"

make_files "$backups/host" 200
guard "$backups" backup deny 'per = "zone"; files = 20; window = "7d"'
unit a find "$backups/host" -type f -delete 2>/dev/null
first=$((200 - $(files "$backups/host")))
stop_agent
holdfast unpin --force >"$scratch/unpin" 2>&1
start_agent
sleep 5
unit b find "$backups/host" -type f -delete 2>/dev/null
both=$((200 - $(files "$backups/host")))
[ "$first" = 20 ] || result SKIP "$first files went before the reboot"
[ "$both" = 20 ] && result PASS "20 files went before, none after"
result FAIL "$first files went before, $((both - first)) more after the reboot; 20 may in 7 days"
