-- Whoever reads or resolves an alert of the platform, or moves the business clock, leaves a row that stays, as whoever stops a queue
-- does. (An alert of a firm is in the firm's audit log.)
alter table installation_changes
  drop constraint installation_changes_action_check,
  add constraint installation_changes_action_check check (action in (
    'autopay.paused', 'autopay.resumed', 'queue.paused', 'queue.resumed', 'job.retried', 'job.canceled',
    'login.password_set', 'login.disabled', 'login.succeeded', 'token.created', 'token.revoked',
    'alert_destination.added', 'alert_destination.removed', 'alert_destination.enabled', 'alert_destination.disabled',
    'alert_destination.tested', 'alert.read', 'alert.resolved', 'clock.moved'));
