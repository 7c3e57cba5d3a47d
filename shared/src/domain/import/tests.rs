//! The promise: twenty different faults, all at once, each with its path.

use serde_json::{Value, json};

use super::*;
use crate::{
    currency::Currency,
    domain::period::Cadence,
    ids::{ClientId, EngagementId, FirmId},
};

fn sound() -> Value {
    json!({
        "firms": [{"external_id": "acme", "name": "Acme Advisory", "timezone": "Europe/Berlin", "currency": "usd"}],
        "clients": [{"external_id": "globex", "firm": "acme", "name": "Globex", "stripe_customer_id": "cus_1",
            "payment_methods": [{"stripe_payment_method_id": "pm_1", "brand": "visa", "last4": "4242", "exp_month": 12,
                                 "exp_year": 2030}],
            "autopay": {"enabled": true, "payment_method": "pm_1"}}],
        "engagements": [{"external_id": "globex-retainer", "client": "globex", "pricing_mode": "mixed",
            "currency": "usd", "package_fee": "1000.00", "package_fee_schedule": "monthly", "hourly_rate": "150.00",
            "starts_on": "2026-01-01", "ends_on": "2027-01-01", "signed": true}],
        "time_entries": [{"external_id": "t1", "engagement": "globex-retainer", "worker": "w1",
            "worked_on": "2026-01-05", "minutes": 90, "state": "approved", "approved_by": "admin1"}],
        "invoices": [{"external_id": "legacy-1", "client": "globex", "engagement": "globex-retainer",
            "currency": "usd", "issue_date": "2026-01-01", "due_date": "2026-01-31", "autopay_opt_in": true,
            "lines": [{"kind": "package_fee", "description_code": "retainer", "amount": "250.00"}]}]
    })
}

/// The sound document with one value replaced (or removed, with null).
fn with(pointer: &str, value: Value) -> Value {
    let mut document = sound();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no fields"),
    }
    document
}

fn faults_of(document: &Value, known: &Known) -> Vec<String> {
    let (parsed, mut faults) = parse(&document.to_string());
    faults.extend(parsed.check_references(known));
    faults
        .into_iter()
        .map(|fault| format!("{}: {}", fault.path, fault.message))
        .collect()
}

fn fault_of(pointer: &str, value: Value) -> String {
    let faults = faults_of(&with(pointer, value), &Known::default());
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.concat()
}

#[test]
fn the_documented_example_is_sound() {
    let (document, faults) = parse(&sound().to_string());
    assert_eq!(faults, []);
    assert_eq!(document.check_references(&Known::default()), []);
    assert_eq!(document.invoices[0].total.minor(), 25_000);
    let mentioned = document.mentioned();
    assert!(mentioned.firms.is_empty() && mentioned.clients.is_empty() && mentioned.engagements.is_empty());
    assert_eq!(mentioned.methods.len(), 1);
}

