//! The fence around the generated wire types: nothing of this module appears in the crate's public API.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    dead_code,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

pub(crate) mod plugin {
    tonic::include_proto!("cloudquery.plugin.v3");
}

pub(crate) mod discovery_v0 {
    tonic::include_proto!("cloudquery.discovery.v0");
}

pub(crate) mod discovery_v1 {
    tonic::include_proto!("cloudquery.discovery.v1");
}
