-- Audit: what happened, metadata only. Decisions: what was considered, including why not.
create table audit_events (
  firm_id uuid not null,
  id bigint generated always as identity,
  at timestamptz not null,                                  -- business clock
  category text not null default 'billing' check (category in ('billing', 'auth', 'break_glass', 'purge', 'config')),
  action text not null,
  severity text not null default 'info' check (severity in ('info', 'warning', 'critical')),
  actor_kind text not null check (actor_kind in ('user', 'system', 'stripe', 'operator')),
  actor_id text,
  subject_kind text not null, subject_id uuid,
  cause_kind text not null, cause_id text not null,         -- event, job or command run
  meta jsonb not null default '{}',
  primary key (firm_id, id)
);
create index audit_events_by_subject on audit_events (firm_id, subject_id, id);
create index audit_events_by_time on audit_events (firm_id, at);
create index audit_events_by_cause on audit_events (firm_id, cause_id);
create trigger append_only before update or delete on audit_events for each row execute function app.append_only();
create trigger no_truncate before truncate on audit_events for each statement execute function app.append_only();

create table decisions (
  firm_id uuid not null,
  id bigint generated always as identity,
  subject_kind text not null, subject_id uuid not null,
  kind text not null check (kind in ('generate_package', 'issue', 'charge', 'retry', 'apply_credit', 'refund', 'void', 'alert', 'match_event')),
  outcome text not null, reason_code text not null,
  predicates jsonb not null,                                -- [{"name","ok","value"}]
  reason_hash text not null,                                -- of kind, outcome, reason and predicates that failed
  first_at timestamptz not null, last_at timestamptz not null, times int not null default 1,
  cause_kind text not null, cause_id text not null,
  primary key (firm_id, id),
  unique (firm_id, subject_kind, subject_id, kind, reason_hash)
);
