//! Compiles the contract in `proto/` to Rust, and to the descriptors that reflection and the contract test read.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message as _;

const FILES: [&str; 3] = [
    "cloudquery/plugin/v3/plugin.proto",
    "cloudquery/discovery/v1/discovery.proto",
    "cloudquery/discovery/v0/discovery.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    println!("cargo::rerun-if-changed={}", root.display());

    let descriptors = protox::compile(FILES, [root])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;

    tonic_prost_build::configure()
        .build_transport(false)
        // The calls of destinations and transformers answer "unimplemented" without a line of ours.
        .generate_default_stubs(true)
        // Record batches are megabytes: a `Bytes` is shared, a `Vec` would be copied.
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"testing\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
