//! Until when a request may be put on the wire.
//!
//! Between the decision to send and the first byte lie a wait for a turn, a connection to be made and repetitions, and a
//! process may be frozen in any of them. Whoever reads Stripe meanwhile may have concluded that nothing was sent. So the
//! permit is asked by the request's own body, for every try: hyper takes the body when the connection stands and the head
//! is in its buffer, and writes both with the next system call. A body that refuses itself leaves the buffer unwritten.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    brake::{Brake, Braked},
    deadline::{Deadline, Lease},
};

/// Leave to send, for as long as the job's claim holds, some time has not passed, and nobody has stopped charging.
#[derive(Clone, Debug)]
pub struct Permit {
    lease: Lease,
    by: Option<Deadline>,
    brake: Option<Brake>,
}

/// Why a request was not put on the wire: it came too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLate {
    /// Another worker may have taken the job over.
    #[error("the job's lease ran out before the request could be sent")]
    Lease,
    /// Somebody may have concluded already that it was never sent.
    #[error("the time to send the request passed before it could be sent")]
    Deadline,
    /// A person does not want it any more.
    #[error("automatic charging was stopped before the request could be sent")]
    Stopped,
    /// It is not certain that nobody stopped it: worth another look.
    #[error("the database did not say in time whether automatic charging was stopped")]
    Unsure,
}

impl From<Braked> for TooLate {
    fn from(braked: Braked) -> Self {
        match braked {
            Braked::Pulled => Self::Stopped,
            Braked::Unsure => Self::Unsure,
        }
    }
}

impl Permit {
    /// Holds while the lease does.
    #[must_use]
    pub fn under(lease: &Lease) -> Self {
        Self {
            lease: lease.clone(),
            by: None,
            brake: None,
        }
    }

    /// Ends then at the latest.
    #[must_use]
    pub fn by(self, deadline: Deadline) -> Self {
        Self {
            by: Some(deadline),
            ..self
        }
    }

    /// Ends when somebody stops automatic charging.
    #[must_use]
    pub fn until(self, brake: Brake) -> Self {
        Self {
            brake: Some(brake),
            ..self
        }
    }

    /// Looks whether somebody did; asked for every try, after its turn has come.
    pub(super) async fn look(&self) -> Result<(), TooLate> {
        let Some(brake) = &self.brake else {
            return Ok(());
        };
        self.check_time()?;
        Ok(brake.look().await?)
    }

    pub(super) fn check(&self) -> Result<(), TooLate> {
        self.check_time()?;
        match &self.brake {
            Some(brake) => Ok(brake.check()?),
            None => Ok(()),
        }
    }

    fn check_time(&self) -> Result<(), TooLate> {
        if self.by.is_some_and(|by| by.has_passed()) {
            Err(TooLate::Deadline)
        } else if self.lease.has_ended() {
            Err(TooLate::Lease)
        } else {
            Ok(())
        }
    }
}

/// The body of one try, which goes out while its permit holds.
pub(super) struct PermittedBody {
    bytes: Option<Bytes>,
    permit: Permit,
    refusal: Refusal,
}

/// What a body said when it was asked for; outlives it.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal(Arc<OnceLock<TooLate>>);

impl Refusal {
    /// Why it refused itself, if it did.
    pub(super) fn get(&self) -> Option<TooLate> {
        self.0.get().copied()
    }
}

impl PermittedBody {
    /// A body, and where to read whether it refused itself.
    pub(super) fn new(bytes: Bytes, permit: &Permit) -> (Self, Refusal) {
        let refusal = Refusal::default();
        let body = Self {
            bytes: Some(bytes),
            permit: permit.clone(),
            refusal: refusal.clone(),
        };
        (body, refusal)
    }
}

impl Body for PermittedBody {
    type Data = Bytes;
    type Error = TooLate;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TooLate>>> {
        let Some(bytes) = self.bytes.take() else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(match self.permit.check() {
            Ok(()) => Ok(Frame::data(bytes)),
            Err(late) => Err(*self.refusal.0.get_or_init(|| late)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.bytes.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
