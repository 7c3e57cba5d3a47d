//! Stops a confirmation that was decided before a person stopped automatic charging.
//!
//! Between the transaction that marks an attempt as sent and the first byte on the wire lie a wait for a turn and a
//! connection to be made: seconds, in which somebody may have stopped charging. So the number that every pause changes is
//! read once more, for every try, after the wait for its turn; and what was read holds for less than a second.

use std::time::Duration;

use shared::store::{self, Db, brakes};

use crate::deadline::{Deadline, Lease};

/// How long a look at the brake holds. With it a confirmation leaves less than a second after a pause that it did not see.
const HOLDS: Duration = Duration::from_millis(800);

/// The brake, as it was when a confirmation was decided.
#[derive(Clone, Debug)]
pub struct Brake {
    db: Db,
    number: i64,
    sure: Lease,
}

/// Why a confirmation is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Braked {
    /// Somebody stopped automatic charging meanwhile, not necessarily this client's.
    Pulled,
    /// The last look is too long ago, or the database did not say.
    Unsure,
}

impl Brake {
    /// `number` was read in the transaction that decided, before anything else that it was decided by.
    #[must_use]
    pub fn at(db: &Db, number: i64) -> Self {
        Self {
            db: db.clone(),
            number,
            sure: Lease::until(Deadline::after(Duration::ZERO)),
        }
    }

    /// Looks whether anybody stopped anything since.
    ///
    /// # Errors
    /// When somebody did, or the database did not say in time.
    pub async fn look(&self) -> Result<(), Braked> {
        let holds = Deadline::after(HOLDS);
        let number = tokio::time::timeout(HOLDS, self.read()).await;
        match number {
            Ok(Ok(number)) if number == self.number => {
                self.sure.renew(holds);
                Ok(())
            }
            Ok(Ok(_)) => Err(Braked::Pulled),
            Ok(Err(_)) | Err(_) => Err(Braked::Unsure),
        }
    }

    /// Whether the last look still holds.
    ///
    /// # Errors
    /// When it does not.
    pub fn check(&self) -> Result<(), Braked> {
        if self.sure.has_ended() {
            return Err(Braked::Unsure);
        }
        Ok(())
    }

    async fn read(&self) -> Result<i64, store::Error> {
        let mut conn = self.db.pool().acquire().await?;
        brakes::number(&mut conn).await
    }
}
