# shellcheck shell=bash disable=SC2154 # what is not set here is set by the caller
# What the autoscaler asks: its function on our schema, by a login that may do nothing else. Sourced by deploy/check.

psql=$(postgres_bin)/psql
scaler_password=$(random_hex)
private_sql "create role quittance_scaler_login login password '$scaler_password'"
# shellcheck disable=SC2154 # set by create_private_database
MIGRATION_DATABASE_URL=$owner_url "$bin/quittance" migrate --grant scaler=quittance_scaler_login
scaler_url=postgres://quittance_scaler_login:$scaler_password@127.0.0.1:$POSTGRES_PORT/quittance

# The very queries of the ScaledObject.
mapfile -t queries < <(python -c '
import sys, yaml
for doc in yaml.safe_load_all(open("deploy/kubernetes/components/keda/scaled-object.yaml")):
    for trigger in doc["spec"].get("triggers", []):
        print(trigger["metadata"]["query"])')
[ "${#queries[@]}" -eq 2 ] || die "the ScaledObject has ${#queries[@]} queries and not two"

# expect WHAT DUE OLDEST: both queries answer one number, and it is this one (the age, where something is due: up to 30 s more, as
# the machine may be busy).
expect() {
  local due oldest most=$(($2 > 0 ? $3 + 30 : $3))
  due=$("$psql" -qtAX "$scaler_url" -c "${queries[0]}")
  oldest=$("$psql" -qtAX "$scaler_url" -c "${queries[1]}")
  [ "$due" = "$2" ] || die "$1: the query for due jobs answers '$due', not $2"
  { [ "$oldest" -ge "$3" ] && [ "$oldest" -le "$most" ]; } || die "$1: the query for the oldest answers '$oldest', not $3"
  echo "  $1: $due due, the oldest for $oldest s"
}

insert_jobs() {
  "$psql" -qX "$worker_url" -v ON_ERROR_STOP=1 -c "
    insert into jobs (id, queue, kind, dedupe_key, payload, run_at, state, finished_at, created_at)
    select gen_random_uuid(), '$2', 'check', '$1:' || n, '{}', app.now() + interval '$4', '$3',
           case when '$3' = 'completed' then now() end, now() from generate_series(1, $5) n"
}
expect 'nothing to do' 0 0
insert_jobs a events available '-90 seconds' 700
insert_jobs b charges retryable '-10 seconds' 30
insert_jobs c charges retryable '1 hour' 50
insert_jobs d events completed '-1 hour' 40
expect 'due, planned and finished jobs of every firm' 730 90
"$psql" -qX "$worker_url" -c "insert into queue_pauses (queue, paused_at, reason, by) values ('events', now(), 'check', 'check')"
expect 'a paused queue does not call for workers' 30 10
"$psql" -qX "$worker_url" -c "delete from queue_pauses" -c "delete from jobs where kind = 'check'"

# Nothing else is open to this login.
for table in jobs firms stripe_events clients; do
  if "$psql" -qtAX "$scaler_url" -c "select count(*) from $table" >"$state/scaler.log" 2>&1; then
    die "the scaler's login may read $table"
  fi
done
echo '  the login may read no table'
