-- Indexes for what the portal's pages ask of a firm with very many invoices. Each list is read in its own order until a page is full, and
-- each sum from an index alone: without these, a page of a hundred thousand invoices worked the status of all of them out.

-- Of one client, the newest first.
create index invoices_of_client on invoices (firm_id, client_id, id);
drop index invoices_by_client;
-- Drafts, and what was taken back or given up: few, and with a status that the document alone says.
create index invoices_put_away on invoices (firm_id, id) where doc_state in ('draft', 'void', 'written_off');
-- What was issued and stands, with what sums need of it; side by side with the next, so that what is paid is found without a look-up.
create index invoices_standing on invoices (firm_id, id) include (issue_date, due_date, currency, total_minor)
  where doc_state in ('issued', 'void_requested');
drop index invoices_by_issue_date;
-- What an invoice was paid.
create index payments_of_invoice on payments (firm_id, invoice_id) include (amount_minor);
drop index payments_by_invoice;
-- Collection that has not come to its end, or to a bad one.
create index collection_cycles_not_through on collection_cycles (firm_id, invoice_id) include (state) where state not in ('succeeded', 'canceled');
