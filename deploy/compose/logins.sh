#!/bin/sh
# Run by the image of Postgres when its volume is empty: the owner, a login for each program, and the database. What each login may do
# comes from `quittance migrate --grant`.
set -eu

secret() { cat "/run/secrets/$1"; }

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  -v owner="$(secret owner_password)" -v ingress="$(secret ingress_password)" -v worker="$(secret worker_password)" \
  -v portal="$(secret portal_password)" <<'SQL'
create role quittance_owner login createrole password :'owner';
create role quittance_ingress_login login password :'ingress';
create role quittance_worker_login login password :'worker';
create role quittance_portal_login login password :'portal';
create database quittance owner quittance_owner;
revoke connect on database quittance from public;
grant connect on database quittance to quittance_ingress_login, quittance_worker_login, quittance_portal_login;
SQL