#[test]
fn twenty_different_faults_are_reported_at_once_with_their_paths() {
    let document = json!({
        "firm": [],
        "firms": [
            {"external_id": "acme", "name": "Acme", "timezone": "Europe/Berlim", "currency": "usd"},
            {"external_id": "acme", "timezone": "UTC", "currency": "xxx",
             "retry_policy": {"offsets_days": [7, 3]}},
        ],
        "clients": [
            {"external_id": "globex", "firm": "acme", "name": "Globex", "stripe_customer_id": "cus_1",
             "payment_methods": [{"stripe_payment_method_id": "pm_1", "last4": "4242424242424242", "exp_month": 13}],
             "autopay": {"enabled": true}},
            {"external_id": "initech", "firm": "nofirm", "name": "Initech", "stripe_customer_id": "cus_2",
             "autopay": {"enabled": true, "payment_method": "pm_9"}},
        ],
        "engagements": [
            {"external_id": "e1", "client": "globex", "pricing_mode": "package", "currency": "usd",
             "package_fee": "1000.001", "package_fee_schedule": "weekly", "hourly_rate": "1.00",
             "starts_on": "2026-02-30", "period_anchor": "lunar", "proration": "none", "charge_timing": "never"},
            {"external_id": "e2", "client": "nobody", "pricing_mode": "fixed", "currency": "usd",
             "starts_on": "2026-02-01", "ends_on": "2026-02-01"},
            {"external_id": "e3", "client": "initech", "pricing_mode": "package", "currency": "usd",
             "package_fee": "10.00", "package_fee_schedule": "monthly", "starts_on": "2026-02-01", "signed": "yes"},
            {"external_id": "e4", "client": "initech", "pricing_mode": "package", "currency": "usd",
             "package_fee": "10.00", "package_fee_schedule": "monthly", "starts_on": "2026-02-01"},
        ],
        "time_entries": [
            {"external_id": "t1", "engagement": "e4", "worker": "w1", "worked_on": "2026-01-05", "minutes": 0},
            {"external_id": "t2", "engagement": "e9", "worker": "w1", "worked_on": "2026-01-05", "minutes": 90},
            {"external_id": "t3", "engagement": "e4", "worker": "w1", "worked_on": "2026-01-05", "minutes": 90,
             "state": "approved"},
            {"external_id": "t4", "engagement": "e4", "worker": "w1", "worked_on": "2026-01-05", "minutes": 9,
             "state": "approved", "approved_by": "a"},
        ],
        "invoices": [
            {"external_id": "i1", "client": "initech", "engagement": "e4", "currency": "usd",
             "issue_date": "2026-02-01", "due_date": "2026-01-01", "autopay_opt_in": true,
             "lines": [{"kind": "package_fee", "amount": "0.30"}]},
            {"external_id": "i2", "client": "globex", "engagement": "e4", "currency": "usd",
             "issue_date": "2026-02-01", "due_date": "2026-03-01",
             "lines": [{"kind": "fee", "amount": 12.5}, {"kind": "hourly", "amount": "-1.00"}]},
            {"external_id": "i3", "client": "globex", "engagement": "e4", "currency": "usd",
             "issue_date": "2026-02-01", "due_date": "2026-03-01",
             "lines": [{"kind": "package_fee", "amount": "5.00"}, {"kind": "adjustment", "amount": "-5.00"}]},
            {"external_id": "i4", "client": "globex", "engagement": "e4", "currency": "usd",
             "issue_date": "2026-02-01", "due_date": "2026-03-01", "lines": [{"kind": "package_fee", "amount": "5.00"}]},
        ],
    });
    let faults = faults_of(&document, &Known::default());
    assert!(faults.len() >= 20);
    insta::assert_snapshot!(faults.join("\n"));
}

#[test]
fn text_that_is_no_json_says_in_which_line_and_column() {
    let (_, faults) = parse("{\n  \"firms\": [,]\n}");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "$");
    assert!(
        faults[0].message.contains("line 2 column 13"),
        "{}",
        faults[0].message
    );
    let (_, faults) = parse("[]");
    assert_eq!(faults[0].message, "must be an object, not a list");
}

#[test]
fn keys_that_are_missing_unknown_or_of_the_wrong_type_are_named() {
    assert_eq!(
        fault_of("/clients/0/name", Value::Null),
        "$.clients[0].name: is missing"
    );
    assert_eq!(
        fault_of("/firms/0/time zone", json!("UTC")),
        "$.firms[0][\"time zone\"]: unknown key; known are external_id, name, timezone, currency, retry_policy, \
         allow_self_approval, require_client_approval, auto_apply_credit, max_charge_minor, max_charges_per_run, pause_client_on_fraud, \
         payment_terms_days, alert_failure_rate_percent, alert_failures_in_row, alert_daily_summary"
    );
    assert_eq!(
        fault_of("/time_entries/0/minutes", json!("90")),
        "$.time_entries[0].minutes: must be a whole number, not a string"
    );
    assert_eq!(
        fault_of("/time_entries/0/minutes", json!(90.5)),
        "$.time_entries[0].minutes: must be a whole number from 1 to 1440, not 90.5"
    );
    assert_eq!(
        fault_of("/clients/0/payment_methods/0", json!("pm_1"))
            .lines()
            .count(),
        1
    );
    assert_eq!(
        fault_of("/time_entries", json!({})),
        "$.time_entries: must be a list, not an object"
    );
}

