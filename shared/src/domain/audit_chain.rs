//! The chain over a firm's audit log: what a block's hash covers, and whether a chain still holds.
//!
//! A block takes rows that are committed, in order of their ids, and its hash covers each of them, itself and the hash of the
//! block before. So a row that is changed, removed or put in later breaks its block, and a block that is changed breaks all
//! after it. Who may write every table can still compute a whole new chain: that is noticed only by a head that was exported
//! before. Computed here and nowhere in the database, where the same person could change how.
use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::words::word_enum;

/// SHA-256.
pub type Hash = [u8; 32];

/// Stands before the first block.
pub const GENESIS: Hash = [0; 32];

/// Names the encoding: another one would need another word here.
const DOMAIN: &[u8] = b"quittance audit v1";

/// The longest that a transaction of ours may take between a row's time and its commit. A row that claims to be older than
/// this when it is written was back-dated.
const LONGEST_TRANSACTION: TimeDelta = TimeDelta::hours(1);

/// A row of the log with everything that it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Order of insertion.
    pub id: i64,
    /// Business time.
    pub at: DateTime<Utc>,
    /// Real time, by the database.
    pub recorded_at: DateTime<Utc>,
    /// `billing`, `break_glass` …
    pub category: String,
    /// What happened.
    pub action: String,
    /// How much it matters.
    pub severity: String,
    /// Kind of who did it.
    pub actor_kind: String,
    /// Who.
    pub actor_id: Option<String>,
    /// Kind of what it happened to.
    pub subject_kind: String,
    /// Which.
    pub subject_id: Option<Uuid>,
    /// Kind of why.
    pub cause_kind: String,
    /// Why.
    pub cause_id: String,
    /// As Postgres writes `jsonb`: keys in order, each once, one form of spacing.
    pub meta: String,
}

/// What a block says besides its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// 1, 2, 3 …
    pub seq: i64,
    /// Ids of its rows, in order.
    pub row_ids: Vec<i64>,
    /// The hash of the block before, or [`GENESIS`].
    pub prev_hash: Hash,
    /// Business time of sealing.
    pub sealed_at: DateTime<Utc>,
    /// Real time of sealing.
    pub recorded_at: DateTime<Utc>,
    /// Whether no committed row was left unsealed: a backlog takes several blocks.
    pub complete: bool,
}

/// Feeds a hash with fields that cannot run into each other: each goes in with its length.
struct Encoder(Sha256);

impl Encoder {
    fn new(what: &str) -> Self {
        let mut encoder = Self(Sha256::new());
        encoder.bytes(DOMAIN).bytes(what.as_bytes());
        encoder
    }

    fn bytes(&mut self, field: &[u8]) -> &mut Self {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(field);
        self
    }

    fn text(&mut self, field: &str) -> &mut Self {
        self.bytes(field.as_bytes())
    }

    /// Nothing is another thing than empty.
    fn maybe(&mut self, field: Option<&[u8]>) -> &mut Self {
        match field {
            None => self.bytes(&[0]),
            Some(field) => self.bytes(&[1]).bytes(field),
        }
    }

    fn number(&mut self, field: i64) -> &mut Self {
        self.bytes(&field.to_be_bytes())
    }

    /// To the microsecond, as Postgres keeps it.
    fn time(&mut self, field: DateTime<Utc>) -> &mut Self {
        self.number(field.timestamp_micros())
    }

    fn end(self) -> Hash {
        self.0.finalize().into()
    }
}

/// The hash of one row.
#[must_use]
pub fn row_hash(firm: Uuid, row: &Row) -> Hash {
    let mut encoder = Encoder::new("row");
    encoder
        .bytes(firm.as_bytes())
        .number(row.id)
        .time(row.at)
        .time(row.recorded_at)
        .text(&row.category)
        .text(&row.action)
        .text(&row.severity)
        .text(&row.actor_kind)
        .maybe(row.actor_id.as_deref().map(str::as_bytes))
        .text(&row.subject_kind)
        .maybe(row.subject_id.as_ref().map(|id| &id.as_bytes()[..]))
        .text(&row.cause_kind)
        .text(&row.cause_id)
        .text(&row.meta);
    encoder.end()
}

/// The hash of a block over its rows, which are given in the order of its `row_ids`.
#[must_use]
pub fn block_hash(firm: Uuid, block: &Block, rows: &[Row]) -> Hash {
    let mut encoder = Encoder::new("block");
    encoder
        .bytes(firm.as_bytes())
        .number(block.seq)
        .bytes(&block.prev_hash)
        .time(block.sealed_at)
        .time(block.recorded_at)
        .number(i64::from(block.complete))
        .number(i64::try_from(rows.len()).unwrap_or(i64::MAX));
    for row in rows {
        encoder.bytes(&row_hash(firm, row));
    }
    encoder.end()
}

