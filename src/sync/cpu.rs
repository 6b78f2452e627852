//! CPU work off the I/O threads, a bounded number of pieces at a time, panics contained.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ObjectError;

/// Cores of this machine, or of the container's share of it.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The slots that CPU work needs.
#[derive(Debug)]
pub(super) struct Cpu {
    slots: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// The right to have one piece of work or its result in memory; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Cpu {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(slots)),
            running: Arc::new(Semaphore::new(cores())),
        }
    }

    /// Waits for a slot, which the caller keeps until it has handed the result on.
    pub(super) async fn slot(&self) -> Option<Slot> {
        // The semaphore is never closed.
        Arc::clone(&self.slots).acquire_owned().await.ok().map(Slot)
    }

    /// Runs `work` on a thread for blocking work, as many at a time as there are cores.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
    ) -> Result<T, ObjectError> {
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _running = permit;
            work()
        });
        task.await.unwrap_or(Err(ObjectError::Panicked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_its_core() {
        let cpu = Cpu::new(1);
        for _ in 0..=cores() {
            let result: Result<(), _> = cpu.run(|| panic!("on purpose")).await;
            assert!(matches!(result, Err(ObjectError::Panicked)));
        }
        assert!(matches!(cpu.run(|| Ok(7)).await, Ok(7)));
    }
}
