# shellcheck shell=bash disable=SC2154 # what is not set here is set by the caller
# The scheduler's wrapper, beside the built-in schedule of a running worker: the same runs twice at once and twice in a row bill one
# period once and charge it once. Sourced by deploy/check.

(umask 077 && printf '%s\n' "$worker_url" >"$state/database-url")
printf 'DATABASE_URL_FILE=%s\nSTRIPE_MODE=test\nSTRIPE_SECRET_KEY=%s\nSTRIPE_API_BASE=%s\n' \
  "$state/database-url" "$STRIPE_SECRET_KEY" "$STRIPE_API_BASE" >"$state/environment"
# As cron would: with next to no environment.
scheduled() {
  env -i PATH="$PATH" QUITTANCE_ENVIRONMENT="$state/environment" QUITTANCE_PROGRAM="$bin/quittance" QUITTANCE_LOCKS="$state" \
    QUITTANCE_PAUSE_SECS=1 deploy/schedulers/quittance-run "$@"
}
ask() { "$(postgres_bin)/psql" -qtAX -v ON_ERROR_STOP=1 "$worker_url" -c "$1"; }

start_on=$(DATABASE_URL=$worker_url "$bin/quittance" clock show | cut -c1-7)-01
DATABASE_URL=$worker_url "$bin/quittance" import - >/dev/null <<END
{"firms": [{"external_id": "cron", "name": "Cron Ltd", "timezone": "Europe/Berlin", "currency": "usd"}],
 "clients": [{"external_id": "cron-ada", "firm": "cron", "name": "Ada", "stripe_customer_id": "cus_cron_ada",
   "payment_methods": [{"stripe_payment_method_id": "pm_card_visa"}], "autopay": {"enabled": true, "payment_method": "pm_card_visa"}}],
 "engagements": [{"external_id": "cron-retainer", "client": "cron-ada", "pricing_mode": "package", "currency": "usd",
   "package_fee": "500.00", "package_fee_schedule": "monthly", "starts_on": "$start_on", "signed": true}]}
END
for round in 1 2; do
  # Twice at once: by the wrapper, and by a person at the same moment.
  scheduled generate-package-invoices --no-wait &
  first=$!
  DATABASE_URL=$worker_url "$bin/quittance" generate-package-invoices --no-wait >"$state/command.log" || die "the command failed in round $round"
  wait "$first" || die "the wrapper failed in round $round"
  scheduled process-recurring-charges --no-wait || die "the wrapper failed in round $round"
done
# Until nothing is left that is due; 60 s at most.
for _ in $(seq 300); do
  [ "$(ask "select count(*) from jobs where state in ('available', 'retryable', 'running') and run_at <= app.now()")" -ne 0 ] || break
  sleep 0.2
done
billed=$(DATABASE_URL=$worker_url "$bin/quittance" invoice list --firm-id cron --json)
python -c '
import json, sys
invoices = json.load(sys.stdin)["data"]
found = [(i["status"], i["open_minor"], i["total_minor"]) for i in invoices]
if found != [("paid", 0, 50000)]:
    sys.exit(f"one paid invoice should be there: {found}")
print("  four runs that bill and two that charge: one invoice, paid once")' <<<"$billed"
exec 8>"$state/quittance-ledger.lock"
flock 8
if scheduled ledger check 2>"$state/command.log"; then die 'a second run of a kind was started beside the first'; fi
exec 8>&-
scheduled ledger check || die 'the books do not balance'
