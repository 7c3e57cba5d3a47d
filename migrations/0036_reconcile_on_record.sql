-- An operator starts the comparison of all firms' books by the API (0032 had the word, 0033 was written beside it).
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled',
    'login.password_set', 'login.disabled', 'login.succeeded', 'token.created', 'token.revoked',
    'alert_destination.added', 'alert_destination.removed', 'alert_destination.enabled', 'alert_destination.disabled',
    'alert_destination.tested', 'alert.read', 'alert.resolved', 'clock.moved', 'reconcile.requested'));