/// R060.
#[test]
fn a_number_where_the_last_four_digits_belong_is_not_repeated() {
    let fault = fault_of("/clients/0/payment_methods/0/last4", json!("4242424242424242"));
    assert!(!fault.contains("4242424242"), "{fault}");
}

#[test]
fn an_invoice_for_automatic_payment_must_reach_what_stripe_charges_at_least() {
    let fault = fault_of("/invoices/0/lines/0/amount", json!("0.49"));
    assert!(
        fault.starts_with("$.invoices[0].lines: add up to 0.49 USD, below the minimum"),
        "{fault}"
    );
    assert!(fault.contains("0.50 USD"), "{fault}");
    let mut by_hand = with("/invoices/0/lines/0/amount", json!("0.49"));
    by_hand["invoices"][0]["autopay_opt_in"] = json!(false);
    assert_eq!(faults_of(&by_hand, &Known::default()), [""; 0]);
}

#[test]
fn amounts_are_strings_in_the_precision_of_their_currency() {
    let fault = fault_of("/invoices/0/lines/0/amount", json!(250));
    assert_eq!(
        fault,
        "$.invoices[0].lines[0].amount: must be an amount in quotes, such as \"1000.00\", not a number"
    );
    let mut yen = sound();
    yen["invoices"][0]["currency"] = json!("jpy");
    let faults = faults_of(&yen, &Known::default());
    assert_eq!(
        faults,
        ["$.invoices[0].lines[0].amount: '250.00' has too many decimals: jpy has 0"]
    );
}

#[test]
fn a_reference_may_lead_into_the_database() {
    let globex = KnownClient {
        firm: FirmId::new(),
        firm_external_id: Some("acme".into()),
        id: ClientId::new(),
        external_id: Some("globex".into()),
        has_customer: true,
    };
    let other = KnownClient {
        id: ClientId::new(),
        external_id: Some("other".into()),
        ..globex.clone()
    };
    let mut document = sound();
    for section in ["firms", "clients", "engagements"] {
        document[section] = json!([]);
    }
    let dangling = faults_of(&document, &Known::default());
    assert_eq!(dangling.len(), 3, "{dangling:#?}");

    let engagement = |client: &KnownClient| KnownEngagement {
        id: EngagementId::new(),
        client: client.clone(),
        currency: Currency::parse("usd").unwrap(),
        has_hourly_rate: true,
    };
    let mut known = Known::default();
    known.clients.insert("globex".into(), globex.clone());
    known
        .engagements
        .insert("globex-retainer".into(), engagement(&globex));
    assert_eq!(faults_of(&document, &known), [""; 0]);

    known
        .engagements
        .insert("globex-retainer".into(), engagement(&other));
    assert_eq!(
        faults_of(&document, &known),
        ["$.invoices[0].engagement: 'globex-retainer' is not an engagement of client 'globex'"]
    );

    let euros = KnownEngagement {
        currency: Currency::parse("eur").unwrap(),
        ..engagement(&globex)
    };
    known.engagements.insert("globex-retainer".into(), euros);
    assert_eq!(
        faults_of(&document, &known),
        ["$.invoices[0].currency: 'globex-retainer' is billed in eur"]
    );

    let (document, _) = parse(&sound().to_string());
    let known = Known {
        customers: [("cus_1".to_owned(), other)].into(),
        ..Known::default()
    };
    let faults = document.check_references(&known);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].path, "$.clients[0].stripe_customer_id");
}

