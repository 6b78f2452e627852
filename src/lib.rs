//! `cq-source-s3`: a CloudQuery source plugin that turns the files of an S3 bucket into tables.
//!
//! The way of the data: `s3` lists objects, [`catalog`] files them under tables ([`naming`]), [`mod@format`] learns
//! each file's columns, [`schema`] merges them into the table's ([`types`] says which types there are), `sync` reads the objects, [`batch`]
//! gives their rows the table's shape and ids ([`identity`]), and the `cq-plugin` crate puts them on the wire.
//! I/O happens in `s3` and in `cq-plugin` only; `sync` joins the two, [`source`] assembles everything.

pub mod batch;
pub mod budget;
pub mod catalog;
pub mod cli;
pub mod error;
pub mod format;
pub mod identity;
pub mod naming;
pub mod s3;
pub mod schema;
pub mod source;
pub mod spec;
pub mod sync;
pub mod types;
