//! The byte budget that everything fetched and decoded holds a share of.
//!
//! A reader takes one share for a whole row group and gives it back before it asks for the next, so that readers
//! that wait hold nothing and the budget cannot deadlock.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Granularity of a share: a semaphore counts permits in 32 bits, which single bytes would outgrow at 4 GiB.
const UNIT: u64 = 4 << 10;

/// Bytes that may be held at a time, shared by everything that reads.
#[derive(Debug, Clone)]
pub struct Budget {
    units: Arc<Semaphore>,
    total: u32,
}

/// Bytes held; dropping it gives them back.
#[derive(Debug)]
pub struct Share(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of `bytes`.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(total as usize)),
            total,
        }
    }

    /// Waits for `bytes`, in the order of asking. More than the whole budget counts as the whole.
    pub async fn take(&self, bytes: u64) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.total);
        // The semaphore is never closed, so this always gets its permits.
        Arc::clone(&self.units)
            .acquire_many_owned(units)
            .await
            .ok()
            .map(Share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(10 * UNIT);
        let first = budget.take(6 * UNIT).await;
        let mut second = std::pin::pin!(budget.take(5 * UNIT));
        assert!(
            futures::poll!(&mut second).is_pending(),
            "only 4 of 10 units are left"
        );
        drop(first);
        assert!(second.await.is_some());
        assert!(
            budget.take(1000 * UNIT).await.is_some(),
            "more than there is means all there is"
        );
    }
}