/// R003, R004: the roles that there are, and a portal user's client.
#[test]
fn r004_users_have_a_role_and_a_portal_user_has_a_client_of_its_firm() {
    let with_user = |user: Value| with("/users", json!([user]));
    let admin = json!({"external_id": "admin1", "firm": "acme", "name": "Ada", "role": "admin"});
    let portal = json!({"external_id": "ceo", "firm": "acme", "name": "Cleo", "role": "client", "client": "globex",
        "can_view_billing": true});
    let changed = |base: &Value, key: &str, value: Value| {
        let mut user = base.clone();
        user[key] = value;
        faults_of(&with_user(user), &Known::default())
    };
    for user in [&admin, &portal] {
        assert_eq!(faults_of(&with_user(user.clone()), &Known::default()), [""; 0]);
    }
    assert_eq!(
        changed(&admin, "role", json!("boss")),
        ["$.users[0].role: unknown role 'boss': use owner, admin, manager, staff or client"]
    );
    assert_eq!(
        changed(&admin, "client", json!("globex")),
        ["$.users[0].client: goes with role client only"]
    );
    assert_eq!(
        changed(&portal, "client", Value::Null),
        ["$.users[0].client: is missing: a user with role client belongs to one"]
    );
    assert_eq!(
        changed(&admin, "firm", json!("nofirm")),
        ["$.users[0].firm: there is no firm 'nofirm', neither in the document nor in the database"]
    );
    let mut two_firms = with_user(changed_firm(&portal));
    two_firms["firms"]
        .as_array_mut()
        .unwrap()
        .push(json!({"external_id": "other", "name": "Other", "timezone": "UTC", "currency": "usd"}));
    assert_eq!(
        faults_of(&two_firms, &Known::default()),
        ["$.users[0].client: 'globex' is not a client of firm 'other'"]
    );
    let twice = with("/users", json!([admin, admin]));
    assert_eq!(
        faults_of(&twice, &Known::default()),
        ["$.users[1].external_id: firm 'acme' has a user 'admin1' further up already"]
    );
}

fn changed_firm(user: &Value) -> Value {
    let mut user = user.clone();
    user["firm"] = json!("other");
    user
}

#[test]
fn hours_alone_may_have_a_schedule_and_a_fee_has_its_own() {
    let hourly = |schedule: Value| {
        let mut document = with("/engagements/0/pricing_mode", json!("hourly"));
        let terms = document.pointer_mut("/engagements/0").unwrap();
        terms["package_fee"] = Value::Null;
        terms["package_fee_schedule"] = Value::Null;
        terms["hourly_schedule"] = schedule;
        document
    };
    for schedule in [Value::Null, json!("monthly"), json!("quarterly"), json!("annual")] {
        assert_eq!(faults_of(&hourly(schedule), &Known::default()), [""; 0]);
    }
    let faults = faults_of(&hourly(json!("one_time")), &Known::default());
    assert_eq!(
        faults,
        [
            "$.engagements[0].hourly_schedule: hours are invoiced again and again: use monthly, quarterly or annual, or \
             leave it out and invoice on demand"
        ]
    );
    assert_eq!(
        fault_of("/engagements/0/hourly_schedule", json!("monthly")),
        "$.engagements[0].hourly_schedule: does not go with pricing_mode mixed"
    );
}

/// What became of one value of the sound document, which is still sound with it.
fn read_with(pointer: &str, value: Value) -> Document {
    let (document, faults) = parse(&with(pointer, value).to_string());
    assert_eq!(faults, []);
    document
}

#[test]
fn a30_what_a_line_is_for_is_a_code_and_kept_as_it_was_written() {
    let path = "/invoices/0/lines/0/description_code";
    let longest = "x".repeat(64);
    for code in ["retainer", "Q1-2026_a.b:c", &longest] {
        let document = read_with(path, json!(code));
        assert_eq!(document.invoices[0].lines[0].description_code, code);
    }
    for story in ["for Ada's divorce", "größe", &"x".repeat(65)] {
        let fault = fault_of(path, json!(story));
        let told = "$.invoices[0].lines[0].description_code: must be a code such as 'retainer'";
        assert!(fault.starts_with(told), "{fault}");
    }
}

#[test]
fn an_invoice_may_be_due_on_its_own_day_and_not_before() {
    read_with("/invoices/0/due_date", json!("2026-01-01"));
    assert_eq!(
        fault_of("/invoices/0/due_date", json!("2025-12-31")),
        "$.invoices[0].due_date: 2025-12-31 must not be before issue_date 2026-01-01"
    );
}

