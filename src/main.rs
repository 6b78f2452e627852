//! The program: see [`cq_source_s3::cli`].

use std::process::ExitCode;

/// musl's own allocator takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    cq_source_s3::cli::main().await
}
