//! The integration tests, one binary. `support` holds what they stand on.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../support/fake_s3/mod.rs"]
mod fake_s3;
#[path = "../support/files.rs"]
mod files;
#[path = "../support/rig.rs"]
mod rig;

mod boundaries;
mod failures;
mod program;
mod rows;
mod s3;
mod tables;