#[test]
fn lines_may_add_up_to_the_least_and_to_the_most_that_stripe_charges() {
    let lines = |amounts: &[&str]| {
        let line = |amount: &&str| json!({"kind": "package_fee", "amount": amount});
        Value::Array(amounts.iter().map(line).collect())
    };
    for (amounts, minor) in [
        (&["0.50"][..], 50),
        (&["9999999999.99"], 999_999_999_999),
        (&["9999999999.98", "0.01"], 999_999_999_999),
    ] {
        let document = read_with("/invoices/0/lines", lines(amounts));
        assert_eq!(document.invoices[0].total.minor(), minor);
    }
    for amounts in [
        &["9999999999.99", "0.01"][..],
        &["9999999999.99", "9999999999.99"],
    ] {
        let fault = fault_of("/invoices/0/lines", lines(amounts));
        assert!(fault.ends_with("more than Stripe takes in one charge"), "{fault}");
    }
}

#[test]
fn days_until_an_invoice_is_due_are_read_as_they_are_written() {
    for days in [0, 1, 14, 365] {
        let document = read_with("/firms/0/payment_terms_days", json!(days));
        assert_eq!(document.firms[0].payment_terms_days, Some(days));
    }
    assert_eq!(
        read_with("/firms/0/name", json!("Acme")).firms[0].payment_terms_days,
        None
    );
    for odd in [json!(-1), json!(366), json!("14")] {
        let fault = fault_of("/firms/0/payment_terms_days", odd);
        let told = "$.firms[0].payment_terms_days: must be a whole number of days from 0 to 365";
        assert_eq!(fault, told);
    }
}

#[test]
fn terms_say_how_often_they_are_invoiced() {
    let (document, _) = parse(&sound().to_string());
    assert_eq!(document.engagements[0].cadence(), Some(Cadence::Monthly));
    let mut by_the_hour = with("/engagements/0/pricing_mode", json!("hourly"));
    let terms = by_the_hour.pointer_mut("/engagements/0").unwrap();
    terms["package_fee"] = Value::Null;
    terms["package_fee_schedule"] = Value::Null;
    for (schedule, cadence) in [
        (json!("quarterly"), Some(Cadence::Quarterly)),
        (Value::Null, None),
    ] {
        by_the_hour["engagements"][0]["hourly_schedule"] = schedule;
        let (document, faults) = parse(&by_the_hour.to_string());
        assert_eq!(faults, []);
        assert_eq!(document.engagements[0].cadence(), cadence);
    }
}

#[test]
fn a_card_belongs_to_one_client() {
    let mut document = sound();
    document["clients"].as_array_mut().unwrap().push(
        json!({"external_id": "initech", "firm": "acme", "name": "Initech", "stripe_customer_id": "cus_2",
            "payment_methods": [{"stripe_payment_method_id": "pm_1"}]}),
    );
    let faults = faults_of(&document, &Known::default());
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert!(
        faults[0].starts_with("$.clients[1].payment_methods[0].stripe_payment_method_id: "),
        "{faults:#?}"
    );
}

#[test]
fn names_are_of_one_line_without_blanks_around_and_of_two_hundred_characters_at_most() {
    let longest = "ü".repeat(200);
    assert_eq!(
        read_with("/clients/0/name", json!(longest)).clients[0].name,
        longest
    );
    assert_eq!(
        fault_of("/clients/0/name", json!("ü".repeat(201))),
        "$.clients[0].name: is longer than 200 characters"
    );
    for odd in [" Globex", "Globex ", "Glo\nbex"] {
        assert_eq!(
            fault_of("/clients/0/name", json!(odd)),
            "$.clients[0].name: must not have blanks around it or control characters in it"
        );
    }
}

#[test]
fn a_day_is_written_in_ten_characters() {
    for odd in ["2026-1-05", "2026-01-5", "2026-02-30", "26-01-05", "+2026-01-05"] {
        assert_eq!(
            fault_of("/time_entries/0/worked_on", json!(odd)),
            format!("$.time_entries[0].worked_on: '{odd}' is no date: write it as 2026-01-31")
        );
    }
}

