# shellcheck shell=bash
# Private PostgreSQL and Redis for `deploy/local/up` and `tests/run`: sourced, never run.
#
# Private means: binaries of the distribution, data in a folder of ours, free ports on 127.0.0.1, a password made
# up for this run, and stopped by process id. The servers that the system itself runs are never looked at. Both
# servers are also told to stop when the script that started them dies, so that not even `kill -9` leaves one behind.

say() { printf '==> %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a command that needs root: as it is for root, through sudo for everybody else.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "root or sudo is needed to run: $*"
  fi
}

# install_packages WHAT PACKAGE...: from the distribution, without starting anything.
install_packages() {
  local what=$1
  shift
  command -v apt-get >/dev/null || die "$what is missing, and without apt it has to be installed by hand"
  if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    die "$what is missing: install the Debian packages $* (this needs root or sudo)"
  fi
  say "installing $what ($*)"
  local apt=(as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" install -y --no-install-recommends "$@" >&2 ||
    { "${apt[@]}" update >&2 && "${apt[@]}" install -y --no-install-recommends "$@" >&2; } ||
    die "$what could not be installed (Debian packages $*)"
}

# Prints the folder with the newest PostgreSQL server; fails when there is none.
postgres_bin() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) $(pg_config --bindir 2>/dev/null); do
    if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ]; then
      printf '%s\n' "$dir"
      return 0
    fi
  done
  return 1
}

require_postgres() {
  if ! postgres_bin >/dev/null; then
    # The package makes and starts a cluster of the system's own unless told otherwise beforehand.
    install_packages 'PostgreSQL (shared part)' postgresql-common
    local quiet=/etc/postgresql-common/createcluster.d/quittance.conf
    as_root mkdir -p "${quiet%/*}"
    printf 'create_main_cluster = false\n' | as_root tee "$quiet" >/dev/null
    install_packages PostgreSQL postgresql
    as_root rm -f "$quiet"
    postgres_bin >/dev/null || die 'PostgreSQL was installed, but no server binary is in /usr/lib/postgresql'
  fi
}

# require_redis DIR: puts a redis-server on the PATH. The package `redis-tools` holds the binary and no service: one
# file is server and tool, and its name decides which.
require_redis() {
  command -v redis-server >/dev/null && return 0
  command -v redis-check-rdb >/dev/null || install_packages Redis redis-tools
  mkdir -p "$1/bin"
  ln -sf "$(command -v redis-check-rdb)" "$1/bin/redis-server"
  export PATH="$1/bin:$PATH"
  redis-server --version >/dev/null || die 'redis-server does not start'
}

require_rust() {
  command -v cargo >/dev/null || { [ -x "$HOME/.cargo/bin/cargo" ] && export PATH="$HOME/.cargo/bin:$PATH"; } ||
    die 'cargo is missing: install Rust (https://rustup.rs)'
  command -v cc >/dev/null || install_packages 'a C compiler' gcc libc6-dev
}

# A port that nobody listens on, below the range from which outgoing connections take theirs.
free_port() {
  local port
  while :; do
    port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
  done
  printf '%s\n' "$port"
}

random_hex() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

# Who may run PostgreSQL, which refuses root: ourselves, or for root the package's user, or one made for it.
postgres_user() {
  if [ "$(id -u)" -ne 0 ]; then
    id -un
  elif id postgres >/dev/null 2>&1; then
    echo postgres
  else
    id quittance-local >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin quittance-local
    echo quittance-local
  fi
}

# The command prefix that becomes that user (in this very process, so that the id stays ours to stop). With SMALL_DISK, an
# empty folder, that folder is a disk of 64 MiB to it, which nobody else sees and which is gone when it ends; that takes root.
as_postgres_user() {
  local user become=(setpriv)
  user=$(postgres_user)
  [ "$(id -u)" -ne 0 ] || become+=(--reuid="$user" --regid="$(id -g "$user")" --clear-groups)
  become+=(--pdeathsig INT --)
  if [ -n "${SMALL_DISK:-}" ]; then
    # shellcheck disable=SC2016 # expanded by that shell
    exec unshare --mount -- sh -c 'mount -t tmpfs -o "size=64m,mode=700,uid=$1" none "$2" && shift 2 && exec "$@"' \
      small-disk "$(id -u "$user")" "$SMALL_DISK" "${become[@]}" "$@"
  fi
  exec "${become[@]}" "$@"
}