word_enum!(
    /// What is wrong with a chain.
    Fault, "fault":
    /// A block, or a row of it, is not what was sealed.
    Changed = "changed",
    /// A sealed row, or one that waited to be sealed, is gone.
    Missing = "missing",
    /// A row is in no block and waits for none, or is in two.
    Added = "added",
    /// A row claims a time long before it was written.
    BackDated = "back_dated",
    /// A block does not follow the one before it.
    Broken = "broken",
    /// The chain is another one than the exported head belongs to.
    Rewritten = "rewritten",
);

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// In which block, where it is in one.
    pub block: Option<i64>,
    /// In one sentence.
    pub message: String,
}

/// The end of a chain: exported, it tells later whether the chain is still the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the last block; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash,
}

/// Follows a chain from its first block.
#[derive(Clone, Debug)]
pub struct Verifier {
    firm: Uuid,
    /// The last block as it is stored: findings name the block that is wrong, and no other after it.
    head: Head,
    /// When all that was committed was last sealed.
    complete_at: Option<DateTime<Utc>>,
    rows: u64,
    findings: Vec<Finding>,
    /// What exported heads say of blocks that are still to come.
    exported: BTreeMap<i64, Hash>,
}

impl Verifier {
    /// At the beginning of a firm's chain; `exported` are heads of it that were kept elsewhere.
    #[must_use]
    pub fn new(firm: Uuid, exported: &[Head]) -> Self {
        Self {
            firm,
            head: Head {
                seq: 0,
                hash: GENESIS,
            },
            complete_at: None,
            rows: 0,
            findings: Vec::new(),
            exported: exported.iter().map(|head| (head.seq, head.hash)).collect(),
        }
    }

    /// The next block with the hash that is stored, and those of its rows that are there, in order of their ids.
    pub fn take(&mut self, block: &Block, stored: Hash, rows: &[Row]) {
        let wanted = self.head.seq.saturating_add(1);
        if block.seq != wanted {
            self.find(
                Fault::Broken,
                Some(block.seq),
                format!("block {wanted} is missing: block {} comes next", block.seq),
            );
        } else if block.prev_hash != self.head.hash {
            self.find(
                Fault::Broken,
                Some(block.seq),
                format!("block {} does not follow block {}", block.seq, self.head.seq),
            );
        }
        self.take_rows(block, rows);
        let complete = block.row_ids.iter().eq(rows.iter().map(|row| &row.id));
        if complete && block_hash(self.firm, block, rows) != stored {
            let message = format!(
                "block {} with the rows {} does not have the content that was sealed",
                block.seq,
                range(&block.row_ids)
            );
            self.find(Fault::Changed, Some(block.seq), message);
        }
        if self
            .exported
            .remove(&block.seq)
            .is_some_and(|hash| hash != stored)
        {
            let message = format!("block {} is another one than the exported head says", block.seq);
            self.find(Fault::Rewritten, Some(block.seq), message);
        }
        self.head = Head {
            seq: block.seq,
            hash: stored,
        };
        if block.complete {
            self.complete_at = Some(block.recorded_at);
        }
        self.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
    }

    fn take_rows(&mut self, block: &Block, rows: &[Row]) {
        for id in &block.row_ids {
            if rows.binary_search_by_key(id, |row| row.id).is_err() {
                let message = format!("row {id} of block {} is gone", block.seq);
                self.find(Fault::Missing, Some(block.seq), message);
            }
        }
        for row in rows {
            // Written long before all was sealed, it would have been sealed then.
            let late = self
                .complete_at
                .filter(|sealed| row.recorded_at < *sealed - LONGEST_TRANSACTION);
            if row.at < row.recorded_at - LONGEST_TRANSACTION || late.is_some() {
                let message = format!(
                    "row {} of block {} claims to be of {}, and was put in later",
                    row.id,
                    block.seq,
                    row.at.format("%F %T UTC")
                );
                self.find(Fault::BackDated, Some(block.seq), message);
            }
        }
    }

    /// A row waits to be sealed and is not there.
    pub fn removed(&mut self, id: i64) {
        self.find(
            Fault::Missing,
            None,
            format!("row {id} was removed before it was sealed"),
        );
    }

    /// A row is in no block and waits for none, or is in two.
    pub fn outside(&mut self, id: i64) {
        let message = format!("row {id} was put in behind the chain's back: it is in no block, or in two");
        self.find(Fault::Added, None, message);
    }

