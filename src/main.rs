//! The program: see [`cq_source_s3::cli`].

use std::process::ExitCode;

/// musl's own allocator takes one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cq_source_s3::cli::cannot_start(&error),
    };
    let code = runtime.block_on(cq_source_s3::cli::main());
    // A signal ends the program at once: decoding that still runs is not waited for.
    runtime.shutdown_background();
    code
}
