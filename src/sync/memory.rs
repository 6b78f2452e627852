//! How `max_memory` is divided. Pure arithmetic.

/// Bytes of one part of a batch before it is encoded: large enough that the overhead of a message vanishes, small
/// enough that several are in the making at once.
const BATCH_BYTES: u64 = 8 << 20;
/// A slot holds the decoded batch, its part in the table's types, and that part encoded.
const BATCHES_PER_SLOT: u64 = 3;
/// Slots beyond the cores, so that finished work can wait for the client while the cores go on.
const WAITING_SLOTS: u64 = 2;

/// Shares of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Bytes of fetched row groups and their unpacked pages, over all readers.
    pub(super) input: u64,
    /// Pieces of decoding work that exist at a time, running or waiting for the client.
    pub(super) slots: usize,
    /// Bytes of one part of a batch.
    pub(super) batch: u64,
    /// Bytes of the footers of files being read.
    pub(super) footers: u64,
    /// Bytes of file tails kept between discovery and reading.
    pub(super) tails: u64,
}

impl Plan {
    /// A sixteenth each for tails and footers, up to three eighths for slots, the rest for row groups.
    pub(super) fn new(max_memory: u64, cores: usize) -> Self {
        let (tails, footers) = (max_memory / 16, max_memory / 16);
        let batch = BATCH_BYTES.min(max_memory / 32);
        let slot = batch * BATCHES_PER_SLOT;
        let slots = (cores as u64 + WAITING_SLOTS)
            .min(max_memory * 3 / 8 / slot)
            .max(1);
        Self {
            input: max_memory - tails - footers - slots * slot,
            slots: usize::try_from(slots).unwrap_or(1),
            batch,
            footers,
            tails,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DEFAULT_MAX_MEMORY, MIN_MAX_MEMORY};

    #[test]
    fn the_parts_make_the_whole() {
        for memory in [MIN_MAX_MEMORY, 100 << 20, DEFAULT_MAX_MEMORY, 8 << 30] {
            for cores in [1, 2, 8, 128] {
                let plan = Plan::new(memory, cores);
                let slots = plan.slots as u64 * plan.batch * BATCHES_PER_SLOT;
                assert_eq!(
                    plan.input + plan.footers + plan.tails + slots,
                    memory,
                    "{memory} {cores}"
                );
                assert!(plan.input >= memory / 2, "{memory} {cores}: {plan:?}");
            }
        }
    }
}
