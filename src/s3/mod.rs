//! The S3 half of the plugin: listing a bucket and reading byte ranges of its objects, from AWS or any compatible store.
//!
//! What is here: [`Bucket`] (the one handle), [`Object`] (a key **and** its generation), [`Error`] (what went wrong and what
//! to do about it) and [`ranges`] (pure arithmetic on byte ranges). What is not: file formats, tables, and the decision
//! what an error stops; nothing here knows of them.
//!
//! Two rules hold everywhere: a read is conditional on the generation that was listed, and a read returns exactly the
//! bytes that were asked for or an error.

mod bucket;
mod client;
mod error;
mod list;
mod object;
pub mod ranges;
mod read;
mod stats;

pub use bucket::Bucket;
pub use client::{AssumeRole, Config, Credentials};
pub use error::{Error, ErrorKind, Operation};
pub use list::Page;
pub use object::{ETag, Object};
pub use stats::Stats;
