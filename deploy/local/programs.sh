# shellcheck shell=bash disable=SC2154 # state and bin are the caller's
# Our programs beside the private servers of private-services.sh, for `deploy/local/up`, `deploy/check` and
# `deploy/backup/drill`: sourced, never run. The caller sets `state` (a folder) and `bin` (where the programs are), and calls
# `stop_programs` when it ends.

pids=() names=()

# start NAME COMMAND...: a program of ours, its output in NAME.log, stopped when this script ends, however it ends.
start() {
  local name=$1
  shift
  setpriv --pdeathsig TERM -- "$@" >"$state/$name.log" 2>&1 &
  pids+=($!)
  names+=("$name")
}

# The last one started is the first one stopped.
stop_programs() {
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do stop_process TERM "${pids[$i]}" 30; done
  pids=() names=()
}

show_log_and_die() {
  tail -n 15 "$state/$1.log" >&2
  die "$1 $2"
}

# await_ready NAME PID PORT: until its admin port says 200 to /readyz; 60 s at most.
await_ready() {
  local status _
  for _ in $(seq 300); do
    kill -0 "$2" 2>/dev/null || show_log_and_die "$1" 'does not start'
    status=$({ exec 3<>"/dev/tcp/127.0.0.1/$3" && printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3 &&
      read -r -t 2 _ code _ <&3 && echo "$code"; } 2>/dev/null) || status=''
    [ "$status" != 200 ] || return 0
    sleep 0.2
  done
  show_log_and_die "$1" 'is not ready after a minute'
}

# login_of URL: the user name in a database URL.
login_of() { sed -E 's#^[a-z]+://([^:@/]+).*#\1#' <<<"$1"; }

# create_private_database NAME: with an owner and a login for each program, as docs/INSTALL.md has it; sets owner_url,
# ingress_url, worker_url and portal_url. Safe to call again for another database of the same server.
create_private_database() {
  local login
  login_password=${login_password:-$(random_hex)}
  for login in 'quittance_owner' 'quittance_ingress_login' 'quittance_worker_login' 'quittance_portal_login'; do
    [ -n "$(private_sql "select 1 from pg_roles where rolname = '$login'")" ] ||
      private_sql "create role $login login password '$login_password'"
  done
  private_sql 'alter role quittance_owner createrole' "create database $1 owner quittance_owner"
  local at=127.0.0.1:$POSTGRES_PORT/$1
  # shellcheck disable=SC2034 # read by the scripts that source this
  {
    owner_url=postgres://quittance_owner:$login_password@$at
    ingress_url=postgres://quittance_ingress_login:$login_password@$at
    worker_url=postgres://quittance_worker_login:$login_password@$at
    portal_url=postgres://quittance_portal_login:$login_password@$at
  }
}

# migrate: the schema and the roles of the logins, on the database of owner_url.
migrate() {
  local grants=(--grant "ingress=$(login_of "$ingress_url")" --grant "worker=$(login_of "$worker_url")")
  [ -z "${portal_url:-}" ] || grants+=(--grant "portal=$(login_of "$portal_url")")
  MIGRATION_DATABASE_URL=$owner_url DATABASE_URL=$worker_url "$bin/quittance" migrate "${grants[@]}" >&2
}

# start_simulator PORT: where the ingress will listen; sets STRIPE_API_BASE. The key and the webhook secret are in the environment.
start_simulator() {
  local port
  port=$(free_port)
  start stripe-sim "$bin/stripe-sim" --addr "127.0.0.1:$port" --webhook-secret "${STRIPE_WEBHOOK_SECRET%%,*}" \
    --webhook-url "http://127.0.0.1:$1/webhooks/stripe" --clock-database-url "$worker_url"
  export STRIPE_API_BASE=http://127.0.0.1:$port
}

# start_ingress PORT: sets ingress_admin_port and returns once it is ready.
start_ingress() {
  ingress_admin_port=$(free_port)
  DATABASE_URL=$ingress_url INGRESS_ADDR=127.0.0.1:$1 INGRESS_ADMIN_ADDR=127.0.0.1:$ingress_admin_port \
    start ingress "$bin/quittance-ingress"
  await_ready ingress "${pids[-1]}" "$ingress_admin_port"
}

# start_portal PORT: sets portal_admin_port and returns once it is ready. It has no key of Stripe's.
start_portal() {
  portal_admin_port=$(free_port)
  DATABASE_URL=$portal_url PORTAL_ADDR=127.0.0.1:$1 PORTAL_ADMIN_ADDR=127.0.0.1:$portal_admin_port \
    start portal env -u STRIPE_SECRET_KEY -u STRIPE_WEBHOOK_SECRET -u REDIS_URL "$bin/quittance-portal"
  await_ready portal "${pids[-1]}" "$portal_admin_port"
}

# let_in PASSWORD ARGUMENTS...: `quittance user` with a password on its standard input.
let_in() {
  local password=$1
  shift
  printf '%s\n' "$password" | DATABASE_URL=$worker_url "$bin/quittance" user "$@" --stdin
}

# start_worker NAME: sets worker_port and returns once it is ready.
start_worker() {
  worker_port=$(free_port)
  DATABASE_URL=$worker_url WORKER_ADMIN_ADDR=127.0.0.1:$worker_port start "$1" "$bin/quittance" worker
  await_ready "$1" "${pids[-1]}" "$worker_port"
}
