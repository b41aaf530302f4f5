# One account of a service (vmail, www-data, git) owns every customer's files, and its own mistake
# goes through all of them. The limit of tenants of an operators' budget holds for it as well.
#
# Source: nextcloud/server#10001 (a clean-up without an argument took every user's files).
# Right: forty customers who lose everything in a minute are a mass deletion, whoever owns the
#   files. It is stopped after five customers.
. "$(dirname "$0")/lib.sh"

need setpriv
each=50
for ((n = 1; n <= 40; n++)); do
    make_files "$customers/customer$n/data" $each
done
chown -R 5000:5000 "$customers"/customer*
guard "$customers" primary hold \
    'per = "unit"; who = "operators"; files = 2000; bytes = "10GiB"; tenants = 5; window = "10m"' \
    'per = "unit"; who = "operators"; files = 10000; tenants = 30; window = "24h"' \
    'per = "zone"; who = "operators"; files = 20000; tenants = 60; window = "24h"' \
    'per = "user"; who = "owners"; files = 200000; window = "24h"'
(
    unit occ setpriv --reuid 5000 --regid 5000 --clear-groups \
        find "$customers" -type f -delete >/dev/null 2>&1
) &
job=$!
for ((n = 0; n < 60; n++)); do
    kill -0 $job 2>/dev/null || break
    [ -n "$(hold_id)" ] && break
    sleep 1
done
lost=$((40 * each - $(files "$customers")))
gone=0
for ((n = 1; n <= 40; n++)); do
    [ "$(files "$customers/customer$n")" = 0 ] && ((++gone))
done
[ "$gone" -le 5 ] && [ "$lost" -le $((5 * each)) ] && [ "$(trips)" -gt 0 ] &&
    result PASS "$lost of $((40 * each)) files went, $gone customers lost all"
result FAIL "$lost of $((40 * each)) files went, $gone of 40 customers lost all, trips: $(trips)"