/// What Stripe's ids of the document belong to in the database: to the very client, or to another one.
#[test]
fn p8_a_customer_and_a_card_that_are_known_belong_to_the_client_that_names_them() {
    let firm = FirmId::new();
    let globex = KnownClient {
        firm,
        firm_external_id: Some("acme".into()),
        id: ClientId::new(),
        external_id: Some("globex".into()),
        has_customer: true,
    };
    let by_its_id = KnownClient {
        firm_external_id: None,
        ..globex.clone()
    };
    let of_another_firm = KnownClient {
        firm: FirmId::new(),
        firm_external_id: Some("other".into()),
        ..globex.clone()
    };
    let another = KnownClient {
        external_id: Some("initech".into()),
        ..globex.clone()
    };
    for (owner, firm_is_known, theirs) in [
        (&globex, false, true),
        (&globex, true, true),
        (&by_its_id, true, true),
        (&by_its_id, false, false),
        (&of_another_firm, true, false),
        (&of_another_firm, false, false),
        (&another, true, false),
    ] {
        let mut known = Known::default();
        if firm_is_known {
            known.firms.insert("acme".into(), firm);
        }
        known.customers.insert("cus_1".into(), owner.clone());
        let method = KnownMethod {
            client: owner.clone(),
            usable: true,
        };
        known.methods.insert("pm_1".into(), method);
        let wanted: &[&str] = match theirs {
            true => &[],
            false => &[
                "$.clients[0].stripe_customer_id: belongs to another client",
                "$.clients[0].payment_methods[0].stripe_payment_method_id: belongs to another client",
            ],
        };
        assert_eq!(faults_of(&sound(), &known), wanted, "{owner:?}, {firm_is_known}");
    }
}

/// R062: a card that is stored already need not be listed again; one that cannot be charged is no card to pay with.
#[test]
fn a_stored_card_pays_automatically_while_it_can_be_charged() {
    let globex = KnownClient {
        firm: FirmId::new(),
        firm_external_id: Some("acme".into()),
        id: ClientId::new(),
        external_id: Some("globex".into()),
        has_customer: true,
    };
    let document = with("/clients/0/payment_methods", json!([]));
    let faults = |usable: bool| {
        let method = KnownMethod {
            client: globex.clone(),
            usable,
        };
        let mut known = Known::default();
        known.methods.insert("pm_1".into(), method);
        faults_of(&document, &known)
    };
    assert_eq!(faults(true), [""; 0]);
    let worn_out = faults(false);
    assert_eq!(worn_out.len(), 1, "{worn_out:#?}");
    assert!(
        worn_out[0].ends_with("'pm_1' cannot be charged any more: give another one"),
        "{worn_out:#?}"
    );
}

/// One client has several names: what documents call it, and its id.
#[test]
fn an_invoice_and_its_engagement_mean_one_client_by_whatever_name() {
    let firm = FirmId::new();
    let named = |external_id: &str| KnownClient {
        firm,
        firm_external_id: Some("acme".into()),
        id: ClientId::new(),
        external_id: Some(external_id.into()),
        has_customer: true,
    };
    let (globex, initech) = (named("globex"), named("initech"));
    let by_id = globex.id.to_string();
    let mut document = with("/invoices/0/client", json!(by_id));
    document["clients"] = json!([]);
    for (meant, theirs) in [(&globex, true), (&initech, false)] {
        let mut known = Known::default();
        known.clients.insert("globex".into(), globex.clone());
        known.clients.insert(by_id.clone(), meant.clone());
        let wanted =
            format!("$.invoices[0].engagement: 'globex-retainer' is not an engagement of client '{by_id}'");
        let wanted = if theirs { vec![] } else { vec![wanted] };
        assert_eq!(faults_of(&document, &known), wanted);
    }

    // The engagement is in the database, and its client is in the document beside another one.
    let mut document = sound();
    document["clients"].as_array_mut().unwrap().insert(
        0,
        json!({"external_id": "initech", "firm": "acme", "name": "Initech", "stripe_customer_id": "cus_2"}),
    );
    document["engagements"] = json!([]);
    document["time_entries"] = json!([]);
    for (owner, theirs) in [(&globex, true), (&initech, false)] {
        let mut known = Known::default();
        let engagement = KnownEngagement {
            id: EngagementId::new(),
            client: owner.clone(),
            currency: Currency::parse("usd").unwrap(),
            has_hourly_rate: true,
        };
        known.engagements.insert("globex-retainer".into(), engagement);
        let wanted: &[&str] = match theirs {
            true => &[],
            false => &["$.invoices[0].engagement: 'globex-retainer' is not an engagement of client 'globex'"],
        };
        assert_eq!(faults_of(&document, &known), wanted);
    }
}