    fn find(&mut self, fault: Fault, block: Option<i64>, message: String) {
        self.findings.push(Finding {
            fault,
            block,
            message,
        });
    }

    /// The end of the chain, how many sealed rows there are, and everything that is wrong.
    #[must_use]
    pub fn end(mut self) -> (Head, u64, Vec<Finding>) {
        for seq in std::mem::take(&mut self.exported)
            .into_keys()
            .filter(|seq| *seq > 0)
        {
            let message = format!("block {seq} was exported as the head, and is not there");
            self.find(Fault::Rewritten, Some(seq), message);
        }
        (self.head, self.rows, self.findings)
    }
}

/// `17–42` for people who look for it.
fn range(ids: &[i64]) -> String {
    match ids {
        [] => "none".to_owned(),
        [one] => one.to_string(),
        [first, .., last] => format!("{first}–{last}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn row(id: i64) -> Row {
        Row {
            id,
            at: at(id),
            recorded_at: at(id),
            category: "billing".into(),
            action: "payment.succeeded".into(),
            severity: "info".into(),
            actor_kind: "system".into(),
            actor_id: None,
            subject_kind: "invoice".into(),
            subject_id: Some(Uuid::from_u128(7)),
            cause_kind: "job".into(),
            cause_id: "j1".into(),
            meta: "{\"amount_minor\": 100}".into(),
        }
    }

    const FIRM: Uuid = Uuid::from_u128(1);

    type Sealed = (Block, Hash, Vec<Row>);

    /// Three blocks of three rows.
    fn chain() -> Vec<Sealed> {
        let mut prev_hash = GENESIS;
        (1..=3)
            .map(|seq| {
                let rows: Vec<Row> = (seq * 3..seq * 3 + 3).map(row).collect();
                let block = Block {
                    seq,
                    row_ids: rows.iter().map(|row| row.id).collect(),
                    prev_hash,
                    sealed_at: at(seq * 100),
                    recorded_at: at(seq * 100),
                    complete: true,
                };
                let hash = block_hash(FIRM, &block, &rows);
                prev_hash = hash;
                (block, hash, rows)
            })
            .collect()
    }

    fn verify(chain: &[Sealed], exported: &[Head]) -> Vec<(Fault, Option<i64>)> {
        let mut verifier = Verifier::new(FIRM, exported);
        for (block, hash, rows) in chain {
            verifier.take(block, *hash, rows);
        }
        let (_, _, findings) = verifier.end();
        findings
            .iter()
            .map(|finding| (finding.fault, finding.block))
            .collect()
    }

    #[test]
    fn r093_a_chain_that_nobody_touched_holds_and_its_exported_head_with_it() {
        let head = |n: usize| Head {
            seq: chain()[n].0.seq,
            hash: chain()[n].1,
        };
        assert_eq!(verify(&chain(), &[head(1), head(2)]), []);
        assert_eq!(verify(&[], &[]), []);
    }

    #[test]
    fn r093_whatever_is_changed_in_a_row_breaks_its_block_and_only_that() {
        let changes: [fn(&mut Row); 13] = [
            |r| r.at += TimeDelta::microseconds(1),
            |r| r.recorded_at -= TimeDelta::microseconds(1),
            |r| r.category = "config".into(),
            |r| r.action = "payment.failed".into(),
            |r| r.severity = "critical".into(),
            |r| r.actor_kind = "user".into(),
            |r| r.actor_id = Some(String::new()),
            |r| r.subject_kind = "client".into(),
            |r| r.subject_id = None,
            |r| r.cause_kind = "event".into(),
            |r| r.cause_id = "j".into(),
            |r| r.meta = "{\"amount_minor\": 101}".into(),
            |r| {
                // Moved over the border between two fields.
                r.cause_kind = "jobj".into();
                r.cause_id = "1".into();
            },
        ];
        for (n, change) in changes.iter().enumerate() {
            let mut chain = chain();
            change(&mut chain[1].2[1]);
            assert_eq!(verify(&chain, &[]), [(Fault::Changed, Some(2))], "change {n}");
        }
    }

    #[test]
    fn r093_what_is_removed_put_in_back_dated_or_cut_off_is_named() {
        let mut removed = chain();
        removed[1].2.remove(1);
        assert_eq!(verify(&removed, &[]), [(Fault::Missing, Some(2))]);

        let mut block_gone = chain();
        block_gone.remove(1);
        assert_eq!(verify(&block_gone, &[]), [(Fault::Broken, Some(3))]);

        let mut hash_swapped = chain();
        hash_swapped[0].1 = [9; 32];
        assert_eq!(
            verify(&hash_swapped, &[]),
            [(Fault::Changed, Some(1)), (Fault::Broken, Some(2))]
        );

        let mut put_in = chain();
        put_in[2].2[0].at = at(-1_000_000);
        put_in[2].1 = block_hash(FIRM, &put_in[2].0, &put_in[2].2);
        assert_eq!(verify(&put_in, &[]), [(Fault::BackDated, Some(3))]);

        // The last blocks cut off, or the chain computed anew: only a head that was kept elsewhere tells.
        let head = Head {
            seq: 3,
            hash: chain()[2].1,
        };
        assert_eq!(verify(&chain()[..2], &[]), []);
        assert_eq!(
            verify(&chain()[..2], std::slice::from_ref(&head)),
            [(Fault::Rewritten, Some(3))]
        );
        let mut anew = chain();
        anew[2].2[0].meta = "{}".into();
        anew[2].1 = block_hash(FIRM, &anew[2].0, &anew[2].2);
        assert_eq!(verify(&anew, &[]), []);
        assert_eq!(verify(&anew, &[head]), [(Fault::Rewritten, Some(3))]);
    }

    #[test]
    fn r093_a_row_is_back_dated_when_no_transaction_can_have_taken_so_long() {
        let sealed = at(1_000_000);
        let (hour, moment) = (LONGEST_TRANSACTION, TimeDelta::microseconds(1));
        // The time that a row of the second block claims, when it was written down, and whether that is too old.
        let cases = [
            (sealed - hour, sealed - hour, false),
            (sealed - hour - moment, sealed - hour - moment, true),
            (sealed - hour, sealed, false),
            (sealed - hour - moment, sealed, true),
        ];
        for (row_at, recorded_at, too_old) in cases {
            let mut chain = chain();
            chain.truncate(2);
            chain[0].0.recorded_at = sealed;
            chain[0].1 = block_hash(FIRM, &chain[0].0, &chain[0].2);
            chain[1].0.prev_hash = chain[0].1;
            for row in &mut chain[1].2 {
                (row.at, row.recorded_at) = (row_at, recorded_at);
            }
            chain[1].1 = block_hash(FIRM, &chain[1].0, &chain[1].2);
            let found = verify(&chain, &[]);
            assert_eq!(
                found.contains(&(Fault::BackDated, Some(2))),
                too_old,
                "{row_at}, {recorded_at}"
            );
            assert_eq!(found.is_empty(), !too_old);
        }
    }

    #[test]
    fn r093_rows_that_wait_to_be_sealed_and_are_gone_or_have_no_block_are_named() {
        let mut verifier = Verifier::new(FIRM, &[]);
        verifier.removed(11);
        verifier.outside(12);
        let (_, _, findings) = verifier.end();
        let found: Vec<(Fault, &str)> = findings
            .iter()
            .map(|finding| (finding.fault, finding.message.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (Fault::Missing, "row 11 was removed before it was sealed"),
                (
                    Fault::Added,
                    "row 12 was put in behind the chain's back: it is in no block, or in two"
                ),
            ]
        );
    }

    #[test]
    fn r093_a_finding_names_the_first_and_the_last_row_of_its_block() {
        assert_eq!(range(&[17, 20, 42]), "17–42");
        assert_eq!(range(&[17]), "17");
        assert_eq!(range(&[]), "none");
    }

    #[test]
    fn r093_the_head_of_an_empty_chain_asks_for_no_block() {
        let nothing = Head {
            seq: 0,
            hash: GENESIS,
        };
        assert_eq!(verify(&[], std::slice::from_ref(&nothing)), []);
        assert_eq!(verify(&chain(), &[nothing]), []);
    }

    #[test]
    fn r093_what_was_verified_is_counted() {
        let mut verifier = Verifier::new(FIRM, &[]);
        for (block, hash, rows) in &chain() {
            verifier.take(block, *hash, rows);
        }
        let (head, rows, _) = verifier.end();
        assert_eq!((head.seq, rows), (3, 9));
    }

    proptest! {
        /// No two rows that differ have one hash: fields cannot run into each other.
        #[test]
        fn rows_that_differ_hash_differently(
            a in proptest::collection::vec("[a-c]{0,3}", 4), b in proptest::collection::vec("[a-c]{0,3}", 4)
        ) {
            let of = |words: &[String]| Row {
                category: words[0].clone(),
                action: words[1].clone(),
                actor_id: (!words[2].is_empty()).then(|| words[2].clone()),
                meta: words[3].clone(),
                ..row(1)
            };
            prop_assert_eq!(of(&a) == of(&b), row_hash(FIRM, &of(&a)) == row_hash(FIRM, &of(&b)));
        }
    }
}