# start_private_postgres DIR: sets POSTGRES_PID, POSTGRES_PORT and POSTGRES_PASSWORD (superuser `postgres`).
# DIR must be a folder that the unprivileged user can reach.
start_private_postgres() {
  local dir=$1/postgres bin user try
  bin=$(postgres_bin)
  user=$(postgres_user)
  POSTGRES_PASSWORD=$(random_hex)
  install -d -m 700 -o "$user" "$dir"
  (umask 077 && printf '%s\n' "$POSTGRES_PASSWORD" >"$dir/password")
  [ "$(id -u)" -ne 0 ] || chown "$user" "$dir/password"
  # The password travels in clear text, but never leaves this machine; hashing it would cost a debug build dearly.
  (cd / && as_postgres_user "$bin/initdb" --pgdata "$dir/data" --username postgres --auth password \
    --pwfile "$dir/password" --encoding UTF8 --locale C.UTF-8) >"$1/postgres.log" 2>&1 ||
    { tail -n 20 "$1/postgres.log" >&2 && die 'initdb failed'; }
  for try in 1 2 3 4 5; do
    POSTGRES_PORT=$(free_port)
    (cd / && as_postgres_user "$bin/postgres" -D "$dir/data" -p "$POSTGRES_PORT" -k "$dir" \
      -c listen_addresses=127.0.0.1 -c max_connections=500 -c shared_buffers=256MB -c max_wal_size=2GB) \
      >>"$1/postgres.log" 2>&1 &
    POSTGRES_PID=$!
    if await_postgres "$bin"; then return 0; fi
    wait "$POSTGRES_PID" || say "PostgreSQL did not start on port $POSTGRES_PORT (try $try)"
  done
  tail -n 20 "$1/postgres.log" >&2
  die 'PostgreSQL does not start'
}

# Up to 30 s; fails at once when the server has ended.
await_postgres() {
  local _
  for _ in $(seq 300); do
    kill -0 "$POSTGRES_PID" 2>/dev/null || return 1
    if PGPASSWORD=$POSTGRES_PASSWORD "$1/psql" -qtAX -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -c 'select 1' postgres \
      >/dev/null 2>&1; then return 0; fi
    sleep 0.1
  done
  return 1
}

# private_sql STATEMENT...: as superuser of the private server, in one session.
private_sql() {
  local statement args=()
  for statement in "$@"; do args+=(-c "$statement"); done
  PGPASSWORD=$POSTGRES_PASSWORD "$(postgres_bin)/psql" -qtAX -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres \
    "${args[@]}" postgres
}

# start_private_redis DIR: sets REDIS_PID and REDIS_URL.
start_private_redis() {
  local dir=$1/redis try port _
  mkdir -p "$dir"
  for try in 1 2 3 4 5; do
    port=$(free_port)
    (cd "$dir" && exec setpriv --pdeathsig TERM -- redis-server --bind 127.0.0.1 --port "$port" --dir "$dir" --save '' \
      --appendonly yes --appendfsync everysec --daemonize no) >>"$1/redis.log" 2>&1 &
    REDIS_PID=$!
    for _ in $(seq 100); do
      kill -0 "$REDIS_PID" 2>/dev/null || break
      if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        # shellcheck disable=SC2034 # read by the scripts that source this
        REDIS_URL=redis://127.0.0.1:$port/
        return 0
      fi
      sleep 0.1
    done
    kill "$REDIS_PID" 2>/dev/null || true
    wait "$REDIS_PID" || say "Redis did not start on port $port (try $try)"
  done
  tail -n 20 "$1/redis.log" >&2
  die 'Redis does not start'
}

# stop_process SIGNAL PID SECONDS: asks, waits, then insists. Only ever given an id that this script started.
stop_process() {
  local pid=$2 _
  kill -0 "$pid" 2>/dev/null || return 0
  kill "-$1" "$pid" 2>/dev/null || return 0
  for _ in $(seq $((10 * $3))); do
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

stop_private_services() {
  [ -z "${REDIS_PID:-}" ] || stop_process TERM "$REDIS_PID" 10
  [ -z "${POSTGRES_PID:-}" ] || stop_process INT "$POSTGRES_PID" 20
  REDIS_PID='' POSTGRES_PID=''
}

# new_state_dir PREFIX KIB: a fresh folder that everybody may enter and nobody may list; in memory when that has
# room for KIB, because the data does not outlive the run.
new_state_dir() {
  local base=/var/tmp room
  room=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
  if [ "${room:-0}" -ge "$2" ] && [ -w /dev/shm ]; then base=/dev/shm; fi
  local dir
  dir=$(mktemp -d "$base/$1.XXXXXX")
  chmod 711 "$dir"
  printf '%s\n' "$dir"
}
